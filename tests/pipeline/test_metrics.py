"""Metrics against bubbles counted by hand."""

from fractions import Fraction

from chimera.pipeline.actions import Action, Kind
from chimera.pipeline.metrics import measure
from chimera.pipeline.timeline import Span, Timeline


def span(device: int, start: int, end: int) -> Span:
    return Span(device, "compute", Action(0, Kind.F, 0), start, end)


def test_three_definitions_of_a_bubble_by_hand() -> None:
    # device 0 works 0-4 and 8-10, device 1 works 4-8; synchronisation ends at 12
    timeline = Timeline("predicted", "x", 2, (span(0, 0, 4), span(0, 8, 10), span(1, 4, 8)), 12)
    metrics = measure(timeline, samples_per_iteration=6)
    assert (metrics.pipeline_ns, metrics.iteration_ns, metrics.ideal_ns) == (10, 12, 6)
    assert metrics.bubble_ratio == float(1 - Fraction(10, 20))
    assert metrics.bubble_over_ideal == float(Fraction(10 - 6, 6))
    assert metrics.bubble_longest_stage == float(Fraction(10 - 6, 10))
    assert metrics.utilisation == float(Fraction(10, 24))
    assert metrics.throughput_samples_per_s == 6 / 12e-9
    assert [device.idle_ns for device in metrics.per_device] == [4, 6]


def test_synchronisation_is_not_compute() -> None:
    reduce = Span(0, "sync", Action(0, Kind.REDUCE_GRAD), 4, 9)
    metrics = measure(Timeline("measured", "x", 1, (span(0, 0, 4), reduce), 9))
    assert metrics.pipeline_ns == 4 and metrics.bubble_ratio == 0


def test_a_device_without_work_is_idle_throughout() -> None:
    metrics = measure(Timeline("predicted", "x", 2, (span(0, 0, 4),), 4))
    assert metrics.bubble_ratio == 0.5


def test_an_empty_timeline_measures_as_nothing() -> None:
    metrics = measure(Timeline("predicted", "x", 1, (), 0), samples_per_iteration=4)
    assert metrics.bubble_ratio == 0 and metrics.throughput_samples_per_s is None
