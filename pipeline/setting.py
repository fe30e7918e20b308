"""The setting of a run: what both worlds must know of model, sizes, optimizer and precision."""

from __future__ import annotations

__all__ = ["STATE_BYTES"]

STATE_BYTES = {"adamw": 8.0, "sgd": 0.0}
"""bytes of optimizer state a float32 parameter, by optimizer"""
