"""From measurements to a profile."""
