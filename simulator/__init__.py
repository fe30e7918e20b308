"""Predicts when everything in a plan would happen on a machine described by a cost profile.

See these files first: `costs.profile` (what things cost), `workload` (a plan with costs), `events.engine`
(the SimPy reference), `memory`, `predict` (the front door).
"""

from __future__ import annotations

from simulator.costs.profile import Profile
from simulator.costs.profile_file import load_profile, save_profile
from simulator.predict import simulate
from simulator.prediction import Prediction

__all__ = ["Prediction", "Profile", "load_profile", "save_profile", "simulate"]
