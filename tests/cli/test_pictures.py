"""Pictures are written whole, of a sensible size, and say what the timelines say."""

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from chimera.calibration.judging.statistics import Interval
from chimera.calibration.judging.validation import Figures, Validation, ValidationCase
from chimera.cli.pictures.gantt import draw_schedule
from chimera.cli.pictures.memory import draw_memory
from chimera.cli.pictures.overlay import draw_overlay
from chimera.cli.pictures.parts import parts_of
from chimera.cli.pictures.scatter import draw_scatter
from chimera.cli.pictures.style import KIND_COLOURS, ink_on, shade
from chimera.pipeline.actions import Action, parse_action
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedules import build
from chimera.pipeline.timeline import MemoryEvent, Span, Timeline
from chimera.simulator import Profile, simulate

CAPTION = "sample data, 1 January 2026"


def predicted(name: str = "chimera", stages: int = 4, microbatches: int = 8) -> Timeline:
    return simulate(build(name, stages=stages, microbatches=microbatches), Profile.uniform()).timeline


def measured(timeline: Timeline) -> Timeline:
    """The same, a tenth longer, with measured peaks and no memory events."""
    spans = tuple(s._replace(start_ns=s.start_ns * 11 // 10, end_ns=s.end_ns * 11 // 10) for s in timeline.spans)
    end = timeline.end_ns * 11 // 10
    return replace(timeline, source="measured", spans=spans, end_ns=end, memory=(), peak_memory_bytes=(5 << 20,) * 4)


def with_memory(timeline: Timeline) -> Timeline:
    """8 MiB of weights throughout, 2 MiB of activations in the middle, on every device."""
    changes = ((0, "weights", 8 << 20), (1_000_000, "activations", 2 << 20), (9_000_000, "activations", -(2 << 20)))
    events = (MemoryEvent(d, at, what, size, "") for d in range(timeline.devices) for at, what, size in changes)  # type: ignore[arg-type]
    return replace(timeline, memory=tuple(events))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All texts of the figures that are saved."""
    from matplotlib.text import Text

    seen: list[str] = []
    save = Figure.savefig

    def spy(figure: Figure, *args: object, **kwargs: object) -> None:
        seen.extend(found.get_text() for found in figure.findobj(Text))
        save(figure, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", spy)
    return seen


def check_png(path: Path) -> None:
    """A PNG, some thousand pixels wide, neither empty nor all ink."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(io.BytesIO(path.read_bytes()))[..., :3]
    height, width, _ = pixels.shape
    assert 1000 <= width <= 4000 and 300 <= height <= 4000
    white = np.mean(np.all(pixels > 0.99, axis=-1))
    assert 0.1 < white < 0.97
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing temporary is left


def test_a_schedule_shows_its_microbatches_and_its_bubble(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "new" / "gantt.png"
    draw_schedule(predicted("gpipe", 4, 8), path, title="GPipe", caption=CAPTION)
    check_png(path)
    assert {"GPipe", CAPTION, "device 3", "forward", "backward", "idle"} <= set(texts)
    assert all(texts.count(str(m)) >= 2 * 4 for m in range(8))  # a forward and a backward on 4 devices
    # GPipe's bubble ratio is (D-1)/(N+D-1) = 3/11 (GPipe paper, section 2.3)
    assert "bubble ratio 27.3%" in " ".join(texts)


def test_bidirectional_pipelines_have_names_and_shades(tmp_path: Path, texts: list[str]) -> None:
    draw_schedule(predicted(), tmp_path / "gantt.png", title="Chimera", caption=CAPTION)
    assert {"forward, pipeline 0", "forward, pipeline 1", "backward, pipeline 1"} <= set(texts)


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    path = draw_schedule(predicted(), tmp_path / f"gantt{suffix}", title="x", caption=CAPTION)
    assert path.read_bytes()[:5] in (b"<?xml", b"%PDF-")


def test_everything_a_timeline_can_hold_is_drawn(tmp_path: Path, texts: list[str]) -> None:
    names = ("(0F1;0B0)OVERLAP_F_B", "0F2+3", "0B2.0", "0I4", "0W4", "0REDUCE_GRAD", "0STEP")
    streams = ("compute",) * 5 + ("sync", "optimizer")
    spans = tuple(
        Span(0, stream, parse_action(name), i * 1000, i * 1000 + 900)  # type: ignore[arg-type]
        for i, (name, stream) in enumerate(zip(names, streams, strict=True))
    )
    draw_schedule(Timeline("measured", "x", 1, spans, 7000), tmp_path / "all.png", title="x", caption=CAPTION)
    shown = {"forward", "backward", "backward, inputs", "backward, weights", "all-reduce", "optimizer", "2+3", "2a"}
    assert shown <= set(texts)


def test_an_empty_timeline_and_one_of_many_devices_are_drawn(tmp_path: Path) -> None:
    draw_schedule(Timeline("predicted", "x", 1, (), 0), tmp_path / "a.png", title="empty", caption="")
    draw_schedule(predicted("dapple", 64, 64), tmp_path / "b.png", title="large", caption=CAPTION)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_overlay_states_both_times_and_the_error(tmp_path: Path, texts: list[str]) -> None:
    timeline = predicted("gpipe", 4, 8)
    draw_overlay(timeline, measured(timeline), tmp_path / "o.png", title="GPipe", caption=CAPTION)
    check_png(tmp_path / "o.png")
    said = " ".join(texts)
    # GPipe takes (N+D-1)(f+b) = 11 x 3 ms; the other is a tenth longer, so the error is 1/1.1 - 1
    assert "predicted 33 ms" in said and "measured 36.3 ms" in said and "error -9.1%" in said
    assert {"predicted", "measured", "device 3"} <= set(texts)


def test_an_overlay_of_different_pipelines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="4 and 2 devices"):
        draw_overlay(predicted(), predicted("gpipe", 2, 4), tmp_path / "o.png", title="x", caption=CAPTION)


def test_memory_marks_predicted_and_measured_peaks(tmp_path: Path, texts: list[str]) -> None:
    timeline = with_memory(predicted())
    draw_memory({"predicted": timeline, "measured": measured(timeline)}, tmp_path / "m.png", caption=CAPTION)
    check_png(tmp_path / "m.png")
    assert {"weights", "activations", "measured peak", "peak 10 MiB", "measured 5 MiB"} <= set(texts)
    assert texts.count("peak 10 MiB") == 4


def test_memory_of_several_schedules_stands_side_by_side(tmp_path: Path, texts: list[str]) -> None:
    columns = {"four": with_memory(predicted()), "two": with_memory(predicted("gpipe", 2, 4))}
    draw_memory(columns, tmp_path / "m.png", caption=CAPTION)
    assert {"four", "two", "device 3\n(MiB)"} <= set(texts) and "measured peak" not in texts


def test_memory_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to draw"):
        draw_memory({"predicted": predicted()}, tmp_path / "m.png", caption=CAPTION)


def figures(timeline: Timeline) -> Figures:
    return Figures(timeline.end_ns / 1e9, 0.25, 100.0, (1,) * timeline.devices)


def case(name: str, microbatches: int = 8) -> ValidationCase:
    ours = predicted(name, 4, microbatches)
    theirs = measured(ours)
    seconds = theirs.end_ns / 1e9
    return ValidationCase(
        schedule=name,
        stages=4,
        microbatches=microbatches,
        width=1,
        predicted=figures(ours),
        measured=figures(theirs),
        interval=Interval(seconds, 0.98 * seconds, 1.02 * seconds, 0.01 * seconds),
        predicted_interval_s=(0.9 * seconds, seconds, 1.1 * seconds),
        iterations=9,
        inside_interval=8,
        set_aside=0,
        predicted_timeline=ours,
        measured_timeline=theirs,
    )


def validation(*cases: ValidationCase) -> Validation:
    return Validation(
        machine={},
        compute="real",
        model="sample",
        microbatch_size=1,
        calibration_s=1.0,
        repeat_noise=0.01,
        drift=0.0,
        tolerance=0.05,
        cases=cases,
        gradients_match_reference=True,
        max_gradient_difference=0.0,
        profile=Profile.uniform(),
        provenance={},
    )


def test_a_scatter_names_every_case_with_its_error(tmp_path: Path, texts: list[str]) -> None:
    draw_scatter(validation(case("chimera"), case("gpipe"), case("dapple")), tmp_path / "s.png", caption=CAPTION)
    check_png(tmp_path / "s.png")
    assert {"chimera", "gpipe", "dapple", "within ±5.0%"} <= set(texts)  # bubbles: names only
    assert "gpipe  -9.1%" in texts  # 1/1.1 - 1


def test_a_scatter_tells_configurations_of_one_schedule_apart(tmp_path: Path, texts: list[str]) -> None:
    draw_scatter(validation(case("gpipe", 4), case("gpipe", 8)), tmp_path / "s.png", caption=CAPTION)
    assert {"gpipe D=4 N=4", "gpipe D=4 N=8"} <= set(texts)


Draw = Callable[[Path], Path]
DRAWINGS: dict[str, Draw] = {
    "gantt": lambda path: draw_schedule(predicted(), path, title="x", caption=CAPTION),
    "overlay": lambda path: draw_overlay(predicted(), predicted(), path, title="x", caption=CAPTION),
    "memory": lambda path: draw_memory({"x": with_memory(predicted())}, path, caption=CAPTION),
    "scatter": lambda path: draw_scatter(validation(case("gpipe")), path, caption=CAPTION),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS.keys())
def test_an_unknown_suffix_or_place_is_an_input_error(tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(InputError, match="no known suffix"):
        draw(tmp_path / "picture.docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        draw(tmp_path / "file" / "picture.png")


def test_replicas_are_found_from_where_microbatches_go() -> None:
    schedule = build("chimera", stages=4, microbatches=8)
    parts = parts_of(predicted())
    assert parts.replica_of == dict(enumerate(schedule.replica_of))
    assert (parts.count, parts.noun) == (2, "pipeline")
    assert {parts.of(3, action) for action in schedule.actions[3] if isinstance(action, Action)} == {0, 1}


def test_a_pipeline_of_one_direction_has_one_shade() -> None:
    assert parts_of(predicted("dapple")).count == 1


def test_colours_differ_and_text_on_them_is_legible() -> None:
    shades = [shade(colour, part, 2) for colour in KIND_COLOURS.values() for part in range(2)]
    assert len(set(shades)) == len(shades)
    for colour in shades:  # WCAG 2.1: contrast of at least 4.5 : 1
        low, high = sorted((luminance(colour), luminance(ink_on(colour))))
        assert (high + 0.05) / (low + 0.05) >= 4.5, colour
    lightness = sorted(luminance(KIND_COLOURS[kind]) for kind in KIND_COLOURS)
    assert all(higher - lower > 0.01 for lower, higher in pairwise(lightness))  # told apart in grey as well


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2.1."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
