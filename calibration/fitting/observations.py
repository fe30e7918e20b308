"""What pipelined runs reveal: stage times in place, their context, message delays and closing costs.

Isolated timings miss what happens between and around the actions of a real pipeline, so the last
word belongs to short runs through the executor. Everything here reads measured timelines only.
"""

from __future__ import annotations

__all__ = ["Observation", "Observations", "observe"]

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.rules import Context, context_of, message_for, split_backwards
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.timeline import Span, Timeline

Start = Literal["waited", "ready", "unclear", "first"]
"""Whether a message made the action wait, was long there, or came at about the right time."""
_PRODUCER = {Kind.F: (-1, (Kind.F,)), Kind.B: (1, (Kind.B, Kind.I)), Kind.I: (1, (Kind.B, Kind.I))}
_CLEARLY_NS = 500_000


class Observation(NamedTuple):
    """One computation: how long it took, and how long after it could have started it did start.

    `split` marks forwards whose backward comes as I and W, `recompute` computations of stages that
    recompute. `run` and `iteration` count the calls of `observe` and the timelines of all of them; `turn`
    counts what the device had computed of this stage and kind in this iteration.
    """

    stage: int
    kind: Kind
    context: Context
    split: bool
    duration_ns: int
    start: Start
    delay_ns: int
    microbatch: int = 0
    device: int = 0
    iteration: int = 0
    run: int = 0
    turn: int = 0
    recompute: bool = False


@dataclass(slots=True)
class Observations:
    """Observations in nanoseconds, gathered over many iterations of one or several schedules.

    `steps[stage]` are optimizer steps, `reduces` triples of (ranks, bytes, ns) of all-reduces as each device
    saw them, `tails` what follows the last span of an iteration. `reduce_times[stages]` is, iteration by
    iteration, how long the all-reduces of these stages took together on the device that came to them last.
    """

    actions: list[Observation] = field(default_factory=list)
    reduces: list[tuple[int, int, int]] = field(default_factory=list)
    steps: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    reduce_times: dict[tuple[int, ...], list[int]] = field(default_factory=lambda: defaultdict(list))
    tails: list[int] = field(default_factory=list)
    runs: int = 0
    iterations: int = 0


def observe(
    schedule: Schedule,
    timelines: Iterable[Timeline],
    gradient_bytes: Sequence[int],
    observations: Observations,
    *,
    width: int = 1,
) -> None:
    """Adds what the timelines of `schedule` on `width` copies of the pipeline show to `observations`.

    `gradient_bytes[stage]` is what an all-reduce of that stage carries.
    """
    group = schedule.replicas * width
    split = {key[:2] for key in split_backwards(schedule)}
    for timeline in timelines:
        rows = [timeline.of_device(device) for device in range(timeline.devices)]
        ends = {part: span.end_ns for row in rows for span in row for part in span.action.parts}
        for device, row in enumerate(rows):
            observations.actions += [
                seen._replace(device=device, iteration=observations.iterations, run=observations.runs)
                for seen in _observe_row(schedule, row, ends, split)
            ]
        _observe_closing(timeline, group, gradient_bytes, observations)
        observations.iterations += 1
    observations.runs += 1


def _observe_row(
    schedule: Schedule, row: tuple[Span, ...], ends: dict[Action, int], split: set[tuple[int, int]]
) -> list[Observation]:
    observed = []
    before: Span | None = None
    done: Counter[tuple[int, Kind]] = Counter()
    for span in row:
        if isinstance(action := span.action, Action):
            start, delay = _start(schedule, span, before, ends)
            context = context_of(action, None if before is None else before.action)
            duration = span.end_ns - span.start_ns
            prepares = action.kind is Kind.F and (action.stage, action.microbatch) in split
            observed.append(
                Observation(
                    action.stage,
                    action.kind,
                    context,
                    prepares,
                    duration,
                    start,
                    delay,
                    action.microbatch,
                    turn=done[action[:2]],
                    recompute=schedule.recomputes(action.stage),
                )
            )
            done[action[:2]] += 1
        before = span
    return observed


def _start(schedule: Schedule, span: Span, before: Span | None, ends: dict[Action, int]) -> tuple[Start, int]:
    """How the action came to start when it did, and nanoseconds since it could have started."""
    produced = [end for part in span.action.parts if (end := _produced(schedule, part, ends)) is not None]
    sent = max(produced, default=None)
    if before is None:
        return ("first", 0) if sent is None else ("waited", span.start_ns - sent)
    free = before.end_ns
    if sent is None or sent < free - _CLEARLY_NS:
        return "ready", span.start_ns - free
    if sent > free + _CLEARLY_NS:
        return "waited", span.start_ns - sent
    return "unclear", span.start_ns - max(sent, free)


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


def _observe_closing(timeline: Timeline, group: int, gradient_bytes: Sequence[int], observations: Observations) -> None:
    together: dict[tuple[int, ...], list[int]] = defaultdict(list)
    launched = _launched(timeline)
    for device in range(timeline.devices):
        computed = max((span.end_ns for span in timeline.of_device(device)), default=0)
        # Beside computation they are slower: that has a probe of its own (`chimera.calibration.fitting.overlap`).
        reduces = [span for span in timeline.of_device(device, "sync") if span.start_ns >= computed]
        if reduces:
            mean_bytes, mean_ns = _share_links(reduces, launched, gradient_bytes)
            observations.reduces.append((group, mean_bytes, mean_ns))
            together[tuple(sorted(span.action.parts[0].stage for span in reduces))].append(mean_ns * len(reduces))
        for span in timeline.of_device(device, "optimizer"):
            observations.steps[span.action.parts[0].stage].append(span.end_ns - span.start_ns)
    for stages, times in together.items():
        observations.reduce_times[stages].append(min(times))
    if timeline.spans:
        observations.tails.append(timeline.end_ns - max(span.end_ns for span in timeline.spans))


def _launched(timeline: Timeline) -> dict[int, int]:
    """When the last device launched the all-reduce of a stage: before, the others wait and nothing is reduced."""
    launched: dict[int, int] = {}
    for device in range(timeline.devices):
        for span in timeline.of_device(device, "sync"):
            stage = span.action.parts[0].stage
            launched[stage] = max(launched.get(stage, 0), span.start_ns)
    return launched


def _share_links(
    reduces: Sequence[Span], launched: Mapping[int, int], gradient_bytes: Sequence[int]
) -> tuple[int, int]:
    """Mean bytes and mean share of the time: all-reduces of one device that overlap share its links."""
    busy, reached = 0, 0
    for stage, span in sorted(
        ((span.action.parts[0].stage, span) for span in reduces), key=lambda pair: launched[pair[0]]
    ):
        busy += max(span.end_ns - max(launched[stage], reached), 0)
        reached = max(reached, span.end_ns)
    total = sum(gradient_bytes[span.action.parts[0].stage] for span in reduces)
    return total // len(reduces), busy // len(reduces)
