"""Short real runs become a cost profile; predicted against measured becomes a verdict."""

from __future__ import annotations

if not __name__.startswith("chimera."):  # no class may exist under two names in one process
    raise ImportError("this folder is `chimera.calibration`: import it by that name")
