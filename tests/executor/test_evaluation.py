"""Accuracy and loss on held-out samples: through the stages, wherever they live, as one process has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.cases import Case, Job
from executor.ranks.launch import launch
from pipeline.formats.schedule_file import schedule_json
from pipeline.models import BERT, CNN, MLP, ModelConfig, config_dict
from pipeline.schedules import build

NAMES = ("dapple", "chimera", "interleaved", "zb-v", "data-parallel", "pipedream", "pipedream-2bw")
CASES: list[tuple[ModelConfig, int, int]] = [  # model, width, predictions a sample
    (MLP("mlp", blocks=6, hidden=12, features=5, classes=4), 2, 1),
    (CNN("cnn", blocks=6, sizes=3, channels=4, groups=2, image=7, colours=1, classes=10), 1, 1),
    (BERT("bert", blocks=6, hidden=8, heads=2, sequence=17, vocabulary=259), 1, 2),  # 15 % of 17 - 3 tokens
]


@pytest.mark.multiprocess
@pytest.mark.parametrize(("model", "width", "asked"), CASES, ids=[model.family for model, _, _ in CASES])
def test_every_placement_scores_as_one_process_does(model: ModelConfig, width: int, asked: int, tmp_path: Path) -> None:
    schedules = {name: build(name, stages=2, microbatches=4) for name in NAMES}
    cases = tuple(Case(name, schedule_json(item), 3, width) for name, item in schedules.items())
    job = Job(config_dict(model), cases, iterations=3, dtype="float64", learning_rate=1e-2)
    ranks = 2 * width
    results = launch("tests.executor.targets:score", job.payload(), ranks=ranks, output=tmp_path, deadline_s=60)
    for name in NAMES:
        samples, predictions, correct, loss = (sum(values) for values in zip(*(r[name] for r in results), strict=True))
        expected = results[0]["one process"][name]
        assert (samples, predictions) == (600, 600 * asked)
        assert correct == expected["correct"] and 0 < correct < 600 * asked
        assert loss / 600 == pytest.approx(expected["loss"], abs=1e-10)
