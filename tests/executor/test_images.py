"""Images: embedded digits, and the real file formats of CIFAR-10 and Fashion-MNIST, written here in small."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from chimera.executor.data import Source, check_source, held_out, microbatch
from chimera.executor.data.cifar import read_cifar_10
from chimera.executor.data.idx import read_fashion_mnist
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import CNN, model_config

TINY = model_config("cnn-tiny")
COLOUR = CNN("colour", blocks=2, sizes=2, channels=4, groups=2, image=32, colours=3, classes=10)
ROWS = 4
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


class _Python2Pickler(pickle._Pickler):
    """Writes byte strings as Python 2 wrote its `str`, which is how the authors' files hold keys and pixels."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_python_2_string(self, text: bytes) -> None:
        short = len(text) < 256
        self.write(  # type: ignore[attr-defined]
            (pickle.SHORT_BINSTRING + bytes([len(text)]) if short else pickle.BINSTRING + struct.pack("<i", len(text)))
            + text
        )
        self.memoize(text)  # type: ignore[attr-defined]

    dispatch[bytes] = save_python_2_string


def _python_2(content: object) -> bytes:
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def _rows(number: int) -> np.ndarray:
    return (np.arange(ROWS * 3072, dtype=np.int64) * 7 + number).astype(np.uint8).reshape(ROWS, 3072)


def _cifar(folder: Path, dump: Callable[[object], bytes], **changes: object) -> Path:
    for number, name in enumerate(BATCHES):
        content: dict[Any, Any] = {
            b"batch_label": b"training batch 1 of 5",
            b"labels": [number, 1, 2, 9],
            b"data": _rows(number),
            b"filenames": [b"some.png"] * ROWS,
        }
        content |= {key.encode(): value for key, value in changes.items()}
        (folder / name).write_bytes(dump(content))
    return folder


@pytest.mark.parametrize(
    "dump",
    [_python_2, lambda content: pickle.dumps(content, 2), pickle.dumps],
    ids=["python 2", "protocol 2", "default"],
)
def test_cifar_10_is_read_as_its_authors_pickled_it(dump: Callable[[object], bytes], tmp_path: Path) -> None:
    found = read_cifar_10(_cifar(tmp_path, dump))
    assert found.train.inputs.shape == (5 * ROWS, 3, 32, 32) and found.held_out.labels.tolist() == [5, 1, 2, 9]
    # 1024 red, then green, then blue values; rows of 32 pixels: green of row 2, column 3 is number 1024 + 2 * 32 + 3
    assert found.train.inputs[ROWS + 1, 1, 2, 3] == _rows(1)[1, 1024 + 2 * 32 + 3]


class _Intruder:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("should never be seen",)


class _Codec:
    def __reduce__(self) -> tuple[Any, ...]:
        import _codecs

        return _codecs.encode, ("text", "utf-7")


@pytest.mark.parametrize("payload", [_Intruder(), _Codec()], ids=["a call", "another codec"])
def test_a_pickle_that_asks_for_more_than_arrays_is_refused_unrun(
    payload: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="it asks for"):
        read_cifar_10(_cifar(tmp_path, pickle.dumps, more=payload))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [1, 2]},
        {"labels": [1, 2, 3, 10]},
        {"data": _rows(0)[:, :100]},
        {"data": _rows(0).astype(float)},
        {"labels": "1239"},
    ],
    ids=["too few labels", "label 10", "short rows", "floats", "text"],
)
def test_a_cifar_batch_with_other_content_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="CIFAR-10 batch") as caught:
        read_cifar_10(_cifar(tmp_path, pickle.dumps, **changes))
    assert "--data-dir" in caught.value.remedy


def test_a_missing_and_a_truncated_cifar_batch_are_named(tmp_path: Path) -> None:
    folder = _cifar(tmp_path, pickle.dumps)
    (folder / "data_batch_3").write_bytes((folder / "data_batch_3").read_bytes()[:1000])
    with pytest.raises(InputError, match="data_batch_3.*cannot be read"):
        read_cifar_10(folder)
    (folder / "data_batch_3").unlink()
    with pytest.raises(InputError, match="data_batch_3.*No such file"):
        read_cifar_10(folder)


def _idx(folder: Path, name: str, values: np.ndarray, packed: bool) -> None:
    """Magic number 0x00000801 or 0x00000803, sizes and bytes, all big-endian."""
    content = struct.pack(f">I{values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()
    (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content, mtime=0) if packed else content)


