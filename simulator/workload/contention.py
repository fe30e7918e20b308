"""Whether anything in an iteration waits for who comes first, and not only for what it needs.

Where links are private and all-reduces cannot overtake one another, every moment of an iteration is
a maximum of earlier moments plus constants: a device need not know what time it is elsewhere.
"""

from __future__ import annotations

__all__ = ["contention"]

from itertools import combinations

from chimera.simulator.workload.sharing import sharing_reason
from chimera.simulator.workload.workload import REDUCE, Workload


def contention(workload: Workload) -> str | None:
    """What contends in this workload, or None if every moment is a maximum of earlier moments plus constants."""
    if workload.network.contention:
        return workload.network.contention
    shared = sharing_reason(workload)
    if shared:
        return shared
    collectives = [c for c in workload.collectives if c.duration_ns]
    groups = {frozenset(collective.members) for collective in collectives}
    for ours, theirs in combinations(groups, 2):
        if ours & theirs:
            return f"all-reduces over devices {sorted(ours)} and {sorted(theirs)} can overtake one another"
    orders: dict[frozenset[int], list[int]] = {}
    for device, ops in enumerate(workload.ops):
        launched = [op.target for op in ops if op.code is REDUCE and workload.collectives[op.target].duration_ns]
        if launched and orders.setdefault(frozenset(workload.collectives[launched[0]].members), launched) != launched:
            return f"device {device} launches its all-reduces in another order than its group"
    return None
