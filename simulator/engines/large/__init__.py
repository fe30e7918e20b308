"""Very large schedules, predicted without a plan: a million actions with their memory in seconds."""
