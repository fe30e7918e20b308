"""Schedules, plans, timelines and traces as text and files."""
