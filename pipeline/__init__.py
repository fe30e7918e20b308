"""What each device does, in which order: actions, schedules, plans, checks, timelines, metrics."""

from __future__ import annotations

if not __name__.startswith("chimera."):  # no class may exist under two names in one process
    raise ImportError("this folder is `chimera.pipeline`: import it by that name")
