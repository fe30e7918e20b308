"""How a prediction is made: what `chimera simulate` and `chimera compare` both ask for."""

from __future__ import annotations

__all__ = ["Engine", "PredictionOptions", "Question", "check", "predict"]

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.options.costs import Costs, profile_from
from chimera.cli.options.network import NetworkOptions, on_network
from chimera.cli.options.partition import PARTITION, layers_per_stage
from chimera.cli.options.what_if import WhatIfOptions, slow_devices, under
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Plan, Schedule

if TYPE_CHECKING:
    from chimera.simulator import Prediction, Profile


class Engine(StrEnum):
    """Which engine predicts."""

    AUTO = "auto"
    SIMPY = "simpy"
    COMPILED = "compiled"


class Semantics(StrEnum):
    """What a transport makes wait."""

    BUFFERED = "buffered"
    RENDEZVOUS = "rendezvous"
    BATCHED = "batched"
    STREAM = "stream"


class Receives(StrEnum):
    """When receives are posted."""

    EARLY = "early"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """How to predict, as it is written on the command line."""

    microbatch_size: Annotated[int | None, typer.Option("--microbatch-size", help="Samples in a micro-batch, B.")] = (
        None
    )
    width: Annotated[int, typer.Option("--width", help="Data-parallel copies of the pipeline, W.")] = 1
    semantics: Annotated[
        Semantics, typer.Option("--semantics", help="What a transport makes wait: see docs/simulating.md.")
    ] = Semantics.BUFFERED
    receives: Annotated[
        Receives | None,
        typer.Option("--receives", help="With --semantics stream: whether receives are posted early or late."),
    ] = None
    engine: Annotated[
        Engine | None,
        typer.Option(
            "--engine", help="simpy (reference, default), compiled, or auto (default from 200,000 computations)."
        ),
    ] = None
    partition: Annotated[str | None, PARTITION] = None
    samples: Annotated[int, typer.Option("--samples", help="Draws from the profile's jitter, for an interval.")] = 0
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0


@dataclass(frozen=True, slots=True)
class Question:
    """Everything but the schedule."""

    costs: Costs
    network: NetworkOptions
    how: PredictionOptions
    changes: WhatIfOptions


def predict(schedules: list[Schedule | Plan], question: Question) -> list[Prediction]:
    """`chimera.simulator.simulate` for each at the costs of the command line, with all that was assumed about them.

    Raises InputError for options that contradict each other or the profile.
    """
    check(question.how)
    profile = profile_from(question.costs, question.network.p2p)
    profile, network = on_network(profile, question.network)
    profile, changes = under(profile, question.changes, question.how.samples)
    _check_depths(schedules, profile)
    return [_predict(schedule, profile, question, (*network, *changes)) for schedule in schedules]


def _check_depths(schedules: list[Schedule | Plan], profile: Profile) -> None:
    depths = {each.schedule.devices if isinstance(each, Plan) else each.devices for each in schedules}
    if len(depths) > 1 and profile.per_stage:
        given = f"{', '.join(map(str, sorted(depths)))} devices with costs of equal stages"
        derived = "more stages would be a larger model, and the times could not be compared"
        raise InputError(given, derived, "give --profile with layers, which are partitioned anew for each depth")


def check(how: PredictionOptions) -> None:
    """Raises InputError for options that mean nothing together."""
    given = f"--semantics {how.semantics.value}"
    if how.receives is not None and how.semantics is not Semantics.STREAM:
        derived = f"changes nothing with {given}: a receive's place decides what waits on communication streams only"
        raise InputError(f"--receives {how.receives.value}", derived, "add --semantics stream")


def _predict(planned: Schedule | Plan, profile: Profile, question: Question, said: tuple[str, ...]) -> Prediction:
    from chimera.simulator import simulate

    how = question.how
    plain = planned.schedule if isinstance(planned, Plan) else planned
    prediction = simulate(
        planned,
        profile,
        microbatch_size=how.microbatch_size,
        width=how.width,
        engine=how.engine.value if how.engine else None,
        samples=how.samples,
        seed=how.seed,
        semantics=how.semantics.value,
        receives="early" if how.receives is None else how.receives.value,
        slow_devices=slow_devices(question.changes.slow_device),
        partition=layers_per_stage(how.partition, plain, profile=profile),
    )
    return replace(prediction, assumptions=(*prediction.assumptions, *said, *_transport(how)))


def _transport(how: PredictionOptions) -> tuple[str, ...]:
    """What was assumed about the transport, unless that is the usual."""
    if how.semantics is Semantics.STREAM:
        when = "if messages took no time" if how.receives is not Receives.LATE else "when messages take their time"
        order = f"served in the order in which they would be sent {when}"
        return (f"one communication stream a device, its messages {order}",)
    if how.semantics is Semantics.BUFFERED:
        return ()
    return (f"messages are {how.semantics.value}: sends and receives wait for each other",)
