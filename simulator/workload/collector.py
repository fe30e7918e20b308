"""The garbage collector, paused while millions of values are made."""

from __future__ import annotations

__all__ = ["collector_paused"]

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Nothing made here is garbage, so looking for it would only take time (a third of it when large)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
