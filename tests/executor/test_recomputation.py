"""A stage that recomputes, beside the same that keeps everything: torch's checkpoint changes memory, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from chimera.executor.data import microbatch
from chimera.executor.iteration.inspection import Piece
from chimera.executor.iteration.memory import footprint
from chimera.executor.iteration.stage import RealStage
from chimera.executor.iteration.weights import Weights
from chimera.executor.modules import loss_of, stage_module
from chimera.executor.modules.deferral import Sink
from chimera.pipeline.models import BERT, CNN, GPT, MLP, ModelConfig, layers
from chimera.pipeline.schedule import Update

ROWS = 4
MODELS: list[ModelConfig] = [
    GPT("gpt", blocks=2, hidden=32, heads=2, sequence=16, vocabulary=64),
    BERT("bert", blocks=2, hidden=32, heads=2, sequence=17, vocabulary=64),
    CNN("cnn", blocks=2, sizes=2, channels=8, groups=4, image=8, colours=1, classes=10),
    MLP("mlp", blocks=4, hidden=32, features=16, classes=4),
]
WHOLE = Piece(0, -1, 0, ROWS, 1.0)
of_every_family = pytest.mark.parametrize("config", MODELS, ids=lambda config: config.family)
of_every_place = pytest.mark.parametrize("place", ["first", "last"])


class Made(NamedTuple):
    """A stage of half the layers with one micro-batch for it."""

    stage: RealStage
    given: Tensor
    targets: Tensor | None
    gradient: Tensor | None
    """of the output, where it is not the loss"""

    def forward(self, pieces: Sequence[Piece] = (WHOLE,)) -> Tensor:
        return self.stage.forward(pieces, self.given, self.targets)

    def backward(self, piece: Piece = WHOLE, *, split: bool = False) -> Tensor | None:
        gradient = None if self.gradient is None else self.gradient[piece.start : piece.stop]
        found = self.stage.backward(piece.key, gradient, weights=not split)
        if split:
            self.stage.backward_weights(piece.key)
        return found


def _made(config: ModelConfig, place: str, *, recompute: bool, split: bool = False, update: Update = "flush") -> Made:
    described = layers(config)
    middle = len(described) // 2
    first = place == "first"
    part = range(middle) if first else range(middle, len(described))
    sink = Sink() if split else None
    weights = Weights(stage_module(config, part, seed=0), "sgd", 0.1, update, sink)
    stage = RealStage(
        weights,
        first=first,
        loss=None if first else lambda output, targets: loss_of(config, output, targets),
        recompute=recompute,
        sink=sink,
        split=frozenset({WHOLE.key}) if split else frozenset(),
    )
    batch = microbatch(config, ROWS, seed=0, iteration=0, number=0)
    boundary = torch.randn((ROWS, *described[middle - 1].boundary_shape), generator=torch.Generator().manual_seed(1))
    return Made(stage, batch.inputs, None, boundary) if first else Made(stage, boundary, batch.targets, None)


@of_every_family
@of_every_place
@pytest.mark.parametrize("split", [False, True], ids=["B", "I and W"])
def test_gradients_and_loss_are_the_same_to_the_bit(config: ModelConfig, place: str, split: bool) -> None:
    again, kept = (_made(config, place, recompute=recompute, split=split) for recompute in (True, False))
    assert torch.equal(again.forward(), kept.forward())
    ours, theirs = (made.backward(split=split) for made in (again, kept))
    assert (ours is None and theirs is None) or torch.equal(ours, theirs)  # type: ignore[arg-type]
    assert torch.equal(again.stage.weights.gradient, kept.stage.weights.gradient)
    assert again.stage.take_loss() == kept.stage.take_loss()


@of_every_family
def test_between_forward_and_backward_only_the_stages_input_is_kept(config: ModelConfig) -> None:
    made = _made(config, "first", recompute=True)
    made.forward(), made.backward()  # what is made once is made
    output = ROWS * layers(config)[len(layers(config)) // 2 - 1].boundary_elements * 4
    assert footprint(made.forward).net_bytes == output  # which is what was returned, to be sent


@of_every_family
@of_every_place
def test_the_backward_holds_the_activations_no_more_than_once(config: ModelConfig, place: str) -> None:
    again, kept = (_made(config, place, recompute=recompute) for recompute in (True, False))
    for made in (again, kept):
        made.forward(), made.backward()
    stored = footprint(kept.forward).net_bytes
    above = footprint(kept.backward).peak_bytes
    again.forward()
    assert footprint(again.backward).peak_bytes <= stored + above + 64  # the allocator's grain


def test_torchs_checkpoint_refuses_a_recomputation_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(4, 4)
    stage = RealStage(Weights(layer, "sgd", 0.1), first=False, loss=None, recompute=True, sink=None)
    whole = layer.forward
    monkeypatch.setattr(layer, "forward", lambda given: whole(given).tanh())
    stage.forward([WHOLE], torch.ones(ROWS, 4), None)
    monkeypatch.setattr(layer, "forward", lambda given: whole(given)[:, :2].tanh())
    with pytest.raises(CheckpointError, match="different metadata"):
        stage.backward(WHOLE.key, torch.ones(ROWS, 4), True)


def _rows_seen(made: Made) -> list[int]:
    """Rows of every call of the stage's module from now on."""
    seen: list[int] = []
    made.stage.weights.newest.module.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    return seen


