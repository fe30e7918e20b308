"""COSTS on the command line: a profile, or the durations of equal stages."""

from __future__ import annotations

__all__ = ["Costs", "as_text", "profile_from"]

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.reports.output import duration_ns
from chimera.pipeline.errors import InputError

if TYPE_CHECKING:
    from chimera.simulator import Profile


@dataclass(frozen=True, slots=True)
class Costs:
    """What computation costs, as it is written on the command line."""

    profile: Annotated[
        str | None, typer.Option("--profile", help="A calibrated or a shipped profile: a file or a name.")
    ] = None
    forward: Annotated[
        str | None, typer.Option("--forward", metavar="TIME", help="Forward of every stage, such as 1ms.")
    ] = None
    backward: Annotated[
        str | None, typer.Option("--backward", metavar="TIME", help="Full backward of every stage.")
    ] = None
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
    from chimera.simulator import Profile, load_profile

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
