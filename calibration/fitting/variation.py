"""How durations vary, from pipelined runs: one `Jitter` in which nothing is counted twice.

What an action took, over what is usual for it, is one plus three effects: its iteration's, its
device's in that iteration, and its own. Their variances are told apart by the moments of a nested
analysis of variance (Searle, Casella, McCulloch: Variance Components, chapter 3): means vary by what
is common to their members and, less the more members there are, by what is not. What is the same in
every iteration of a run is no variation and is taken out first.
"""

from __future__ import annotations

__all__ = ["fit_jitter"]

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log, sqrt
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from chimera.calibration.fitting.observations import Observation, Observations
from chimera.simulator.costs.profile import Jitter

_QUANTILES, _OUTERMOST = 33, 0.005
_STRAGGLER_SPREADS, _STRAGGLER_LEAST = 5.0, 0.1
_MAD_TO_DEVIATION = 1.4826
_STALL_SPREADS, _STALL_LEAST_NS = 5.0, 500_000
"""of a stall at least; a smaller one is variation like any other"""


class _Cell(NamedTuple):
    """One device in one iteration of one run."""

    run: int
    iteration: int
    device: int


_Cells = Mapping[_Cell, Sequence[float]]
"""relative durations, 1 being usual"""


def fit_jitter(observations: Observations) -> Jitter:
    """What varies, and by how much; all zero with fewer than 33 observations.

    Computations: quantiles of an action's own residual, the outermost being the 0.5 % ones. A start
    delay beyond the usual belongs to it unless it waited for a message; then it is the message's. An
    action has stalled that, its message's delay included, took half a millisecond and five robust
    standard deviations longer than the others of its iteration and device: rare, but longer iterations
    have more of them. A straggler is a device whose actions took, in one iteration, a tenth and five
    robust standard deviations longer than usual; both count for nothing else. Iterations set aside as
    disturbed are not among those observed: stragglers that hold up whole rounds by more than a tenth are
    taken for disturbances from outside.
    """
    cells, stalls = _without_stalls(_relative_durations(observations.actions))
    if sum(map(len, cells.values())) < _QUANTILES:
        return Jitter()
    slow = _stragglers(cells)
    usual = {cell: row for cell, row in cells.items() if cell not in slow}
    iteration, device = _common_variances(usual)
    grid = np.linspace(_OUTERMOST, 1 - _OUTERMOST, _QUANTILES)
    return Jitter(
        action_quantiles=tuple(max(float(value), -0.9) for value in np.quantile(_own(usual), grid)),
        device_spread=sqrt(device),
        iteration_spread=sqrt(iteration),
        message_spread=_spread([(1, [seen.delay_ns for seen in observations.actions if seen.start == "waited"])]),
        all_reduce_spread=_spread((len(stages), row) for stages, row in observations.reduce_times.items()),
        optimizer_spread=sqrt(
            max(_spread((1, row) for row in observations.steps.values()) ** 2 - iteration - device, 0.0)
        ),
        straggler_probability=len(slow) / len(cells),
        straggler_factor=max(1.0, median(slow.values())) if slow else 1.0,
        stalls_per_s=1e9 * len(stalls) / sum(seen.duration_ns for seen in observations.actions),
        stall_ns=round(fmean(stalls)) if stalls else 0,
    )


class _Relative(NamedTuple):
    """A duration, late start included, over what is usual for it; the same with its message's delay; and that usual."""

    own: float
    whole: float
    usual_ns: float


def _relative_durations(actions: Sequence[Observation]) -> dict[_Cell, list[_Relative]]:
    """Every duration over the median of what differs only by iteration and micro-batch."""
    late, messages = _lateness(actions)
    alike: dict[tuple[object, ...], list[tuple[Observation, float, float]]] = defaultdict(list)
    for seen, late_ns, message_ns in zip(actions, late, messages, strict=True):
        key = (seen.run, seen.device, seen.stage, seen.kind, seen.context, seen.split, seen.turn)
        alike[key].append((seen, late_ns, message_ns))
    cells: dict[_Cell, list[_Relative]] = defaultdict(list)
    for members in alike.values():
        centre = median(seen.duration_ns for seen, _, _ in members)
        for seen, late_ns, message_ns in members:
            own = (seen.duration_ns + late_ns) / centre
            cells[_Cell(seen.run, seen.iteration, seen.device)].append(
                _Relative(own, own + message_ns / centre, centre)
            )
    return cells


