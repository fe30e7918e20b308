"""What a group of ranks is asked to do: cases of one model, as values that travel as JSON."""

from __future__ import annotations

__all__ = ["Case", "Job", "Paces", "job_of"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chimera.executor.jobs.pace import Pace
from chimera.pipeline.files.schedule_file import schedule_json
from chimera.pipeline.learning_rate import LearningRate
from chimera.pipeline.models import config_dict
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting

_JSON = dict[str, Any]
Paces = Mapping[str, tuple[Pace, ...]]
"""By label, what each stage sleeps instead of computing."""


@dataclass(frozen=True, slots=True)
class Case:
    """One schedule to run, as its JSON document, on `width` data-parallel copies of the pipeline."""

    label: str
    schedule: _JSON
    microbatch_size: int
    width: int = 1
    partition: tuple[int, ...] | None = None
    """layers per stage; None: the default partition of the model"""
    pace: tuple[Pace, ...] | None = None
    """what each stage sleeps; None: real compute"""

    @classmethod
    def from_document(cls, document: _JSON) -> Case:
        """The case that `dataclasses.asdict` wrote, or its JSON."""
        pace = document.get("pace")
        cut = document.get("partition")
        values = document | {
            "partition": None if cut is None else tuple(cut),
            "pace": None if pace is None else tuple(Pace(**stage) for stage in pace),
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Job:
    """Cases of one model; each round runs `iterations` of every case, after `warmup` rounds.

    The rounds end early once `seconds` have passed. Iteration i of every case sees the same
    mini-batch. With `reset` a case's weights return to their initial values before each round, with
    `restart` only once, after the warm-up. `memory` adds one untimed iteration of each case that
    watches the allocator. Every `checkpoint_every` rounds, and at the end, a checkpoint is written
    (0: never); with `resume` the rounds go on from it.
    """

    model: _JSON
    cases: tuple[Case, ...]
    rounds: int = 1
    iterations: int = 1
    warmup: int = 1
    seed: int = 0
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    decay: str = "constant"
    rate_warmup: int = 0
    rate_steps: int = 0
    """see `chimera.pipeline.learning_rate.LearningRate`"""
    clip_norm: float | None = None
    """the largest global norm of the gradients; None: whatever it is"""
    dtype: str = "float32"
    """float32, float64 or bf16: see `chimera.executor.jobs.precision`"""
    memory: bool = True
    reset: bool = False
    restart: bool = False
    checkpoint_every: int = 0
    resume: bool = False
    held_out: int = 0
    """samples kept out of training that are scored at the end; fewer where they are long texts"""
    data: str = ""
    """see `chimera.executor.data.Source`; empty: what the model's family is trained on by default"""
    data_dir: str | None = None
    detailed: int | None = None
    """of how many iterations a case keeps spans and messages: see `executor.iteration.record.Records`; None: of all"""
    seconds: float | None = None
    """no further round after so long (at least three are run); None: all rounds"""

    @property
    def rate(self) -> LearningRate:
        """The learning rate of every iteration."""
        return LearningRate(self.learning_rate, self.decay, self.rate_warmup, self.rate_steps)

    def payload(self) -> _JSON:
        """The job as the JSON-able payload of `run_job`."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Job:
        """The job that `payload` wrote."""
        return cls(**{**payload, "cases": tuple(map(Case.from_document, payload["cases"]))})


def job_of(setting: Setting, schedules: Mapping[str, Schedule], paces: Paces | None = None) -> Job:
    """The job of these schedules, by label, in this setting: one round of them, real unless there are paces."""
    work, run, optimizer = setting.work, setting.run, setting.work.optimizer
    return Job(
        model=config_dict(work.model),
        cases=tuple(_case(setting, label, item, paces) for label, item in schedules.items()),
        seed=run.seed,
        optimizer=optimizer.name,
        learning_rate=optimizer.learning_rate,
        momentum=optimizer.momentum,
        decay=optimizer.decay,
        rate_warmup=optimizer.warmup,
        rate_steps=optimizer.rate_steps(run.steps),
        clip_norm=optimizer.clip_norm,
        dtype=work.precision,
        checkpoint_every=run.checkpoint_every,
        resume=run.resume,
        data=run.data,
        data_dir=run.data_dir,
        seconds=run.seconds,
    )


def _case(setting: Setting, label: str, schedule: Schedule, paces: Paces | None) -> Case:
    partition = setting.layout.partition(schedule.stages)
    return Case(
        label,
        schedule_json(schedule),
        setting.layout.microbatch_size,
        setting.layout.grid.width,
        None if partition is None else partition.counts,
        None if paces is None else paces[label],
    )
