"""Predicts when everything in a plan would happen on a machine described by a cost profile.

See these files first: `costs.profile` (what things cost), `workload.workload` (a plan with costs),
`engines.reference.device` (the SimPy reference), `memory`, `predicting.predict` (the front door).
"""

from __future__ import annotations

if not __name__.startswith("chimera."):  # no class may exist under two names in one process
    raise ImportError("this folder is `chimera.simulator`: import it by that name")

from chimera.simulator.costs.profile import Profile
from chimera.simulator.costs.profile_file import load_profile, save_profile
from chimera.simulator.predicting.predict import simulate
from chimera.simulator.predicting.prediction import Prediction

__all__ = ["Prediction", "Profile", "load_profile", "save_profile", "simulate"]
