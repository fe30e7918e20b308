"""--data and --data-dir: what a model is trained on, or measured with."""

from __future__ import annotations

__all__ = ["DATA", "DATA_DIR"]

import typer

DATA = typer.Option(
    "--data",
    help="stdlib or a text file (GPT, BERT); digits, cifar-10, fashion-mnist (CNN, MLP), teacher (MLP). "
    "By default stdlib, digits and teacher, which need no download.",
)
DATA_DIR = typer.Option("--data-dir", help="Folder of the files of cifar-10 or fashion-mnist.")
