"""One iteration on one rank: the plan replayed with real stages, messages and all-reduces."""
