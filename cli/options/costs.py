"""COSTS on the command line: a profile, or the durations of equal stages."""

from __future__ import annotations

__all__ = ["Costs", "as_text", "per_chunk", "profile_from"]

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.reports.output import duration_ns
from pipeline.errors import InputError
from pipeline.schedule import Schedule

if TYPE_CHECKING:
    from simulator import Profile
    from simulator.costs.profile import SizeCost

@dataclass(frozen=True, slots=True)
class Costs:
    """What computation costs, as it is written on the command line."""

    profile: Annotated[str | None, typer.Option("--profile", help="A calibrated or a shipped profile: a file or a name.")] = None
    forward: Annotated[
        str | None, typer.Option("--forward", metavar="TIME", help="Forward of every stage, such as 1ms.")
    ] = None
    backward: Annotated[str | None, typer.Option("--backward", metavar="TIME", help="Full backward of every stage.")] = None
    backward_input: Annotated[
        str | None, typer.Option("--backward-input", metavar="TIME", help="Backward for inputs, where it is split.")
    ] = None
    backward_weight: Annotated[
        str | None, typer.Option("--backward-weight", metavar="TIME", help="Backward for weights, where it is split.")
    ] = None

    def used(self) -> dict[str, str]:
        """The options that were given, as they were given."""
        given = ((f"--{field.name.replace('_', '-')}", getattr(self, field.name)) for field in fields(self))
        return {option: text for option, text in given if text is not None}


def profile_from(costs: Costs, p2p: str | None = None) -> Profile:
    """The profile that a command line means; `p2p` is the latency of messages between equal stages.

    Raises InputError for no costs, for both kinds, and for half of one.
    """
    from simulator import Profile, load_profile

    used = costs.used() | ({} if p2p is None else {"--p2p": p2p})
    if costs.profile is not None:
        del used["--profile"]
        if used:
            raise InputError(f"--profile with {', '.join(used)}", "are two kinds of costs", "give one of them")
        return load_profile(costs.profile)
    _check_complete(used)
    found = {option.removeprefix("--").replace("-", "_"): duration_ns(option, text) for option, text in used.items()}
    return Profile.uniform(**found)


def as_text(costs: Costs) -> str:
    """The options as they were given, to be copied into the next command."""
    return " ".join(f"{option} {text}" for option, text in costs.used().items())


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
    parameters = round(layer.parameters * schedule.devices / schedule.stages)
    return replace(profile, layers=(replace(layer, costs=costs, parameters=parameters),)), (assumption,)


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
