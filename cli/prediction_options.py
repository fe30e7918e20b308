"""How a prediction is made: what `chimera simulate` and `chimera compare` both ask for."""

from __future__ import annotations

__all__ = ["Engine", "PredictionOptions", "Question", "predict"]

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.costs import Costs, per_chunk, profile_from
from cli.network_options import NetworkOptions, on_network
from cli.what_if import WhatIfOptions, slow_devices
from pipeline.schedule import Plan, Schedule

if TYPE_CHECKING:
    from simulator import Prediction, Profile


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


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """How to predict, as it is written on the command line."""

    microbatch_size: Annotated[int | None, typer.Option("--microbatch-size", help="Samples in a micro-batch, B.")] = None
    width: Annotated[int, typer.Option("--width", help="Data-parallel copies of the pipeline, W.")] = 1
    semantics: Annotated[
        Semantics, typer.Option("--semantics", help="What a transport makes wait: see docs/simulating.md.")
    ] = Semantics.BUFFERED
    engine: Annotated[Engine, typer.Option("--engine", help="simpy (reference), compiled, or auto.")] = Engine.SIMPY
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
    """`simulator.simulate` for each at the costs of the command line, with all that was assumed about them.

    Raises InputError for options that contradict each other or the profile.
    """
    profile = profile_from(question.costs, question.network.p2p)
    profile, network = on_network(profile, question.network)
    return [_predict(schedule, profile, question, network) for schedule in schedules]


def _predict(planned: Schedule | Plan, profile: Profile, question: Question, network: tuple[str, ...]) -> Prediction:
    from simulator import simulate

    how = question.how
    machine, chunks = per_chunk(profile, planned.schedule if isinstance(planned, Plan) else planned)
    prediction = simulate(
        planned, machine, microbatch_size=how.microbatch_size, width=how.width, engine=how.engine.value,
        samples=how.samples, seed=how.seed, semantics=how.semantics.value,
        slow_devices=slow_devices(question.changes.slow_device),
    )  # fmt: skip
    return replace(prediction, assumptions=(*prediction.assumptions, *chunks, *network))