def _without_stalls(cells: Mapping[_Cell, Sequence[_Relative]]) -> tuple[dict[_Cell, list[float]], list[float]]:
    """The durations of actions that did not stall, and by how many nanoseconds the others did."""
    usual = {cell: median(one.own for one in row) for cell, row in cells.items()}
    beyond = [(cell, one, one.whole - usual[cell]) for cell, row in cells.items() for one in row]
    if not beyond:
        return {}, []
    spread = _MAD_TO_DEVIATION * median(abs(one.own - usual[cell]) for cell, one, _ in beyond)
    kept: dict[_Cell, list[float]] = defaultdict(list)
    stalls: list[float] = []
    for cell, one, excess in beyond:
        if excess * one.usual_ns > max(_STALL_LEAST_NS, _STALL_SPREADS * spread * one.usual_ns):
            stalls.append(excess * one.usual_ns)
        else:
            kept[cell].append(one.own)
    return kept, stalls


def _lateness(actions: Sequence[Observation]) -> tuple[list[float], list[float]]:
    """Nanoseconds by which each action started later than usual through its device's own fault, and its message's.

    The first is what its start delay exceeds the usual one of the same action in other iterations, if
    it had no message to wait for; where that is unclear, what it exceeds the usual message's time. If it
    waited, the second is that.
    """
    delays: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for seen in actions:
        delays[_place(seen)].append(seen.delay_ns)
    usual = {place: median(row) for place, row in delays.items()}
    message = median([seen.delay_ns for seen in actions if seen.start == "waited"] or [0])
    own = [_late(seen, usual[_place(seen)], message) for seen in actions]
    return own, [seen.delay_ns - message if seen.start == "waited" else 0.0 for seen in actions]


def _late(seen: Observation, usual_ns: float, message_ns: float) -> float:
    if seen.start == "waited":
        return 0.0
    return max(seen.delay_ns - message_ns, 0.0) if seen.start == "unclear" else seen.delay_ns - usual_ns


def _place(seen: Observation) -> tuple[object, ...]:
    """Which action of which run it is, and how it came to start, whatever the iteration."""
    return seen.run, seen.device, seen.stage, seen.kind, seen.microbatch, seen.start


def _stragglers(cells: _Cells) -> dict[_Cell, float]:
    """The devices that were far slower than usual in an iteration, and how many times as slow they were."""
    means = {cell: median(row) for cell, row in cells.items()}
    centre = median(means.values())
    deviation = _MAD_TO_DEVIATION * median(abs(mean - centre) for mean in means.values())
    limit = centre + max(_STRAGGLER_LEAST * centre, _STRAGGLER_SPREADS * deviation)
    return {cell: mean / centre for cell, mean in means.items() if mean > limit}


def _own(cells: _Cells) -> list[float]:
    """What is left of every action beyond what its cell has in common, as wide as if that were known."""
    grand = fmean(value for row in cells.values() for value in row)
    return [
        grand - 1 + (value - fmean(row)) * sqrt(len(row) / (len(row) - 1))
        for row in cells.values()
        if len(row) > 1
        for value in row
    ]


def _common_variances(cells: _Cells) -> tuple[float, float]:
    """The variances of what is common to an iteration, and to one device in it."""
    means = {cell: fmean(_clipped(row)) for cell, row in cells.items()}
    within = _pooled_variance(_clipped(row) for row in cells.values())
    rows: dict[tuple[int, int], list[_Cell]] = defaultdict(list)
    for cell in cells:
        rows[cell.run, cell.iteration].append(cell)
    noise = fmean(within / len(row) for row in cells.values())
    device = max(_pooled_variance([means[cell] for cell in members] for members in rows.values()) - noise, 0.0)
    levels: dict[int, list[float]] = defaultdict(list)
    for (run, _), members in rows.items():
        levels[run].append(fmean(means[cell] for cell in members))
    error = fmean((device + noise) / len(members) for members in rows.values())
    return max(_pooled_variance(levels.values()) - error, 0.0), device


def _clipped(row: Sequence[float]) -> list[float]:
    """One stall of one action is that action's: it must not make its whole iteration look slow."""
    limit = 2 * median(row)
    return [min(value, limit) for value in row]


def _pooled_variance(groups: Iterable[Sequence[float]]) -> float:
    """The variance around each group's own mean; 0 where no group has two members."""
    squares, freedom = 0.0, 0
    for row in groups:
        squares += fmean((value - fmean(row)) ** 2 for value in row) * len(row)
        freedom += len(row) - 1
    return squares / freedom if freedom else 0.0


def _spread(times: Iterable[tuple[int, Collection[int]]]) -> float:
    """The log-normal spread around the median of each row, from the middle two thirds of all logarithms.

    Rows come with how many equal things one after another each time is of: those vary by the root of that less.
    """
    logs = [
        sqrt(count) * log(value / median(row))
        for count, row in times
        if len(row) > 1 and median(row) > 0
        for value in row
        if value > 0
    ]
    if not logs:
        return 0.0
    low, high = np.quantile(logs, [0.1587, 0.8413])
    return float(high - low) / 2
