"""The direct engine: what the reference engine says, with clocks that run ahead of the events where they can."""
