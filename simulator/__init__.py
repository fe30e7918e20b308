"""Predicts when everything in a plan would happen on a machine described by a cost profile."""

from __future__ import annotations

from simulator.profile import Profile

__all__ = ["Profile"]
