"""Predicts when everything in a plan would happen on a machine described by a cost profile.

See these files first: `profile` (what things cost), `workload` (a plan with costs), `engine` (the
SimPy reference), `memory`, `predict` (the front door).
"""

from __future__ import annotations

from simulator.predict import simulate
from simulator.prediction import Prediction
from simulator.profile import Profile

__all__ = ["Prediction", "Profile", "simulate"]
