"""Writes docs/schedules.md: the catalogue's formulas, and one small grid of every schedule.

`python -m benchmarks.schedule_page` writes the page; a test compares it with the generators.
"""

from __future__ import annotations

__all__ = ["PAGE", "page"]

from pathlib import Path

from chimera.pipeline.errors import InputError
from chimera.pipeline.files.grid import text_grid
from chimera.pipeline.lowering.order import walk
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import RECOMPUTE, Entry, OptionSpec, build, catalogue

PAGE = Path(__file__).resolve().parent.parent / "docs" / "schedules.md"
_HEAD = """# Schedules

Written by `python -m benchmarks.schedule_page` from the generators; a test keeps it so.

p (`D`, `--stages`) devices, m (`N`, `--microbatches`) micro-batches per iteration; F, B, I and W are the times of a
forward, a full backward and its input and weight parts, B = I + W. Activations are those of one micro-batch on
one stage, until the B or W that frees them. In the grids a forward, I and W take one slot, a B two, messages none;
`3F1` is the forward of stage 3 for micro-batch 1, `.` is idle.

Every schedule takes `--set recompute=all`, `none` or stages such as `0,2`: their backwards run the forward again, and
their forwards keep their inputs only.
"""


def page() -> str:
    """The whole page as Markdown."""
    entries = catalogue()
    lines = [_HEAD, "| schedule | admits | bubble | activations | source |", "|---|---|---|---|---|"]
    lines += [_table_row(entry) for entry in entries]
    for entry in entries:
        if entry.reads_file:
            continue
        schedule = _smallest(entry)
        size = f"{schedule.devices} devices, {schedule.microbatches} micro-batches"
        lines += ["", f"## {entry.name}", "", f"{size}:", "", "```text", text_grid(schedule, widest=1000), "```"]
        own = {name: spec for name, spec in entry.options.items() if spec is not RECOMPUTE}
        if own:
            lines += ["", "| option | default | choices | |", "|---|---|---|---|"]
            lines += [_option_row(name, spec) for name, spec in own.items()]
        if entry.name == "chimera":
            lines += _doubling()
    return "\n".join(lines) + "\n"


def _doubling() -> list[str]:
    """The makespans of forward doubling, in forwards' time at B = 2F without recomputation, by how it hands over."""
    lines = ["", "Forward doubling without recomputation at B = 2F, in forwards' time:", ""]
    lines += ["| devices | micro-batches | `handover=batch` | `handover=each` |", "|---|---|---|---|"]
    for devices, microbatches in ((4, 8), (8, 16), (8, 32), (16, 32)):
        slots = [_slots(devices, microbatches, handover) for handover in ("batch", "each")]
        lines.append(f"| {devices} | {microbatches} | {slots[0]} | {slots[1]} |")
    return lines


def _slots(devices: int, microbatches: int, handover: str) -> int:
    options = {"concat": "doubling", "handover": handover, "recompute": "none"}
    schedule = build("chimera", stages=devices, microbatches=microbatches, **options)
    return max(row[-1] for row in walk(schedule.actions, schedule.stages).ends)


def _table_row(entry: Entry) -> str:
    title = f"`{entry.name}`" if entry.reads_file else f"[`{entry.name}`](#{entry.name})"
    names = title + "".join(f", `{alias}`" for alias in entry.aliases)
    cells = (names, entry.constraints, entry.bubble, entry.activations, entry.source)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _option_row(name: str, spec: OptionSpec) -> str:
    default = "auto" if spec.default is None else spec.default
    return f"| `{name}` | {default} | {', '.join(map(str, spec.choices or ())) or 'any'} | {spec.help} |"


def _smallest(entry: Entry) -> Schedule:
    """Four devices and four micro-batches, or as many more as the schedule needs."""
    for microbatches in (4, 6, 8):
        try:
            return build(entry.name, stages=4, microbatches=microbatches)
        except InputError:
            continue
    raise InputError(f"{entry.name} on 4 devices", "admits neither 4, 6 nor 8 micro-batches", "extend the list")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