def _fashion(folder: Path, packed: bool) -> Path:
    for part, count in (("train", 6), ("t10k", 3)):
        _idx(
            folder,
            f"{part}-images-idx3-ubyte",
            np.arange(count * 784, dtype=np.uint32).astype(np.uint8).reshape(count, 28, 28),
            packed,
        )
        _idx(folder, f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8), packed)
    return folder


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_fashion_mnist_is_read_as_its_authors_wrote_it(packed: bool, tmp_path: Path) -> None:
    found = read_fashion_mnist(_fashion(tmp_path, packed))
    assert found.train.inputs.shape == (6, 1, 28, 28) and found.held_out.labels.tolist() == [0, 1, 2]
    assert found.train.inputs[2, 0, 3, 4] == (2 * 784 + 3 * 28 + 4) % 256


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-labels-idx1-ubyte", struct.pack(">II", 0x801, 5) + bytes(5), "6 images and 5 labels"),
        ("train-images-idx3-ubyte", struct.pack(">II", 0x801, 5) + bytes(5), "3 dimensions"),
        ("t10k-labels-idx1-ubyte", struct.pack(">II", 0x801, 3) + bytes(2), "holds 2 values where its header says 3"),
        ("t10k-images-idx3-ubyte", b"", "does not begin"),
        ("t10k-images-idx3-ubyte.gz", gzip.compress(bytes(100), mtime=0)[:15], "t10k-images-idx3-ubyte.gz"),
    ],
)
def test_a_damaged_idx_file_is_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    folder = _fashion(tmp_path, packed=False)
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_fashion_mnist(folder)


@pytest.mark.parametrize("name", ["cifar-10", "fashion-mnist"])
def test_data_that_is_not_embedded_needs_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is downloaded") as caught:
        check_source(TINY, Source(name))
    assert "--data-dir" in caught.value.remedy
    with pytest.raises(InputError, match="No such file"):
        check_source(TINY, Source(name, str(tmp_path)))


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from chimera.executor.data.digits import read_digits

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match="not installed") as caught:
        read_digits()
    assert "scikit-learn" in caught.value.remedy


def test_an_epoch_shows_every_image_once_whatever_the_shards() -> None:
    # 1,500 digits in iterations of 4 micro-batches of 5: 75 iterations. Copies and replicas take
    # micro-batches by number, so that is each of them once.
    seen = [
        row.numpy().tobytes()
        for iteration in range(75)
        for number in range(4)
        for row in microbatch(TINY, 5, seed=0, iteration=iteration, number=number, count=4).inputs
    ]
    everything = [row.numpy().tobytes() for row in microbatch(TINY, 1500, seed=7, iteration=0, number=0).inputs]
    assert sorted(seen) == sorted(everything) and seen != everything


def test_held_out_digits_are_not_trained_on() -> None:
    trained = {row.numpy().tobytes() for row in microbatch(TINY, 1500, seed=0, iteration=0, number=0).inputs}
    scored = held_out(TINY, 10_000, seed=0)
    assert len(scored.targets) == 297 == 1797 - 1500  # scikit-learn: 1,797 samples
    assert not trained & {row.numpy().tobytes() for row in scored.inputs}


def test_images_are_fitted_to_the_model_and_standardised(tmp_path: Path) -> None:
    source = check_source(COLOUR, Source("fashion-mnist", str(_fashion(tmp_path, packed=True))))
    inputs = microbatch(COLOUR, 6, seed=0, iteration=0, number=0, source=source).inputs
    assert inputs.shape == (6, 3, 32, 32) and torch.equal(inputs[:, 0], inputs[:, 2])
    plain = microbatch(model_config("cnn-mnist"), 6, seed=0, iteration=0, number=0, source=source).inputs
    assert plain.shape == (6, 1, 28, 28)
    assert float(plain.mean()) == pytest.approx(0, abs=1e-5) and float(plain.std(correction=0)) == pytest.approx(
        1, abs=1e-5
    )


def test_an_mlp_takes_images_as_a_grey_square() -> None:
    config = model_config("mlp-tiny")  # 64 features: the 8 x 8 digits
    batch = microbatch(config, 3, seed=0, iteration=0, number=0, source=Source("digits"))
    same = microbatch(TINY, 3, seed=0, iteration=0, number=0, source=Source("digits"))
    assert torch.equal(batch.inputs, same.inputs.flatten(1)) and torch.equal(batch.targets, same.targets)
