"""--data and --data-dir: what a model is trained on, or measured with."""

from __future__ import annotations

__all__ = ["DATA", "DATA_DIR", "source_of"]

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from chimera.cli.launching import checking
from chimera.cli.reports.output import note

if TYPE_CHECKING:
    from chimera.executor.data import Source

DATA = typer.Option(
    "--data",
    help="stdlib or a text file (GPT, BERT); digits, cifar-10, fashion-mnist (CNN, MLP), teacher (MLP). "
    "By default stdlib, digits and teacher, which need no download.",
)
DATA_DIR = typer.Option("--data-dir", help="Folder of the files of cifar-10 or fashion-mnist.")


def source_of(data: str, data_dir: str | None) -> Source:
    """What the two options mean. A command that is only checked takes a folder or file on trust that is not here."""
    from chimera.executor.data import DATA_NAMES, Source

    paths = [data_dir] if data_dir is not None else [data] if data and data not in DATA_NAMES else []
    missing = [path for path in paths if not Path(path).exists()]
    if missing and checking():
        note(f"warning: {missing[0]} is not here; the job will look for it where it runs")
        return Source()
    return Source(data, data_dir)
