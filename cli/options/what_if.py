"""What if: a slower device, a device's memory, for `chimera simulate` and `chimera compare`."""

from __future__ import annotations

__all__ = ["WhatIfOptions", "capacity_bytes", "memory_key", "memory_note", "slow_devices", "under"]

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera.cli.reports.output import note
from chimera.pipeline.errors import InputError
from chimera.pipeline.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from chimera.simulator import Prediction, Profile
    from chimera.simulator.costs.what_if import OutOfMemory


@dataclass(frozen=True, slots=True)
class WhatIfOptions:
    """Changed conditions, as they are written on the command line."""

    slow_device: Annotated[
        list[str],
        typer.Option(
            "--slow-device", metavar="DEVICE=FACTOR", help="What if a device computed FACTOR times as long; repeatable."
        ),
    ] = field(default_factory=list)
    slow_link: Annotated[
        list[str],
        typer.Option(
            "--slow-link",
            metavar="A-B=FACTOR",
            help="What if the link between two devices were FACTOR times as slow, for messages and all-reduces; "
            "repeatable.",
        ),
    ] = field(default_factory=list)
    faster_network: Annotated[
        float | None,
        typer.Option(
            "--faster-network",
            metavar="FACTOR",
            help="What if all latencies were divided, all bandwidths multiplied by it.",
        ),
    ] = None
    cores: Annotated[
        int | None, typer.Option("--cores", metavar="C", help="What if the devices of a host shared C cores.")
    ] = None
    jitter: Annotated[
        str | None,
        typer.Option(
            "--jitter", metavar="PERCENT", help="What if everything varied by so much, such as 5%; with --samples."
        ),
    ] = None
    stragglers: Annotated[
        str | None,
        typer.Option(
            "--stragglers",
            metavar="SHARE=FACTOR",
            help="What if in so many iterations (0.1) a device took FACTOR times as long; with --samples.",
        ),
    ] = None
    capacity: Annotated[
        str | None,
        typer.Option("--capacity", metavar="SIZE", help="Memory of a device: who runs out first, and where."),
    ] = None


def slow_devices(given: list[str]) -> dict[int, float]:
    """`2=1.5` and the like; InputError for anything else."""
    return {
        int(device): factor
        for device, factor in (
            _pair("--slow-device", text, r"\d+|-\d+", "a device's number", "2=1.5") for text in given
        )
    }


def under(profile: Profile, changes: WhatIfOptions, samples: int) -> tuple[Profile, tuple[str, ...]]:
    """The profile under changed conditions, and these in words; slow devices are not part of a profile.

    Raises InputError for what is malformed or would change nothing.
    """
    from chimera.simulator.costs import what_if

    found = []
    if changes.faster_network is not None:
        profile = what_if.faster_network(profile, changes.faster_network)
        found.append(
            f"all latencies divided and all bandwidths multiplied by {changes.faster_network:g}; host time stays"
        )
    slow = _slow_links(changes.slow_link)
    if slow:
        profile = what_if.with_slow_links(profile, slow)
    found += [
        f"messages between devices {one} and {other} are {factor:g} times as slow"
        for (one, other), factor in slow.items()
    ]
    if changes.cores is not None:
        profile = what_if.on_cores(profile, changes.cores)
    for option, text in (("--jitter", changes.jitter), ("--stragglers", changes.stragglers)):
        if text is not None and not samples:
            raise InputError(
                f"{option} {text} without --samples", "nothing is drawn, so nothing varies", "add --samples 200"
            )
    if changes.jitter is not None:
        profile = what_if.jittery(profile, _share(changes.jitter))
        found.append(f"every duration varies by {changes.jitter} (log-normal)")
    if changes.stragglers is not None:
        share, factor = _pair("--stragglers", changes.stragglers, r"[\d.]+", "a share", "0.1=1.5")
        profile = what_if.straggling(profile, float(share), factor)
        found.append(
            f"in {float(share):.4g} of the iterations a device takes {factor:g} times as long, each on its own"
        )
    return profile, tuple(found)


def _slow_links(given: list[str]) -> dict[tuple[int, int], float]:
    found = {}
    for text in given:
        pair, factor = _pair("--slow-link", text, r"\d+-\d+", "two devices' numbers", "0-1=3")
        one, _, other = pair.partition("-")
        found[int(one), int(other)] = factor
    return found


def _pair(option: str, text: str, pattern: str, what: str, example: str) -> tuple[str, float]:
    """What stands on the left of KEY=FACTOR, and the factor."""
    key, separator, factor = text.partition("=")
    remedy = f"write for example {option} {example}"
    if not separator:
        raise InputError(f"{option} {text}", "has no =FACTOR", remedy)
    try:
        if re.fullmatch(pattern, key.strip()):
            return key.strip(), float(factor)
    except ValueError:
        pass
    raise InputError(f"{option} {text}", f"needs {what} and a factor", remedy)


def _share(text: str) -> float:
    """`5%` as 0.05."""
    if not re.fullmatch(r"\d+(\.\d+)?\s*%", text.strip()):
        raise InputError(f"--jitter {text}", "is not a percentage", "write for example --jitter 5%")
    found = float(text.strip().rstrip("% ")) / 100
    if found > 1:
        raise InputError(
            f"--jitter {text}", "would make most durations several times as long or short", "give at most 100%"
        )
    return found


def capacity_bytes(given: str | None) -> int | None:
    """Bytes of --capacity."""
    if given is None:
        return None
    try:
        found = parse_bytes(given)
    except InputError as error:
        raise InputError(f"--capacity {given}", error.derived, error.remedy) from None
    if not found:
        raise InputError(f"--capacity {given}", "holds nothing", "give the memory of a device, such as 16GiB")
    return found


def memory_key(exceeds: OutOfMemory | None, capacity: int | None) -> dict[str, Any]:
    """`out_of_memory`: null, or who exceeds the capacity first; nothing without a capacity."""
    if capacity is None:
        return {}
    return {"capacity_bytes": capacity, "out_of_memory": None if exceeds is None else exceeds.as_json()}


def memory_note(prediction: Prediction, exceeds: OutOfMemory | None, capacity: int | None) -> None:
    """Says who runs out of memory, or that nobody does."""
    if capacity is None:
        return
    name = prediction.schedule.name
    peaks = [device.peak_memory_bytes or 0 for device in prediction.metrics.per_device]
    if not any(peaks):
        note(f"{name}: whether {format_bytes(capacity)} are enough is unknown: the profile holds no sizes")
        return
    enough = f"{format_bytes(capacity)} are enough: no device holds more than {format_bytes(max(peaks))}"
    note(f"{name}: {exceeds or enough}")
