"""Zero Bubble's automatic schedules under a memory limit, ZB-1p and ZB-2p (arXiv 2401.10241, section 3.1).

The search (`zero_bubble_search`) simulates the times given as options, integers in any unit.
By default an activation is stored until its W. The paper's computed rates let I free what W does
not need (for a GPT layer all but 32h of 34h+5as); `kept` says how much stays.
"""

from __future__ import annotations

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import OptionSpec, register
from chimera.pipeline.schedules.search.zero_bubble import WHOLE, Times, search

_SOURCE = "Zero Bubble, arXiv 2401.10241, section 3.1"
_TIMES = {
    "forward": OptionSpec(1, None, "time of F, an integer in any unit"),
    "backward_input": OptionSpec(1, None, "time of I, in the same unit"),
    "backward_weight": OptionSpec(1, None, "time of W, in the same unit"),
    "comm": OptionSpec(0, None, "time of a message between neighbours, in the same unit"),
    "kept": OptionSpec(WHOLE, None, "thousandths of an activation that stay from I to W; 1000 is all of it"),
}


@register(
    "zb-1p",
    source=_SOURCE,
    constraints="times >= 0, limit >= 1",
    bubble="about (p-1)(F+I-W) while W <= F, W <= I, searched",
    activations="min(m, limit), p by default",
    options=_TIMES | {"limit": OptionSpec(0, None, "activations a stage may store; 0 means D")},
)
def zb_1p(
    stages: int,
    microbatches: int,
    forward: int = 1,
    backward_input: int = 1,
    backward_weight: int = 1,
    comm: int = 0,
    kept: int = WHOLE,
    limit: int = 0,
) -> Schedule:
    """As much memory as 1F1B. Raises InputError for negative times or a negative limit."""
    times = Times(forward, backward_input, backward_weight, comm)
    return _automatic("zb-1p", stages, microbatches, times, limit or stages, kept)


@register(
    "zb-2p",
    source=_SOURCE,
    constraints="times >= 0, limit >= 1",
    bubble="about (p-1)(F+I-2W) in the longest device while W <= F, W <= I, searched; less with kept < 1000",
    activations="min(m, limit), 2p by default",
    options=_TIMES | {"limit": OptionSpec(0, None, "activations a stage may store; 0 means 2D")},
)
def zb_2p(
    stages: int,
    microbatches: int,
    forward: int = 1,
    backward_input: int = 1,
    backward_weight: int = 1,
    comm: int = 0,
    kept: int = WHOLE,
    limit: int = 0,
) -> Schedule:
    """Twice the memory of 1F1B. Raises InputError for negative times or a negative limit."""
    times = Times(forward, backward_input, backward_weight, comm)
    return _automatic("zb-2p", stages, microbatches, times, limit or 2 * stages, kept)


def _automatic(name: str, stages: int, microbatches: int, times: Times, limit: int, kept: int) -> Schedule:
    given = times._asdict() | {"kept": kept, "limit": limit}
    for option, value in given.items():
        if value < (option == "limit"):
            raise InputError(
                f"{option} = {value}", f"is too little for {name}", f"use {int(option == 'limit')} or more"
            )
    if kept > WHOLE:
        raise InputError(f"kept = {kept}", f"is more than the whole activation, {WHOLE}", f"use at most {WHOLE}")
    kinds = search(stages, microbatches, times, limit, kept)
    rows = tuple(_numbered(stage, row) for stage, row in enumerate(kinds))
    return Schedule(name, stages, stages, microbatches, (tuple(range(stages)),), (0,) * microbatches, rows, given)


def _numbered(stage: int, kinds: list[Kind]) -> tuple[Action, ...]:
    """Every kind's micro-batches in ascending order."""
    following = {Kind.F: 0, Kind.I: 0, Kind.W: 0}
    row = []
    for kind in kinds:
        row.append(Action(stage, kind, following[kind]))
        following[kind] += 1
    return tuple(row)
