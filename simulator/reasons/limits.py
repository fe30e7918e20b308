"""What keeps an iteration from being shorter: each cause taken away in turn, the rest predicted again."""

from __future__ import annotations

__all__ = ["Limit", "Losses", "losses"]

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from chimera.pipeline.actions import Step
from chimera.simulator.costs.profile import AllReduceCost, LinkCost, Overheads, Profile
from chimera.simulator.engines.choice import times_of
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.workload.sharing import sharing_reason
from chimera.simulator.workload.workload import COMPUTE, Workload

Limit = Literal[
    "transport",
    "network",
    "synchronisation",
    "link",
    "overhead",
    "contention",
    "imbalance",
    "bubble",
    "memory",
    "compute",
]


_SYNCHRONISATION = 1
"""the step in which all-reduces and optimizer steps are taken away"""


class Losses(NamedTuple):
    """The iteration as a sum, in nanoseconds: what the average device computes, and what comes on top.

    Taken away in this order, each beside those before: sends and receives that wait for each other
    or for their turn, the sharing of NICs and of half duplex links, synchronisation and optimizer steps, the time of
    messages, host overheads, work that slows other work down, differences between stages; what is left above the
    average device's computation is bubble. A cause that hides another one counts for what remains of it. A term can
    be negative where less waiting changes who comes first.
    """

    transport: int
    network: int
    synchronisation: int
    link: int
    overhead: int
    contention: int
    imbalance: int
    bubble: int
    compute: int


def losses(workload: Workload, iteration_ns: int, semantics: Transport = "buffered") -> Losses:
    """Predicts the same plan up to seven times more."""
    buffered = iteration_ns if semantics == "buffered" else times_of(workload, "buffered").end_ns
    found, before = [iteration_ns - buffered], buffered
    changed = workload
    for number, profile in enumerate(_without(workload)):
        if profile is None:
            found.append(0)
            continue
        changed = Workload(workload.plan, profile, workload.durations, workload.width)
        changed.work_ns = workload.work_ns
        if number >= _SYNCHRONISATION:
            changed.work_ns = _without_steps(workload)
            changed.collectives = [collective._replace(duration_ns=0) for collective in changed.collectives]
        now = times_of(changed, "buffered").end_ns
        found.append(before - now)
        before = now
    changed.work_ns = _balanced(changed)
    now = times_of(changed, "buffered").end_ns
    average = sum(map(sum, changed.work_ns)) // len(changed.work_ns)
    transport, network, synchronisation, link, overhead, contention = found
    return Losses(transport, network, synchronisation, link, overhead, contention, before - now, now - average, average)


def _without(workload: Workload) -> Iterator[Profile | None]:
    """Profiles that lack one thing more each, in the order of `Losses`; None for what was not there."""
    profile = workload.profile
    overlap = profile.overheads.overlap_factor
    links = {name: replace(link, half_duplex=False) for name, link in profile.links.items()}
    profile = replace(profile, links=links, topology=replace(profile.topology, shared_nic=False))
    yield profile if workload.network.contention else None
    yield profile
    links = {
        name: LinkCost(0, None, link.send_overhead_ns, link.receive_overhead_ns, queueing=False)
        for name, link in profile.links.items()
    }
    profile = replace(profile, links=links)
    yield profile
    profile = replace(
        profile, links=dict.fromkeys(links, LinkCost(queueing=False)), overheads=Overheads(overlap_factor=overlap)
    )
    yield profile
    yield replace(profile, cores=None, all_reduce=AllReduceCost()) if sharing_reason(workload) else None


def _without_steps(workload: Workload) -> list[list[int]]:
    return [
        [work if op.code == COMPUTE else 0 for op, work in zip(ops, row, strict=True)]
        for ops, row in zip(workload.ops, workload.work_ns, strict=True)
    ]


def _balanced(workload: Workload) -> list[list[int]]:
    """Every computation takes the average of its kind and grouping, over all devices."""
    keys = [[_kind(op.action) if op.code == COMPUTE else () for op in ops] for ops in workload.ops]
    total: Counter[tuple[object, ...]] = Counter()
    count: Counter[tuple[object, ...]] = Counter()
    for row, works in zip(keys, workload.work_ns, strict=True):
        count.update(row)
        for key, work in zip(row, works, strict=True):
            total[key] += work
    return [[round(total[key] / count[key]) for key in row] for row in keys]


def _kind(action: Step) -> tuple[object, ...]:
    """Kind, doubled, halved of each part."""
    return tuple((part.kind, part.also >= 0, part.half >= 0) for part in action.parts)
