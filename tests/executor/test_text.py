"""Text: windows for GPT, masked pairs for BERT, and what is kept for scoring."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chimera.executor.data import Source, check_source, corpus, held_out, microbatch
from chimera.executor.data.batch import IGNORED
from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.models import BERT, GPT, model_config

SMALL = GPT("small", blocks=1, hidden=16, heads=2, sequence=8, vocabulary=256)
ENCODER = BERT("small", blocks=1, hidden=16, heads=2, sequence=128, vocabulary=259)
CLASSIFICATION, SEPARATOR, MASK = 256, 257, 258  # behind the 256 bytes
FOLLOWS, ELSEWHERE = 0, 1


def test_a_microbatch_depends_on_its_number_alone() -> None:
    first = microbatch(SMALL, 3, seed=1, iteration=2, number=3)
    assert torch.equal(first.inputs, microbatch(SMALL, 3, seed=1, iteration=2, number=3).inputs)
    assert not torch.equal(first.inputs, microbatch(SMALL, 3, seed=1, iteration=2, number=4).inputs)
    assert torch.equal(first.inputs[:, 1:], first.targets[:, :-1])


def test_the_default_text_is_pythons_own_source() -> None:
    text = corpus(Source("stdlib"))
    assert (len(text.train), len(text.held_out)) == (4 << 20, 256 << 10)
    assert b"from __future__ import" in bytes(text.train) and b"def " in bytes(text.held_out)


def test_of_a_file_the_last_tenth_is_kept_for_scoring(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 18_000 + b"b" * 2_000)
    source = check_source(SMALL, Source(str(path)))
    trained = microbatch(SMALL, 50, seed=0, iteration=0, number=0, source=source).inputs
    scored = held_out(SMALL, 50, seed=0, source=source).inputs
    assert set(trained.unique().tolist()) == {ord("a")} and set(scored.unique().tolist()) == {ord("b")}


@pytest.mark.parametrize(
    ("name", "words"), [("digits", "is no text"), ("stdlbi", "unknown text"), ("/", "unknown text")]
)
def test_what_is_no_text_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_source(SMALL, Source(name))


def test_a_short_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("too short")
    with pytest.raises(InputError, match="9 bytes: is too short"):
        check_source(SMALL, Source(str(path)))


def test_text_is_nothing_for_a_cnn() -> None:
    with pytest.raises(UnknownNameError, match="stdlib") as caught:
        check_source(model_config("cnn-tiny"), Source("stdlib"))
    assert "digits" in caught.value.remedy


def test_fifteen_percent_of_every_samples_tokens_are_to_be_found() -> None:
    batch = microbatch(ENCODER, 400, seed=0, iteration=0, number=0)
    asked = batch.targets[:, 1:] != IGNORED
    assert set(asked.sum(1).tolist()) == {19}  # 15 % of 128 - 3
    shown = batch.inputs[:, 1:][asked]
    hidden = float((shown == MASK).float().mean())
    kept = float((shown == batch.targets[:, 1:][asked]).float().mean())
    # arXiv 1810.04805: 80 % masked, 10 % random, 10 % as they were; 7,600 draws: three sigma are 1.4 %
    assert hidden == pytest.approx(0.8, abs=0.014) and kept == pytest.approx(0.1, abs=0.014)


def test_special_tokens_frame_the_segments_and_are_never_asked_for() -> None:
    batch = microbatch(ENCODER, 50, seed=0, iteration=0, number=0)
    assert set(batch.inputs[:, 0].tolist()) == {CLASSIFICATION}
    assert set(batch.inputs[:, [63, 127]].flatten().tolist()) == {SEPARATOR}
    assert set(batch.targets[:, [63, 127]].flatten().tolist()) == {IGNORED}
    assert set(batch.targets[:, 0].tolist()) == {FOLLOWS, ELSEWHERE}


def test_the_second_segment_follows_the_first_where_the_target_says_so(tmp_path: Path) -> None:
    path = tmp_path / "counting.txt"
    path.write_bytes(bytes(range(256)) * 80)  # whoever knows a byte knows the next
    source = check_source(ENCODER, Source(str(path)))
    batch = microbatch(ENCODER, 64, seed=0, iteration=0, number=0, source=source)
    truth = torch.where(batch.targets == IGNORED, batch.inputs, batch.targets)
    follows = (truth[:, 64] - truth[:, 62]) % 256 == 1
    assert torch.equal(follows, batch.targets[:, 0] == FOLLOWS)
