"""COSTS on the command line: a profile, or the durations of equal stages."""

from __future__ import annotations

__all__ = ["BACKWARD", "BACKWARD_INPUT", "BACKWARD_WEIGHT", "FORWARD", "P2P", "PROFILE", "per_chunk", "profile_from"]

from typing import TYPE_CHECKING

from dataclasses import replace

import typer

from pipeline.errors import InputError
from pipeline.schedule import Schedule
from pipeline.units import parse_ns

if TYPE_CHECKING:
    from simulator import Profile

PROFILE = typer.Option(None, "--profile", help="A calibrated or a shipped profile: a file or a name.")
FORWARD = typer.Option(None, "--forward", metavar="TIME", help="Forward of every stage, such as 1ms.")
BACKWARD = typer.Option(None, "--backward", metavar="TIME", help="Full backward of every stage.")
BACKWARD_INPUT = typer.Option(None, "--backward-input", metavar="TIME", help="Backward for inputs, where it is split.")
BACKWARD_WEIGHT = typer.Option(None, "--backward-weight", metavar="TIME", help="Backward for weights, where it is split.")
P2P = typer.Option(None, "--p2p", metavar="TIME", help="Latency of every message between devices; default 0ms.")


def profile_from(
    profile: str | None,
    forward: str | None,
    backward: str | None,
    backward_input: str | None,
    backward_weight: str | None,
    p2p: str | None,
) -> Profile:
    """The profile that a command line means; InputError for none, for both kinds, and for half of one."""
    from simulator import Profile

    texts = {
        "--forward": forward,
        "--backward": backward,
        "--backward-input": backward_input,
        "--backward-weight": backward_weight,
        "--p2p": p2p,
    }
    used = {option: text for option, text in texts.items() if text is not None}
    if profile is not None:
        if used:
            raise InputError(f"--profile with {', '.join(used)}", "are two kinds of costs", "give one of them")
        return Profile.load(profile)
    _check_complete(used)
    found = {option.removeprefix("--").replace("-", "_"): _duration(option, text) for option, text in used.items()}
    return Profile.uniform(**found)


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


def _duration(option: str, text: str) -> int:
    try:
        return parse_ns(text)
    except InputError as error:
        raise InputError(f"{option} {text}", error.derived, error.remedy) from None


def per_chunk(profile: Profile, schedule: Schedule) -> Profile:
    """Uniform costs are those of a device's share of the model: where it holds v chunks, each costs 1/v.

    So that schedules with one and with several chunks a device do the same work. Other profiles,
    which know layers, are returned as they are.
    """
    if not profile.per_stage or schedule.stages == schedule.devices:
        return profile
    (layer,) = profile.layers
    (cost,) = layer.costs
    times = ("forward_ns", "backward_ns", "backward_input_ns", "backward_weight_ns")
    shares = {
        name: None if value is None else round(value * schedule.devices / schedule.stages)
        for name, value in ((name, getattr(cost, name)) for name in times)
    }
    return replace(profile, layers=(replace(layer, costs=(replace(cost, **shares),)),))
