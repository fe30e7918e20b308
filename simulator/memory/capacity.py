"""Whether a prediction fits into the memory of its devices."""

from __future__ import annotations

__all__ = ["exceeded"]

from itertools import groupby

from chimera.simulator.costs.what_if import OutOfMemory, out_of_memory
from chimera.simulator.predicting.prediction import Prediction


def exceeded(prediction: Prediction, capacity_bytes: int) -> OutOfMemory | None:
    """The device that holds more than the capacity first; None if all stay within it, or no sizes are known."""
    if max(device.peak_memory_bytes or 0 for device in prediction.metrics.per_device) <= capacity_bytes:
        return None  # before all events of a very large schedule are written down
    events = groupby(prediction.timeline.memory, key=lambda event: event.device)
    return out_of_memory([tuple(row) for _, row in events], capacity_bytes)
