"""Model descriptions against the parameter counts of the Chimera paper and of Megatron's formula."""

import pytest

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models import BERT, GPT, config_dict, layers, model_config, model_names
from chimera.pipeline.models.partition import Partition


def parameters(name: str) -> int:
    return sum(layer.parameters for layer in layers(model_config(name)))


def test_gpt2_of_the_chimera_paper_has_its_published_parameter_count() -> None:
    assert parameters("gpt-2-64") == 1_389_327_360  # Chimera paper, section 4


@pytest.mark.parametrize(
    ("depth", "published"),
    [(64, 85_317_120), (32, 104_994_560), (16, 144_349_440), (8, 223_059_200)],  # first stages, even cut
)
def test_first_stage_of_gpt2_matches_the_published_counts(depth: int, published: int) -> None:
    stack = layers(model_config("gpt-2-64"))
    assert sum(layer.parameters for layer in stack[: 1 + 64 // depth]) == published


def test_bert_48_of_the_chimera_paper_has_its_published_parameter_count() -> None:
    assert parameters("bert-48") == 669_790_012  # Chimera paper, section 4


@pytest.mark.parametrize(
    ("depth", "published"),
    [(16, 69_571_584), (8, 107_360_256), (4, 182_937_600), (2, 334_092_288)],  # first stages, even cut
)
def test_first_stage_of_bert_48_matches_the_published_counts(depth: int, published: int) -> None:
    stack = layers(model_config("bert-48"))
    assert sum(layer.parameters for layer in stack[: 1 + 48 // depth]) == published


# BertModel of the published checkpoints: embeddings, encoder and pooler, without the pre-training heads
@pytest.mark.parametrize(("name", "published"), [("bert-base", 109_482_240), ("bert-large", 335_141_888)])
def test_berts_encoder_has_its_published_parameter_count(name: str, published: int) -> None:
    config = model_config(name)
    assert isinstance(config, BERT)
    pooler = config.hidden**2 + config.hidden
    assert sum(layer.parameters for layer in layers(config)[:-1]) + pooler == published


# The checkpoints of GPT-2, whose head shares the embedding's weights
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt-2-small", 124_439_808),
        ("gpt-2-medium", 354_823_168),
        ("gpt-2-large", 774_030_080),
        ("gpt-2-xl", 1_557_611_200),
    ],
)
def test_gpt_2_has_its_published_parameter_count_but_for_the_untied_head(name: str, published: int) -> None:
    config = model_config(name)
    assert isinstance(config, GPT)
    assert parameters(name) - config.vocabulary * config.hidden == published


@pytest.mark.parametrize(
    ("name", "published"),
    [("gpt-3-1.3b", 1.3e9), ("gpt-3-2.7b", 2.7e9), ("gpt-3-6.7b", 6.7e9), ("gpt-3-13b", 13e9), ("gpt-3-175b", 175e9)],
)
def test_gpt_3_has_about_the_parameters_of_its_name(name: str, published: float) -> None:
    config = model_config(name)
    assert isinstance(config, GPT)
    assert parameters(name) - config.vocabulary * config.hidden == pytest.approx(published, rel=0.02)


def test_the_cnn_is_a_resnet_18_with_its_norms_before_the_convolutions() -> None:
    # ResNet-18 for CIFAR-10 is quoted with 11,173,962 parameters. Norms in front (arXiv 1603.05027): none behind the
    # stem (2 x 64) nor on the ways around (2 x 128, 256, 512), one at the end (2 x 512), and the first of each block
    # that doubles its channels sees half of them.
    moved = -2 * 64 - 2 * (128 + 256 + 512) + 2 * 512 - 2 * (64 + 128 + 256)
    assert parameters("cnn") == 11_173_962 + moved


@pytest.mark.parametrize("name", model_names())
def test_a_config_survives_its_dict(name: str) -> None:
    config = model_config(name)
    assert model_config(config_dict(config)) == config


def test_an_unknown_model_is_answered_with_the_closest_name() -> None:
    with pytest.raises(UnknownNameError, match="gpt-tinny") as caught:
        model_config("gpt-tinny")
    assert "did you mean 'gpt-tiny'" in caught.value.remedy


def test_a_misspelt_field_of_a_model_is_named() -> None:
    with pytest.raises(UnknownNameError, match="hiden"):
        model_config({"family": "gpt", "name": "x", "hiden": 3})


def test_a_model_with_missing_fields_is_refused() -> None:
    with pytest.raises(InputError, match="missing"):
        model_config({"family": "mlp", "name": "x"})


def worst(costs: list[int], cuts: tuple[range, ...]) -> int:
    return max(sum(costs[i] for i in stage) for stage in cuts)


def every_cut(count: int, stages: int, start: int = 0) -> list[tuple[range, ...]]:
    if stages == 1:
        return [(range(start, count),)]
    return [
        (range(start, end), *rest)
        for end in range(start + 1, count - stages + 2)
        for rest in every_cut(count, stages - 1, end)
    ]


@pytest.mark.parametrize("costs", [[0, 5, 5, 5, 5, 9], [9, 1, 1, 1, 9], [1, 2, 3, 4, 5, 6, 7], [3, 3, 3, 3]])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_the_balanced_partition_is_optimal(costs: list[int], stages: int) -> None:
    best = min(worst(costs, cuts) for cuts in every_cut(len(costs), stages))
    assert worst(costs, Partition.balanced(costs, stages).ranges) == best


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("stages", [1, 2, 4, 8])
def test_the_default_partition_covers_every_layer_once(name: str, stages: int) -> None:
    config = model_config(name)
    cuts = Partition.default(config, stages).ranges
    assert len(cuts) == stages
    assert [index for cut in cuts for index in cut] == list(range(len(layers(config))))


def test_more_stages_than_layers_is_an_input_error() -> None:
    with pytest.raises(InputError, match="4 stages for 3 layers"):
        Partition.balanced([1, 1, 1], 4)


def test_an_explicit_partition_must_add_up() -> None:
    assert Partition.covering([2, 3], 5).ranges == (range(0, 2), range(2, 5))
    with pytest.raises(InputError, match="covers 4 layers"):
        Partition.covering([2, 2], 5)
