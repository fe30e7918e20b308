"""Which data a training takes: a name, and the folder of what is not embedded."""

from __future__ import annotations

__all__ = ["DATA_NAMES", "TEXT_NAMES", "Source"]

from dataclasses import dataclass
from pathlib import Path

from chimera.pipeline.errors import InputError

DATA_NAMES = ("stdlib", "digits", "fashion-mnist", "cifar-10", "teacher")
_EMBEDDED = ("stdlib", "digits", "teacher")
TEXT_NAMES = ("stdlib",)


@dataclass(frozen=True, slots=True)
class Source:
    """A name of DATA_NAMES or the path of a text file; empty is the model family's default."""

    name: str = ""
    folder: str | None = None
    """where the files of `fashion-mnist` and `cifar-10` are; those of others are embedded"""

    def located(self, name: str) -> Source:
        """The source under a name that its family admits, paths made absolute.

        Raises InputError where a folder is given for what is embedded, or none for what is not.
        """
        if name in DATA_NAMES and (name in _EMBEDDED) == (self.folder is not None):
            raise InputError(*_about_folder(name, self.folder))
        return Source(name if name in DATA_NAMES else _absolute(name), self.folder and _absolute(self.folder))


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _about_folder(name: str, folder: str | None) -> tuple[str, str, str]:
    if folder is None:
        return (
            f"data {name}",
            "is not embedded, and nothing is downloaded",
            "give the folder of its files with --data-dir",
        )
    return f"--data-dir {folder} with data {name}", "which is embedded", "drop --data-dir"
