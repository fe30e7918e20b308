"""Accuracy and loss on held-out samples: through the stages, wherever they live, as one process has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import BERT, CNN, MLP, ModelConfig, config_dict
from chimera.pipeline.schedules import build

NAMES = ("dapple", "chimera", "interleaved", "zb-v", "data-parallel", "pipedream", "pipedream-2bw")
CASES: list[tuple[ModelConfig, int, int]] = [  # model, width, predictions a sample
    (MLP("mlp", blocks=6, hidden=12, features=5, classes=4), 2, 1),
    (CNN("cnn", blocks=6, sizes=3, channels=4, groups=2, image=7, colours=1, classes=10), 1, 1),
    (BERT("bert", blocks=6, hidden=8, heads=2, sequence=17, vocabulary=259), 1, 2),  # 15 % of 17 - 3 tokens
]


@pytest.mark.multiprocess
def test_every_placement_scores_as_one_process_does(tmp_path: Path) -> None:
    schedules = {name: build(name, stages=2, microbatches=4) for name in NAMES}
    jobs = [
        Job(
            config_dict(model),
            tuple(Case(name, schedule_json(item), 3, width) for name, item in schedules.items()),
            iterations=3,
            dtype="float64",
            learning_rate=1e-2,
        ).payload()
        for model, width, _ in CASES
    ]
    ranks = launch("tests.executor.targets:scores", {"jobs": jobs}, ranks=4, output=tmp_path, deadline_s=240)
    for number, (model, _, asked) in enumerate(CASES):
        for name in NAMES:
            parts = [rank[number][name] for rank in ranks if name in rank[number]]
            samples, predictions, correct, loss = (sum(values) for values in zip(*parts, strict=True))
            expected, where = ranks[0][number]["one process"][name], f"{model.family} {name}"
            assert (samples, predictions) == (600, 600 * asked), where
            assert correct == expected["correct"] and 0 < correct < 600 * asked, where
            assert loss / 600 == pytest.approx(expected["loss"], abs=1e-10), where
