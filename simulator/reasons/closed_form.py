"""The closed form of the Chimera paper (Li and Hoefler, SC'21, section 3.4), beside the simulator.

T = (F + p2p) C_f + (B + p2p) C_b + max_i unoverlapped_allreduce(i), with C_f forwards and C_b
backwards on the critical path, p2p = alpha + beta L and Rabenseifner's all-reduce. It assumes equal
stages (here: as slow as the slowest), a message behind every action of the critical path, links
that never queue, no host time, and all-reduces that hide in bubbles only (the simulator's proceed
beside computation too, at the profile's slowdown); optimizer steps are not in it. B is 2 F in the
paper (3 F with recomputation), here the profile's.
"""

from __future__ import annotations

__all__ = ["ClosedForm", "Undefined", "closed_form", "critical_counts", "differences"]

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.grid import Grid
from chimera.pipeline.schedule import Schedule
from chimera.simulator.costs.collectives import all_reduce_ns, cost_among
from chimera.simulator.costs.durations import Durations
from chimera.simulator.costs.network import Network
from chimera.simulator.costs.profile import Locality, Profile
from chimera.simulator.predicting.conditions import PLAIN, Conditions


class ClosedForm(NamedTuple):
    """The formula and its parts; nanoseconds."""

    total_ns: int
    forwards: int
    """C_f"""
    backwards: int
    """C_b"""
    forward_ns: int
    backward_ns: int
    p2p_ns: int
    unoverlapped_ns: int


class Undefined(NamedTuple):
    """Why the formula says nothing about a configuration."""

    reason: str


def critical_counts(schedule: Schedule) -> tuple[int, int] | Undefined:
    """C_f and C_b: forwards and backwards on the critical path, for backwards no shorter than forwards.

    Chimera, N = D: D and D + D/f - 2 (figure 6: D = 6, f = 1 gives 6 and 10). N = K D, f = 1,
    directly concatenated: D - 2 + 2K and K (2D - 2). GPipe and DAPPLE: both N + D - 1.
    """
    depth, count = schedule.stages, schedule.microbatches
    if schedule.name in ("gpipe", "dapple"):
        return count + depth - 1, count + depth - 1
    if schedule.name != "chimera":
        return Undefined(f"the formula is for chimera, gpipe and dapple, not {schedule.name}")
    pairs, units = schedule.replicas // 2, count // depth
    if count > depth and schedule.options.get("concat", "direct") != "direct":
        return Undefined("the formula is for units that are concatenated directly")
    if count % depth:
        return Undefined(f"N = {count} is no multiple of D = {depth}")
    if units == 1:
        return depth, depth + depth // pairs - 2
    if pairs > 1:
        return Undefined(f"C_f and C_b of {units} units of {pairs} pairs are not published")
    return depth - 2 + 2 * units, units * (2 * depth - 2)


def closed_form(schedule: Schedule, profile: Profile, conditions: Conditions = PLAIN) -> ClosedForm | Undefined:
    """The iteration's time by the formula, or why it has none."""
    counts = critical_counts(schedule)
    if isinstance(counts, Undefined):
        return counts
    if conditions.slow_devices:
        return Undefined("it knows no slow devices")
    durations, width = _durations(schedule, profile, conditions), conditions.width
    forward, backward = (max(row) for row in _computations(durations))
    if backward < forward:
        return Undefined("the formula is for backwards that take no less than forwards")
    p2p = _p2p_ns(schedule, durations)
    unoverlapped = _unoverlapped_ns(schedule, durations, width, backward + p2p)
    if isinstance(unoverlapped, Undefined):
        return unoverlapped
    total = (forward + p2p) * counts[0] + (backward + p2p) * counts[1] + unoverlapped
    return ClosedForm(total, *counts, forward, backward, p2p, unoverlapped)


