"""Predicts, executes and scores pipeline-parallel training schedules."""

from __future__ import annotations

__version__ = "0.1.0"
