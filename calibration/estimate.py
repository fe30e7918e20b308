"""What a pipelined run reveals: stage times, dispatch gaps, message delays and closing costs, in place.

Isolated timings miss what happens between and around the actions of a real pipeline, so the last
word belongs to short runs through the executor. Everything here reads measured timelines only.
"""

from __future__ import annotations

__all__ = ["InPlace", "observe"]

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.actions import Action, Kind
from pipeline.dependencies import message_for
from pipeline.schedule import Schedule
from pipeline.timeline import Span, Timeline

_PRODUCER = {Kind.F: (-1, (Kind.F,)), Kind.B: (1, (Kind.B, Kind.I)), Kind.I: (1, (Kind.B, Kind.I))}
_CLEARLY_NS = 500_000
"""A message counts as waited for, or as long there, only by this margin: the rest tells neither."""


@dataclass(slots=True)
class InPlace:
    """Samples in nanoseconds, gathered over many iterations of one or several schedules.

    `compute[(stage, kind)]` are span lengths, `gaps` the pauses of a device between two actions
    when nothing was missing, `edges[kind]` the delay from the end of a producer to the start of a
    consumer that was waiting for it, `steps[stage]` optimizer steps, `reduce_rates` pairs of (bytes,
    ns) of all-reduces, `tails` what follows the last span of the iteration.
    """

    compute: dict[tuple[int, Kind], list[int]] = field(default_factory=lambda: defaultdict(list))
    gaps: list[int] = field(default_factory=list)
    edges: dict[Kind, list[int]] = field(default_factory=lambda: defaultdict(list))
    reduce_rates: list[tuple[int, int]] = field(default_factory=list)
    steps: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    tails: list[int] = field(default_factory=list)


def observe(
    schedule: Schedule, timelines: Iterable[Timeline], gradient_bytes: Sequence[int], into: InPlace | None = None
) -> InPlace:
    """Adds what the timelines of `schedule` show to `into` (a new InPlace by default).

    `gradient_bytes[stage]` is what an all-reduce of that stage carries.
    """
    found = into or InPlace()
    for timeline in timelines:
        rows = [timeline.of_device(device) for device in range(timeline.devices)]
        ends = {part: span.end_ns for row in rows for span in row for part in span.action.parts}
        for row in rows:
            _observe_device(schedule, row, ends, found)
        _observe_closing(timeline, gradient_bytes, found)
    return found


def _observe_device(schedule: Schedule, row: tuple[Span, ...], ends: dict[Action, int], found: InPlace) -> None:
    free: int | None = None
    for span in row:
        if isinstance(span.action, Action):
            found.compute[span.action.stage, span.action.kind].append(span.end_ns - span.start_ns)
        produced = [end for part in span.action.parts if (end := _produced(schedule, part, ends)) is not None]
        ready = max(produced, default=None)
        if ready is not None and (free is None or ready > free + _CLEARLY_NS):
            found.edges[span.action.parts[0].kind].append(span.start_ns - ready)
        elif free is not None and (ready is None or ready < free - _CLEARLY_NS):
            found.gaps.append(span.start_ns - free)
        free = span.end_ns


def _produced(schedule: Schedule, action: Action, ends: dict[Action, int]) -> int | None:
    """When the remote producer of an action's message ended; None if its input is local."""
    if action.kind is Kind.W or message_for(action, schedule) is None:
        return None
    offset, kinds = _PRODUCER[action.kind]
    for kind in kinds:
        end = ends.get(action._replace(stage=action.stage + offset, kind=kind))
        if end is not None:
            return end
    return None


def _observe_closing(timeline: Timeline, gradient_bytes: Sequence[int], found: InPlace) -> None:
    for device in range(timeline.devices):
        reduces = timeline.of_device(device, "sync")
        if reduces:
            found.reduce_rates.append(_rate(reduces, gradient_bytes))
        for span in timeline.of_device(device, "optimizer"):
            found.steps[span.action.parts[0].stage].append(span.end_ns - span.start_ns)
    if timeline.spans:
        found.tails.append(timeline.end_ns - max(span.end_ns for span in timeline.spans))


def _rate(reduces: Sequence[Span], gradient_bytes: Sequence[int]) -> tuple[int, int]:
    """Mean bytes and mean share of the time: all-reduces of one device that overlap share its links."""
    busy, reached = 0, 0
    for span in sorted(reduces, key=lambda span: span.start_ns):
        busy += max(span.end_ns - max(span.start_ns, reached), 0)
        reached = max(reached, span.end_ns)
    total = sum(gradient_bytes[span.action.parts[0].stage] for span in reduces)
    return total // len(reduces), busy // len(reduces)
