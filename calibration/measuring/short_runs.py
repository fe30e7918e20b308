"""Which short pipelined runs a calibration consists of."""

from __future__ import annotations

__all__ = ["calibration_schedules"]

from collections.abc import Iterable

from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import build

_LEAST = 5
_RECOMPUTING = "recomputing"


def calibration_schedules(stages: int, judged: Iterable[Schedule] = ()) -> dict[str, Schedule]:
    """The short pipelined runs: GPipe and DAPPLE, N = D+1 but 5 at least, and, for even D, Chimera with N = 2D or 3D.

    Fewer than 5 (for Chimera 3 a stage and device) would show cold computations only.
    GPipe shows computations on memory not used for long, DAPPLE those on memory just freed, Chimera
    both, messages that arrive just in time, and the all-reduce. ZB-H1 shows the two parts of a split
    backward, DAPPLE again what recomputing costs beyond a repeated forward: they run where a judged
    schedule splits or recomputes, or where nothing is judged. None repeats a
    judged configuration: it takes one micro-batch (Chimera: one unit) more until it differs.
    """
    judged = list(judged)
    taken = {
        (_RECOMPUTING if item.name == "dapple" and item.recompute else item.name, item.microbatches) for item in judged
    }
    few = max(stages + 1, _LEAST)
    wanted = [("gpipe", few, 1), ("dapple", few, 1)]
    if stages % 2 == 0:
        wanted.append(("chimera", (3 if stages == 2 else 2) * stages, stages))
    if not judged or any(item.split_backward() for item in judged):
        wanted.append(("zb-h1", few, 1))
    if not judged or any(item.recompute for item in judged):
        wanted.append((_RECOMPUTING, few, 1))
    runs = {}
    for name, microbatches, step in wanted:
        while (name, microbatches) in taken:
            microbatches += step
        schedule, options = ("dapple", {"recompute": "all"}) if name == _RECOMPUTING else (name, {})
        runs[f"calibration-{name}"] = build(schedule, stages=stages, microbatches=microbatches, **options)
    return runs
