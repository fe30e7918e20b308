"""A plan with its costs: what every engine is given."""
