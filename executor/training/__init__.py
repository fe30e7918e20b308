"""Schedules trained for real, with their files."""
