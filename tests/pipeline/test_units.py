"""Durations and sizes: a unit is required, nothing is guessed."""

import pytest

from chimera.pipeline.errors import InputError
from chimera.pipeline.units import format_bandwidth, format_bytes, format_ns, parse_bandwidth, parse_bytes, parse_ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1ms", 10**6), ("250us", 250_000), ("1.5s", 1_500_000_000), ("0ms", 0), ("3 ns", 3), ("2µs", 2000)],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_ns(text) == ns


@pytest.mark.parametrize(("text", "size"), [("16MiB", 16 << 20), ("32GB", 32 * 10**9), ("7B", 7), ("1KiB", 1024)])
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["1", "1.5", "ms", "", "one ms", "1 parsec", "-1ms", "1e3ms"])
def test_bad_durations_are_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_ns(text)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["16", "16Mb", "-1MiB", "x"])
def test_bad_sizes_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [("10GB/s", 10e9), ("100Gbit/s", 12.5e9), ("1 MiB/s", 1 << 20), ("800Mbit/s", 1e8), ("3B/s", 3)],
)
def test_bandwidths(text: str, bytes_per_s: float) -> None:
    assert parse_bandwidth(text) == bytes_per_s


@pytest.mark.parametrize("text", ["10GB", "10GB/ms", "10/s", "-1GB/s", "0GB/s", "10Gb/s", "/s", "GB/s"])
def test_bad_bandwidths_are_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_bandwidth(text)
    assert caught.value.remedy


def test_formats_for_people() -> None:
    assert format_ns(36_000_000) == "36 ms"
    assert format_ns(1_234_567_890) == "1.235 s"
    assert format_ns(12) == "12 ns"
    assert format_bytes(12 * 1024 * 1024 + 512 * 1024) == "12.5 MiB"
    assert format_bytes(12) == "12 B"
    assert format_bandwidth(12.5e9) == "12.5 GB/s"
    assert format_bandwidth(3) == "3 B/s"
