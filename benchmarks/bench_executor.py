"""Our executor beside torch's own pipeline schedules: same model, ranks, cores and data, in turns.

python -m benchmarks.bench_executor [--rounds 30] [--microbatch-size 8] [--microbatches 8]
"""

from __future__ import annotations

__all__ = ["main"]

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chimera.calibration.judging.statistics import median_interval
from chimera.calibration.measuring.session import available_cores
from chimera.executor.jobs.cases import Case, Job
from chimera.executor.ranks.launch import launch
from chimera.pipeline.files.provenance import machine
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.models import config_dict, model_config
from chimera.pipeline.schedules import build

STAGES = 2
OURS = ("dapple", "gpipe", "chimera")


def measure(model: str, microbatches: int, size: int, rounds: int) -> dict[str, np.ndarray]:
    """Per contestant, the seconds of every iteration: from the first rank's begin to the last one's end."""
    schedules = {name: build(name, stages=STAGES, microbatches=microbatches) for name in OURS}
    cases = tuple(Case(name, schedule_json(item), size) for name, item in schedules.items())
    job = Job(config_dict(model_config(model)), cases, rounds=rounds, warmup=3, memory=False)
    with tempfile.TemporaryDirectory() as folder:
        ranks = launch(
            "benchmarks.executor_ranks:take_turns", job.payload(), ranks=STAGES, output=Path(folder), deadline_s=900
        )
    found = {}
    for name in ranks[0]:
        times = np.array([rank[name] for rank in ranks], dtype=np.int64)
        found[name] = (times[:, :, 1].max(axis=0) - times[:, :, 0].min(axis=0)) / 1e9
    return found


def table(found: dict[str, np.ndarray]) -> str:
    """Medians in ms, and ratios of iterations that followed one another, with 95 % bootstrap intervals."""
    lines = ["| contestant | median ms [95 %] | of torch 1F1B [95 %] | of torch GPipe [95 %] |", "|---|---|---|---|"]
    for name, seconds in found.items():
        own = median_interval((1e3 * seconds).tolist())
        ratios = [median_interval((seconds / found[other]).tolist()) for other in ("torch 1F1B", "torch GPipe")]
        cells = [f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" for ratio in ratios]
        lines.append(f"| {name} | {own.median:.1f} [{own.low:.1f}, {own.high:.1f}] | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="gpt-tiny")
    parser.add_argument("--microbatches", type=int, default=8)
    parser.add_argument("--microbatch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args(arguments)
    if available_cores() < STAGES:
        print(f"{available_cores()} cores: two ranks need one each")
        return
    found = measure(given.model, given.microbatches, given.microbatch_size, given.rounds)
    print(
        f"{machine()['processor']}; {given.model}, D={STAGES}, N={given.microbatches}, "
        f"B={given.microbatch_size}; {given.rounds} rounds, all contestants in turns\n"
    )
    print(table(found))


if __name__ == "__main__":
    main()
