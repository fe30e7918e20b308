"""Durations and sizes with units: text at the edges, integer nanoseconds and bytes inside."""

from __future__ import annotations

__all__ = [
    "FLOAT32_BYTES",
    "format_bandwidth",
    "format_bytes",
    "format_ns",
    "parse_bandwidth",
    "parse_bytes",
    "parse_ns",
]

import re
from decimal import Decimal

from chimera.pipeline.errors import InputError

FLOAT32_BYTES = 4
_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_BYTES = {"B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
_BITS = {f"{prefix}bit": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_ns(text: str) -> int:
    """Nanoseconds of a duration such as `1ms`, `250us` or `1.5s`; rounds to the nearest.

    Raises InputError for a missing or unknown unit and for a negative duration.
    """
    return _parse(text, "duration", {**_NS, "µs": 1000}, "1ms, 250us, 1.5s")


def parse_bytes(text: str) -> int:
    """Bytes of a size such as `16MiB` or `32GB`; raises InputError as `parse_ns` does."""
    return _parse(text, "size", {**_BYTES, "kB": 1000}, "16MiB, 32GB, 512KiB")


def parse_bandwidth(text: str) -> float:
    """Bytes per second of a bandwidth such as `10GB/s`, `800MiB/s`, `100Gbit/s`; raises InputError as `parse_ns` does.

    A bandwidth of zero is refused too: nothing would ever arrive.
    """
    amount, slash, per = text.strip().rpartition("/")
    if not slash or per.strip() != "s":
        raise InputError(f"bandwidth {text!r}", "is not a size per second", "write 10GB/s, 800MiB/s, 100Gbit/s")
    bits = amount.strip().endswith("bit")
    units = _BITS if bits else {**_BYTES, "kB": 1000}
    bandwidth = _parse(amount, "bandwidth", units, "10GB/s, 800MiB/s, 100Gbit/s") / (8 if bits else 1)
    if not bandwidth:
        raise InputError(f"bandwidth {text!r}", "is zero: nothing would ever arrive", "give a bandwidth above zero")
    return bandwidth


def _parse(text: str, noun: str, units: dict[str, int], examples: str) -> int:
    smallest = next(iter(units))
    match = _QUANTITY.fullmatch(text.replace("µ", "u"))
    if not match:
        raise InputError(f"{noun} {text!r}", "is not a number with a unit", f"write {examples}")
    number, unit = match.groups()
    if not unit:
        raise InputError(f"{noun} {text!r}", "has no unit", f"write {examples}")
    if unit not in units:
        known = ", ".join(units)
        raise InputError(f"{noun} {text!r}", f"unit {unit!r} is unknown", f"use one of {known}")
    value = Decimal(number) * units[unit]
    if value < 0:
        raise InputError(f"{noun} {text!r}", "is negative", f"give a {noun} of zero or more")
    whole = int(value.to_integral_value())
    if value and not whole:
        raise InputError(
            f"{noun} {text!r}",
            f"is less than half a {smallest}, the smallest there is",
            f"write {examples}, or 0{smallest}",
        )
    return whole


def format_ns(ns: float) -> str:
    """A duration for people: four significant digits and the unit that fits."""
    for unit in ("s", "ms", "us"):
        if abs(ns) >= _NS[unit]:
            return f"{ns / _NS[unit]:.4g} {unit}"
    return f"{ns:.4g} ns"


def format_bandwidth(bytes_per_s: float) -> str:
    """A bandwidth for people, in decimal units as networks are sold: `12.5 GB/s`."""
    for unit in ("TB", "GB", "MB", "KB"):
        if bytes_per_s >= _BYTES[unit]:
            return f"{bytes_per_s / _BYTES[unit]:.4g} {unit}/s"
    return f"{bytes_per_s:.4g} B/s"


def format_bytes(size: float) -> str:
    """A size for people, in binary units: `12.5 MiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size) >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.4g} {unit}"
    return f"{size:.0f} B"
