"""Why an iteration takes as long as it does, and how much faster the same work could be."""
