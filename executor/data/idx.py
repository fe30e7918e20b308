"""Fashion-MNIST as its authors publish it: four idx files, plain or gzipped.

Format: http://yann.lecun.com/exdb/mnist - big-endian: two zero bytes, a type (8: unsigned byte), the
number of dimensions, each dimension in four bytes, and the values, the last index fastest.
"""

from __future__ import annotations

__all__ = ["read_fashion_mnist"]

import gzip
import zlib
from math import prod
from pathlib import Path
from struct import unpack

import numpy as np
from numpy.typing import NDArray

from chimera.executor.data.image_set import Images, ImageSet
from chimera.pipeline.errors import InputError

_UNSIGNED_BYTE = 8
_REMEDY = "give the folder of train-images-idx3-ubyte.gz and its three companions with --data-dir"


def read_fashion_mnist(folder: Path) -> Images:
    """Its training and its test images. Raises InputError for a missing or damaged file."""
    return Images(_images(folder, "train"), _images(folder, "t10k"))


def _images(folder: Path, part: str) -> ImageSet:
    inputs = _read(folder / f"{part}-images-idx3-ubyte", dimensions=3)
    labels = _read(folder / f"{part}-labels-idx1-ubyte", dimensions=1)
    if len(inputs) != len(labels) or not len(labels):
        raise InputError(
            f"idx files {part}-* in {folder}", f"hold {len(inputs)} images and {len(labels)} labels", _REMEDY
        )
    return ImageSet(inputs[:, np.newaxis], labels.astype(np.int64))


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    content = _content(path)
    header = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)) or len(content) < header:
        raise InputError(
            f"idx file {path}", f"does not begin as one of unsigned bytes in {dimensions} dimensions", _REMEDY
        )
    shape = unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != prod(shape):
        derived = f"holds {len(content) - header} values where its header says {prod(shape)}"
        raise InputError(f"idx file {path}", derived, _REMEDY)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    packed = path.with_name(f"{path.name}.gz")
    try:
        return gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        tried = packed if packed.exists() else path
        raise InputError(f"idx file {tried}", getattr(error, "strerror", None) or str(error), _REMEDY) from error
