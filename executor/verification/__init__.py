"""Whether a schedule changes the mathematics."""
