"""Very large schedules, predicted without a plan: a million actions with their memory in seconds."""

from chimera.simulator.engines.large.prediction import large_prediction

__all__ = ["large_prediction"]
