"""How a prediction is made: what `chimera simulate` and `chimera compare` both ask for."""

from __future__ import annotations

__all__ = ["Asked", "Engine", "PredictionOptions", "Question", "asked", "check"]

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.options.costs import Costs, profile_from
from chimera.cli.options.network import NetworkOptions, on_network
from chimera.cli.options.partition import PARTITION
from chimera.cli.options.what_if import WhatIfOptions, capacity_bytes, slow_devices, under
from chimera.pipeline.errors import InputError

if TYPE_CHECKING:
    from chimera.simulator import Profile
    from chimera.simulator.predicting.conditions import Conditions


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks: costs, conditions, and what a reader must know about both."""

    profile: Profile
    conditions: Conditions
    said: tuple[str, ...]


def asked(question: Question) -> Asked:
    """The profile and the conditions of the command line.

    Raises InputError for options that contradict each other or the profile.
    """
    from chimera.simulator.predicting.conditions import Conditions

    how = question.how
    check(how)
    profile = profile_from(question.costs, question.network.p2p)
    profile, network = on_network(profile, question.network)
    profile, changes = under(profile, question.changes, how.samples)
    conditions = Conditions(
        microbatch_size=how.microbatch_size,
        width=how.width,
        partition=how.partition,
        semantics=how.semantics.value,
        receives="early" if how.receives is None else how.receives.value,
        slow_devices=slow_devices(question.changes.slow_device),
        engine=how.engine.value if how.engine else None,
        samples=how.samples,
        seed=how.seed,
        capacity_bytes=capacity_bytes(question.changes.capacity),
    )
    return Asked(profile, conditions, (*network, *changes, *_transport(how)))


def check(how: PredictionOptions) -> None:
    """Raises InputError for options that mean nothing together."""
    given = f"--semantics {how.semantics.value}"
    if how.receives is not None and how.semantics is not Semantics.STREAM:
        derived = f"changes nothing with {given}: a receive's place decides what waits on communication streams only"
        raise InputError(f"--receives {how.receives.value}", derived, "add --semantics stream")


def _transport(how: PredictionOptions) -> tuple[str, ...]:
    """What was assumed about the transport, unless that is the usual."""
    if how.semantics is Semantics.STREAM:
        when = "if messages took no time" if how.receives is not Receives.LATE else "when messages take their time"
        order = f"served in the order in which they would be sent {when}"
        return (f"one communication stream a device, its messages {order}",)
    if how.semantics is Semantics.BUFFERED:
        return ()
    return (f"messages are {how.semantics.value}: sends and receives wait for each other",)
