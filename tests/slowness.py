"""How slow this machine is now, for bounds on time: what is late on a quiet machine may be in time on a busy one."""

from __future__ import annotations

__all__ = ["slowness"]

import time

_CPU_S = 0.3


def slowness() -> float:
    """Seconds that pass for each second of a core that a process gets: 1 on a quiet machine."""
    started, cpu_started = time.monotonic(), time.process_time()
    while time.process_time() - cpu_started < _CPU_S:
        pass
    return max(1.0, (time.monotonic() - started) / (time.process_time() - cpu_started))