def test_the_forward_runs_again_within_the_backward_and_never_for_the_weights_alone() -> None:
    made = _made(MODELS[0], "last", recompute=True, split=True)
    seen = _rows_seen(made)
    made.forward()
    assert seen == [ROWS]
    made.stage.backward(WHOLE.key, None, weights=False)
    assert seen == [ROWS, ROWS]
    made.stage.backward_weights(WHOLE.key)
    assert seen == [ROWS, ROWS]


def test_a_doubled_forward_is_one_pass_and_each_of_its_backwards_recomputes_its_own_samples() -> None:
    pieces = (Piece(0, -1, 0, 2, 0.5), Piece(1, -1, 2, ROWS, 0.5))
    again, kept = (_made(MODELS[0], "first", recompute=recompute) for recompute in (True, False))
    seen = _rows_seen(again)
    for made in (again, kept):
        made.forward(pieces)
        for piece in reversed(pieces):
            made.backward(piece)
    assert seen == [4, 2, 2]
    assert torch.equal(again.stage.weights.gradient, kept.stage.weights.gradient)


def _of_the_first_forward(made: Made) -> Tensor:
    """The input gradient of a forward that came before an optimizer step, when its backward comes after it."""
    late = Piece(1, -1, 0, ROWS, 1.0)
    for piece in (WHOLE, late):
        made.forward([piece])
    made.backward(WHOLE)
    made.stage.step()
    found = made.backward(late)
    assert found is not None
    return found


def test_a_stashed_version_is_recomputed_with_its_own_weights() -> None:
    # PipeDream's weight stashing: a backward sees the weights that its forward saw, though there are newer ones.
    again, kept, plain = (
        _made(MODELS[3], "last", recompute=recompute, update="pipedream") for recompute in (True, False, False)
    )
    found = _of_the_first_forward(again)
    assert torch.equal(found, _of_the_first_forward(kept))
    plain.forward(), plain.backward()
    plain.stage.step()
    plain.forward()
    newer = plain.backward()
    assert newer is not None and not torch.equal(found, newer), "the step matters"


@of_every_family
def test_no_layer_draws_random_numbers_so_none_need_be_drawn_again(config: ModelConfig) -> None:
    made = [_made(config, place, recompute=False) for place in ("first", "last")]
    before = torch.get_rng_state()
    for each in made:
        each.forward(), each.backward()
    assert torch.equal(before, torch.get_rng_state())
