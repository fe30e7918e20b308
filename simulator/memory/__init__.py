"""What devices hold, event by event, and how many activations and weights that is."""
