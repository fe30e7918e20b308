"""Text as bytes: windows of it for GPT, masked pairs of segments for BERT."""

from __future__ import annotations

__all__ = ["Corpus", "corpus", "held_out_text", "text_batch"]

import sysconfig
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from chimera.executor.data.batch import NEVER, Microbatch
from chimera.executor.data.masking import masked_pairs
from chimera.executor.data.source import Source
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import BERT, GPT

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


def text_batch(config: GPT | BERT, size: int, text: NDArray[np.uint8], key: list[int]) -> Microbatch:
    """Random windows and what follows each byte (GPT), or masked pairs and what was masked (BERT): [B, S] each.

    `key` seeds the generator. Raises InputError for a text shorter than a sequence.
    """
    if len(text) < config.sequence + 2:
        raise InputError(
            f"a text of {len(text)} bytes for sequences of {config.sequence}",
            "holds not even one",
            "give a longer text",
        )
    generator = np.random.default_rng(key)
    if isinstance(config, BERT):
        return Microbatch(*map(torch.from_numpy, masked_pairs(config, size, text, generator)))
    starts = generator.integers(0, len(text) - config.sequence - 1, size=size)
    windows = np.stack([text[start : start + config.sequence + 1] for start in starts]).astype(np.int64)
    windows %= config.vocabulary
    return Microbatch(torch.from_numpy(windows[:, :-1].copy()), torch.from_numpy(windows[:, 1:].copy()))


def held_out_text(config: GPT | BERT, size: int, text: NDArray[np.uint8], seed: int) -> Microbatch:
    """Windows of a text that is not trained on; few of them if they are long."""
    return text_batch(config, min(size, max(_HELD_OUT_TOKENS // config.sequence, 1)), text, [seed, NEVER, 0])
