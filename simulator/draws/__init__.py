"""Durations drawn from the calibrated distributions, and what many draws say of the iteration time."""
