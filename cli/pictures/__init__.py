"""Pictures of timelines and validations, drawn with matplotlib's object API and no display."""