def differences(schedule: Schedule, profile: Profile, conditions: Conditions = PLAIN) -> tuple[str, ...]:
    """What the simulator knows of this configuration and the formula does not; empty where both say the same."""
    durations = _durations(schedule, profile, conditions)
    host, reduce = profile.overheads, profile.all_reduce
    links = profile.links.values()
    reduces = any(_reduces_ns(schedule, durations, conditions.width))
    found = {
        "stages of unequal cost (it takes the slowest everywhere)": any(
            len(set(row)) > 1 for row in _computations(durations)
        ),
        "how many messages lie on the critical path (it counts one behind every action)": _p2p_ns(schedule, durations)
        > 0,
        "messages that wait for the one before": _p2p_ns(schedule, durations) > 0
        and any(link.queueing for link in links),
        f"{conditions.semantics} messages, which wait for each other": conditions.semantics != "buffered",
        "host time": bool(host.dispatch_ns or host.iteration_ns)
        or any(link.send_overhead_ns or link.receive_overhead_ns for link in links),
        "optimizer steps": any(durations.step_ns(stage) for stage in range(schedule.stages)),
        "all-reduces beside computation (it hides them in bubbles only)": reduces,
        f"the all-reduce of the profile, {reduce.algorithm} (it takes Rabenseifner's)": reduces
        and (reduce.algorithm != "rabenseifner" or bool(reduce.measured)),
        "devices that share cores": profile.cores is not None,
        "actions that cost less behind their like": profile.locality != Locality(),
    }
    return tuple(words for words, holds in found.items() if holds)


def _durations(schedule: Schedule, profile: Profile, conditions: Conditions) -> Durations:
    return Durations(schedule, profile, conditions.microbatch_size, conditions.layers_per_stage)


def _computations(durations: Durations) -> tuple[list[int], list[int]]:
    """Forwards and backwards of all stages, in nanoseconds."""
    stages = range(durations.schedule.stages)
    forward, backward = (
        [durations.compute_ns(Action(stage, kind, 0)) for stage in stages] for kind in (Kind.F, Kind.B)
    )
    return forward, backward


def _p2p_ns(schedule: Schedule, durations: Durations) -> int:
    """alpha + beta L of the slowest message between neighbouring stages; zero for one stage."""
    network = Network(durations.profile)
    pairs = {pair for row in schedule.placement for pair in pairwise(row)}
    size = max(durations.stage(stage).boundary_bytes for stage in range(schedule.stages))
    return max((network.occupancy_ns(*pair, size) for pair in pairs if pair[0] != pair[1]), default=0)


def _unoverlapped_ns(schedule: Schedule, durations: Durations, width: int, slot_ns: int) -> int | Undefined:
    """max_i: what no idle time of worker i hides of the all-reduces of its stages.

    In the drain, worker i of GPipe and DAPPLE idles i backward slots. Chimera's worker w < D/2 has
    w slots at the end and D/2 - 1 - w between the last backward of its larger stage, D - 1 - w,
    and that of its smaller one (figure 5); they hide the larger stage's all-reduce unless sync is "end".
    """
    depth, reduce = schedule.stages, _reduces_ns(schedule, durations, width)
    if not any(reduce):
        return 0
    if schedule.name != "chimera":
        return max(max(reduce[stage] - stage * slot_ns, 0) for stage in range(depth))
    if schedule.replicas > 2:
        return Undefined("the bubbles that hide all-reduces are published for one pair of pipelines")
    found = 0
    for worker in range(depth // 2):
        between = 0 if schedule.sync == "end" else (depth // 2 - 1 - worker) * slot_ns
        first = max(reduce[depth - 1 - worker] - between, 0)
        found = max(found, first + reduce[worker] - worker * slot_ns)
    return found


def _reduces_ns(schedule: Schedule, durations: Durations, width: int) -> list[int]:
    """Every stage's all-reduce by Rabenseifner's algorithm, in nanoseconds."""
    found = []
    for stage in range(schedule.stages):
        ranks = Grid(schedule.devices, width).replica_ranks(schedule, stage)
        cost = replace(cost_among(durations.profile, ranks), algorithm="rabenseifner")
        found.append(all_reduce_ns(cost, durations.stage(stage).gradient_bytes, len(ranks)))
    return found
