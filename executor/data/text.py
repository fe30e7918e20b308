"""Text as bytes, and the samples that families cut from it, such as windows of it."""

from __future__ import annotations

__all__ = ["Corpus", "TextInputs", "corpus", "draw_windows"]

import sysconfig
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from chimera.executor.data.batch import Draw, Microbatch
from chimera.executor.data.source import DATA_NAMES, TEXT_NAMES, Source
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models.transformer import Transformer

_TRAIN_BYTES, _HELD_OUT_BYTES = 4 << 20, 256 << 10
_HELD_OUT_SHARE = 10
"""one part in so many of a file"""
_HELD_OUT_TOKENS = 4096
"""scoring them costs about as much as a training step"""
_LEAST_BYTES = 10_000


class Corpus(NamedTuple):
    """The bytes to train on, and others to score on; uint8."""

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]


@lru_cache(maxsize=2)
def corpus(source: Source) -> Corpus:
    """The text of a source: `stdlib` is 4 MiB of the standard library's modules in order of their names, and
    256 KiB of what follows to score on; of a file, the last tenth is kept for that.

    Raises InputError for a file that cannot be read or is short.
    """
    if source.name == "stdlib":
        text = _standard_library()
        return Corpus(text[:_TRAIN_BYTES], text[_TRAIN_BYTES:])
    try:
        text = np.frombuffer(Path(source.name).read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise InputError(
            f"data {source.name!r}", error.strerror or str(error), "give a text file you can read"
        ) from error
    if len(text) < _LEAST_BYTES:
        raise InputError(
            f"data {source.name!r} of {len(text)} bytes", "is too short to learn from", f"give {_LEAST_BYTES} or more"
        )
    cut = len(text) - len(text) // _HELD_OUT_SHARE
    return Corpus(text[:cut], text[cut:])


def _standard_library() -> NDArray[np.uint8]:
    """Its top-level modules, then those of its packages."""
    folder, wanted = Path(sysconfig.get_paths()["stdlib"]), _TRAIN_BYTES + _HELD_OUT_BYTES
    pieces, total = [], 0
    for path in chain(sorted(folder.glob("*.py")), sorted(folder.glob("[a-z]*/*.py"))):
        pieces.append(path.read_bytes())
        total += len(pieces[-1])
        if total >= wanted:
            break
    return np.frombuffer(b"".join(pieces)[:wanted], dtype=np.uint8)


class DrawText(Protocol):
    """How samples are cut from a text: (config, samples, text, generator) -> inputs [B, S] and targets [B, S]."""

    def __call__(
        self, config: Transformer, size: int, text: NDArray[np.uint8], generator: np.random.Generator, /
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples and their targets."""


@dataclass(frozen=True, slots=True)
class TextInputs:
    """Samples of a text, for families that read tokens: see `chimera.executor.modules.family.Inputs`."""

    draw_text: DrawText

    def name_source(self, config: Transformer, source: Source) -> Source:
        """`stdlib` or the path of a text file; the former if nothing is named. Raises InputError for anything else."""
        name = source.name or TEXT_NAMES[0]
        if name not in TEXT_NAMES and not Path(name).is_file():
            if name in DATA_NAMES:
                raise InputError(f"data {name!r}", "is no text", "give stdlib or the path of a text file")
            raise UnknownNameError("text, nor is it a file,", name, TEXT_NAMES)
        return source.located(name)

    def load(self, config: Transformer, source: Source) -> None:
        """Reads the text. Raises InputError for a file that cannot be read or is short."""
        corpus(source)

    def draw_batch(self, config: Transformer, source: Source, draw: Draw) -> Microbatch:
        """Samples of the part to train on. Raises InputError for a text shorter than a sequence."""
        return self._batch(config, draw, corpus(source).train)

    def held_out(self, config: Transformer, source: Source, draw: Draw) -> Microbatch:
        """Samples of a text that is not trained on; few of them if they are long."""
        few = min(draw.size, max(_HELD_OUT_TOKENS // config.sequence, 1))
        return self._batch(config, replace(draw, size=few), corpus(source).held_out)

    def _batch(self, config: Transformer, draw: Draw, text: NDArray[np.uint8]) -> Microbatch:
        if len(text) < config.sequence + 2:
            raise InputError(
                f"a text of {len(text)} bytes for sequences of {config.sequence}",
                "holds not even one",
                "give a longer text",
            )
        samples = self.draw_text(config, draw.size, text, np.random.default_rng(draw.key))
        return Microbatch(*map(torch.from_numpy, samples))


def draw_windows(
    config: Transformer, size: int, text: NDArray[np.uint8], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random windows and what follows each byte: [B, S] each."""
    starts = generator.integers(0, len(text) - config.sequence - 1, size=size)
    windows = np.stack([text[start : start + config.sequence + 1] for start in starts]).astype(np.int64)
    windows %= config.vocabulary
    return windows[:, :-1].copy(), windows[:, 1:].copy()
