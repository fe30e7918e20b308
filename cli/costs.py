"""COSTS on the command line: a profile, or the durations of equal stages."""

from __future__ import annotations

__all__ = [
    "BACKWARD",
    "BACKWARD_INPUT",
    "BACKWARD_WEIGHT",
    "FORWARD",
    "P2P",
    "PROFILE",
    "as_text",
    "per_chunk",
    "predict",
    "profile_from",
]

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from cli.output import duration_ns
from pipeline.errors import InputError
from pipeline.schedule import Plan, Schedule

if TYPE_CHECKING:
    from simulator import Prediction, Profile
    from simulator.profile import SizeCost

PROFILE = typer.Option(None, "--profile", help="A calibrated or a shipped profile: a file or a name.")
FORWARD = typer.Option(None, "--forward", metavar="TIME", help="Forward of every stage, such as 1ms.")
BACKWARD = typer.Option(None, "--backward", metavar="TIME", help="Full backward of every stage.")
BACKWARD_INPUT = typer.Option(None, "--backward-input", metavar="TIME", help="Backward for inputs, where it is split.")
BACKWARD_WEIGHT = typer.Option(None, "--backward-weight", metavar="TIME", help="Backward for weights, where it is split.")
P2P = typer.Option(None, "--p2p", metavar="TIME", help="Latency of every message between devices; default 0ms.")


def profile_from(profile: str | None, *durations: str | None) -> Profile:
    """The profile that a command line means; `durations` in the order of the options above.

    Raises InputError for none, for both kinds, and for half of one.
    """
    from simulator import Profile

    used = _used(*durations)
    if profile is not None:
        if used:
            raise InputError(f"--profile with {', '.join(used)}", "are two kinds of costs", "give one of them")
        return Profile.load(profile)
    _check_complete(used)
    found = {option.removeprefix("--").replace("-", "_"): duration_ns(option, text) for option, text in used.items()}
    return Profile.uniform(**found)


def as_text(profile: str | None, *durations: str | None) -> str:
    """The options as they were given, to be copied into the next command."""
    given = {"--profile": profile} if profile is not None else _used(*durations)
    return " ".join(f"{option} {text}" for option, text in given.items())


def _used(*durations: str | None) -> dict[str, str]:
    options = ("--forward", "--backward", "--backward-input", "--backward-weight", "--p2p")
    return {option: text for option, text in zip(options, durations, strict=True) if text is not None}


def _check_complete(used: dict[str, str]) -> None:
    example = "--forward 1ms --backward 2ms"
    if not used:
        raise InputError("no costs", "nothing says how long a stage takes", f"give --profile FILE, or {example}")
    if "--forward" not in used:
        raise InputError(f"{', '.join(used)} without --forward", "leaves the forward unknown", f"give {example}")
    halves = [half for half in ("--backward-input", "--backward-weight") if half in used]
    if len(halves) == 1:
        raise InputError(f"{halves[0]} alone", "is half a backward", "give --backward-input and --backward-weight")
    if not halves and "--backward" not in used:
        raise InputError("--forward alone", "leaves the backward unknown", f"give {example}")


def predict(schedule: Schedule | Plan, profile: Profile, **options: Any) -> Prediction:
    """`simulator.simulate` at the costs of the command line, with all that was assumed about them."""
    from simulator import simulate

    machine, assumptions = per_chunk(profile, schedule.schedule if isinstance(schedule, Plan) else schedule)
    prediction = simulate(schedule, machine, **options)
    return replace(prediction, assumptions=(*prediction.assumptions, *assumptions)) if assumptions else prediction


def per_chunk(profile: Profile, schedule: Schedule) -> tuple[Profile, tuple[str, ...]]:
    """Uniform costs are those of a device's share of the model: where it holds v chunks, each costs 1/v.

    So that schedules with one and with several chunks a device do the same work; the assumption
    says so. Other profiles, which know layers, are returned as they are.
    """
    if not profile.per_stage or schedule.stages == schedule.devices:
        return profile, ()
    (layer,) = profile.layers
    costs = tuple(_share(cost, schedule.devices, schedule.stages) for cost in layer.costs)
    assumption = (
        f"each of the {schedule.stages} stages takes {schedule.devices}/{schedule.stages} of the given times: "
        "the same model, cut finer than one stage a device"
    )
    return replace(profile, layers=(replace(layer, costs=costs),)), (assumption,)


def _share(cost: SizeCost, numerator: int, denominator: int) -> SizeCost:
    def part(value: int | None) -> int | None:
        return None if value is None else round(value * numerator / denominator)

    return replace(
        cost,
        forward_ns=round(cost.forward_ns * numerator / denominator),
        backward_ns=part(cost.backward_ns),
        backward_input_ns=part(cost.backward_input_ns),
        backward_weight_ns=part(cost.backward_weight_ns),
    )
