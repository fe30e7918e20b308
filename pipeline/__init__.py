"""What each device does, in which order: actions, schedules, plans, checks, timelines, metrics."""
