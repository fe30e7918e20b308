"""Which engine answers: the reference, the compiled one, or the one that is faster where both can.

Under the name `simpy` there are two that interpret events: the reference, which answers where it is asked for by that
name, and the direct engine, which says the same sooner and answers everywhere else.
"""

from __future__ import annotations

__all__ = ["Engine", "Interpret", "check_engine", "compiled_if", "engine_for", "interpreter", "times_of"]

from typing import Literal, Protocol, get_args

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.schedule import Plan, Schedule
from chimera.simulator.engines.compiled.longest_path import CompiledWorkload
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.engines.reference import device as reference
from chimera.simulator.engines.times import Times
from chimera.simulator.workload.workload import Workload

Engine = Literal["auto", "simpy", "compiled"]
_LONG = 200_000
"""computations for which interpreting events takes seconds"""


class Interpret(Protocol):
    """An engine that interprets events; `work_ns` replaces the workload's own durations."""

    def __call__(
        self, workload: Workload, work_ns: list[list[int]] | None = None, semantics: Transport = "buffered"
    ) -> Times:
        """All moments of an iteration; raises DeadlockError."""


def interpreter(asked: Engine | None) -> Interpret:
    """The engine of events: the reference where it is asked for by name, else the direct one."""
    return reference.run if asked == "simpy" else direct.run


def engine_for(planned: Schedule | Plan) -> Engine:
    """The engine where none is named: one of events, and `auto` for so many computations that it would take seconds."""
    return "auto" if sum(map(len, planned.actions)) > _LONG else "simpy"


def check_engine(engine: str | None) -> None:
    """Raises UnknownNameError, with the names there are."""
    if engine is not None and engine not in get_args(Engine):
        raise UnknownNameError("engine", engine, get_args(Engine))


def compiled_if(workload: Workload, engine: Engine, semantics: Transport) -> CompiledWorkload | None:
    """The compiled engine if it is asked for, or if that is left open and it can answer; InputError if it cannot."""
    if engine == "compiled" and semantics != "buffered":
        raise InputError("engine 'compiled'", f"cannot answer: messages are {semantics}", "use --engine simpy")
    if engine == "simpy" or semantics != "buffered":
        return None
    try:
        return CompiledWorkload(workload)
    except InputError:
        if engine == "compiled":
            raise
        return None


def times_of(workload: Workload, semantics: Transport) -> Times:
    """All moments of an iteration, by the engine that is used where none is named."""
    compiled = compiled_if(workload, engine_for(workload.plan), semantics)
    return compiled.times() if compiled else direct.run(workload, None, semantics)
