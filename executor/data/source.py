"""Which data a training takes: a name, and the folder of what is not embedded."""

from __future__ import annotations

__all__ = ["DATA_NAMES", "Source"]

from dataclasses import dataclass
from pathlib import Path

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig

_DEFAULTS: dict[type, str] = {GPT: "stdlib", BERT: "stdlib", CNN: "digits", MLP: "teacher"}
DATA_NAMES = ("stdlib", "digits", "fashion-mnist", "cifar-10", "teacher")
_EMBEDDED = ("stdlib", "digits", "teacher")
_TEXT = ("stdlib",)


@dataclass(frozen=True, slots=True)
class Source:
    """A name of DATA_NAMES or the path of a text file; empty is the model family's default."""

    name: str = ""
    folder: str | None = None
    """where the files of `fashion-mnist` and `cifar-10` are; those of others are embedded"""

    def named(self, config: ModelConfig) -> Source:
        """The source for a model, its name given. Raises InputError, or UnknownNameError for what is neither."""
        name = self.name or _DEFAULTS[type(config)]
        if isinstance(config, GPT | BERT):
            _check_text(name)
        elif name in _TEXT or name not in DATA_NAMES:
            raise UnknownNameError(f"data for {config.name}", name, [item for item in DATA_NAMES if item not in _TEXT])
        if name in DATA_NAMES and (name in _EMBEDDED) == (self.folder is not None):
            raise InputError(*_about_folder(name, self.folder))
        return Source(name if name in DATA_NAMES else _absolute(name), self.folder and _absolute(self.folder))


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _check_text(name: str) -> None:
    if name in _TEXT or Path(name).is_file():
        return
    if name in DATA_NAMES:
        raise InputError(f"data {name!r}", "is no text", "give stdlib or the path of a text file")
    raise UnknownNameError("text, nor is it a file,", name, _TEXT)


def _about_folder(name: str, folder: str | None) -> tuple[str, str, str]:
    if folder is None:
        return (
            f"data {name}",
            "is not embedded, and nothing is downloaded",
            "give the folder of its files with --data-dir",
        )
    return f"--data-dir {folder} with data {name}", "which is embedded", "drop --data-dir"
