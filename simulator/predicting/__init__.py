"""Schedule, profile and conditions in, prediction out."""
