"""The loss of every step of several trainings, as files that spreadsheets and programs read."""

from __future__ import annotations

__all__ = ["write_losses"]

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from chimera.pipeline.files.atomic_file import write_text


def write_losses(losses: Mapping[str, Sequence[float]], folder: Path) -> None:
    """Writes losses.csv (a row a step from 1, a column a training) and losses.json into `folder`.

    Raises InputError where they cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["step", *losses])
    for step, row in enumerate(zip_longest(*losses.values()), 1):
        writer.writerow([step, *row])
    write_text(folder / "losses.csv", table.getvalue())
    document = {"schema_version": 1, "losses": {label: list(values) for label, values in losses.items()}}
    write_text(folder / "losses.json", json.dumps(document))
