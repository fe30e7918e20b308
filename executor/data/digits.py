"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8."""

from __future__ import annotations

__all__ = ["read_digits"]

import numpy as np

from chimera.executor.data.image_set import Images, ImageSet
from chimera.pipeline.errors import InputError

_HELD_OUT = 297
_SPLIT_SEED = 0


def read_digits() -> Images:
    """1,500 to train on and 297 to score on, drawn once and for all. InputError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "data digits", "needs scikit-learn, which is not installed", "pip install scikit-learn, or use other --data"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    inputs = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)[order]
    whole = ImageSet(inputs, labels.astype(np.int64)[order])
    train, held_out = (slice(None, -_HELD_OUT), slice(-_HELD_OUT, None))
    return Images(*(ImageSet(whole.inputs[part], whole.labels[part]) for part in (train, held_out)))
