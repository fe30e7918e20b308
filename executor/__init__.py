"""Does a schedule for real: interprets its plan on torch.distributed, one process a rank."""

from __future__ import annotations

if not __name__.startswith("chimera."):  # no class may exist under two names in one process
    raise ImportError("this folder is `chimera.executor`: import it by that name")
