"""CIFAR-10 as its authors publish it for Python: pickled batches, read without letting them run anything.

Format: https://www.cs.toronto.edu/~kriz/cifar.html - a dict of `data`, uint8 [n, 3072], a row being 1024
red, 1024 green and 1024 blue pixels of a 32 x 32 image, and `labels`, a list of n numbers 0..9.
"""

from __future__ import annotations

__all__ = ["read_cifar_10"]

import pickle
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from chimera.executor.data.image_set import Images, ImageSet
from chimera.pipeline.errors import InputError

_TRAIN, _HELD_OUT = tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)
_SHAPE, _CLASSES = (3, 32, 32), 10
_RECONSTRUCT = np.ndarray(0).__reduce__()[0]
_REMEDY = "unpack cifar-10-python.tar.gz and give the folder of its data_batch_1 with --data-dir"


def read_cifar_10(folder: Path) -> Images:
    """The five training batches, and the test batch to score on. Raises InputError for a missing or damaged one."""
    train, held_out = ([_batch(folder / name) for name in names] for names in (_TRAIN, _HELD_OUT))
    return Images(_joined(train), _joined(held_out))


def _joined(parts: list[ImageSet]) -> ImageSet:
    return ImageSet(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _batch(path: Path) -> ImageSet:
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except OSError as error:
        raise InputError(f"CIFAR-10 batch {path}", error.strerror or str(error), _REMEDY) from error
    except Exception as error:  # a damaged pickle can fail with anything
        raise InputError(f"CIFAR-10 batch {path}", f"cannot be read: {error}", _REMEDY) from error
    return _checked(path, content)


def _checked(path: Path, content: object) -> ImageSet:
    batch: Mapping[Any, Any] = content if isinstance(content, dict) else {}
    data, labels = batch.get(b"data"), batch.get(b"labels")
    if not _is_rows(data) or not isinstance(labels, list) or len(labels) != len(data):
        raise InputError(f"CIFAR-10 batch {path}", "does not hold rows of 3072 bytes and a label for each", _REMEDY)
    if not all(isinstance(label, int) and 0 <= label < _CLASSES for label in labels):
        raise InputError(f"CIFAR-10 batch {path}", f"has a label that is not 0 to {_CLASSES - 1}", _REMEDY)
    return ImageSet(data.reshape(-1, *_SHAPE), np.array(labels, dtype=np.int64))


def _is_rows(data: object) -> TypeGuard[np.ndarray]:
    return isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == prod(_SHAPE)


class _Unpickler(pickle.Unpickler):
    """Makes arrays and plain values; a pickle that asks for anything else is refused before it gets it."""

    def find_class(self, module: str, name: str) -> Any:
        """The few things of numpy that a pickled array names, under their old and new module names."""
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _RECONSTRUCT
        if (module, name) == ("_codecs", "encode"):
            return _latin_bytes
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")


def _latin_bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2; other encodings could do other things."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")
