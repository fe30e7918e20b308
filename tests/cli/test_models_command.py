"""`chimera models`: what is listed is what the models are."""

from typing import Any

import pytest

from chimera.pipeline.models import model_names


def test_every_model_is_listed(chimera: Any) -> None:
    done = chimera("models")
    assert done.status == 0 and not [name for name in model_names() if name not in done.stdout]


def test_the_document_gives_the_published_numbers(chimera: Any) -> None:
    # Chimera paper, section 4
    found = {model["name"]: model for model in chimera("models", "--json").document["models"]}
    assert found["bert-48"]["parameters"] == 669_790_012 and found["gpt-2-64"]["parameters"] == 1_389_327_360
    assert found["bert-48"]["largest_boundary_elements"] == 128 * 1024  # sequence x hidden


def test_the_layers_of_one_model_add_up(chimera: Any) -> None:
    (model,) = chimera("models", "cnn-tiny", "--json").document["models"]
    assert len(model["layers"]) == model["layer_count"] == 8  # a stem, six blocks and a classifier
    assert sum(layer["parameters"] for layer in model["layers"]) == model["parameters"]
    assert model["layers"][0]["boundary_shape"] == [16, 8, 8]  # 16 channels of digits of 8 x 8


def test_one_model_is_printed_layer_by_layer(chimera: Any) -> None:
    done = chimera("models", "bert-tiny")
    assert done.status == 0 and "block-7" in done.stdout and "128 x 259" in done.stdout


def test_an_unknown_model_is_answered_with_the_closest(chimera: Any) -> None:
    done = chimera("models", "brt-48")
    assert done.status == 2 and "bert-48" in done.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--data", "cifar-10"), ("nothing is downloaded", "--data-dir")),
        (("--data", "cifar-10", "--data-dir", "/nowhere"), ("data_batch_1", "cifar-10-python")),
        (("--data", "digitz"), ("digitz", "digits")),
        (("--data", "stdlib"), ("stdlib", "digits")),
        (("--data", "teacher"), ("holds no images", "digits")),
        (("--data-dir", "/nowhere"), ("--data-dir /nowhere", "embedded")),
        (("--partition", "3,4"), ("covers 7 layers", "8")),
        (("--partition", "3,4,1"), ("3 stages", "schedule 2")),
        (("--partition", "even"), ("'even'", "balanced, count")),
    ],
)
def test_data_and_partitions_that_do_not_fit_are_refused_before_anything_starts(
    chimera: Any, tmp_path: Any, more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    size = ("--model", "cnn-tiny", "--stages", 2, "--microbatches", 2)
    done = chimera("run", "dapple", *size, *more, "--output", tmp_path)
    assert done.status == 2 and not [word for word in words if word not in done.stderr], done.stderr
    assert list(tmp_path.iterdir()) == []
