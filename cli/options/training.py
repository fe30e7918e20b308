"""Options that say how and on what to train, and how far a training is."""

from __future__ import annotations

__all__ = ["TrainingOptions", "how_far"]

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from chimera.cli.options.data import DATA, DATA_DIR, source_of
from chimera.cli.reports.output import some_time
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import ModelConfig
from chimera.pipeline.setting import Compute, Optimizer, Run, Work

if TYPE_CHECKING:
    from chimera.executor.training.following import Step

_STEPS = 10


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How and on what to train, as it is written on the command line."""

    steps: Annotated[
        int | None, typer.Option("--steps", help=f"Steps to train and measure; {_STEPS} unless --seconds is given.")
    ] = None
    seconds: Annotated[
        str | None, typer.Option("--seconds", help="Stop after so long, such as 30s, and at least three steps.")
    ] = None
    data: Annotated[str, DATA] = ""
    data_dir: Annotated[str | None, DATA_DIR] = None
    seed: Annotated[int, typer.Option("--seed", help="Seed of weights and data.")] = 0
    optimizer: Annotated[str, typer.Option("--optimizer", help="adamw or sgd.")] = "adamw"
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="The highest learning rate.")] = 1e-3
    momentum: Annotated[float, typer.Option("--momentum", help="Momentum of sgd.")] = 0.0
    decay: Annotated[str, typer.Option("--decay", help="constant, linear or cosine, to zero at the last step.")] = (
        "constant"
    )
    rate_warmup: Annotated[
        int, typer.Option("--rate-warmup", help="Steps in which the learning rate rises to its highest.")
    ] = 0
    clip_norm: Annotated[
        float | None,
        typer.Option("--clip-norm", help="Largest norm of all gradients together; schedules with a flush only."),
    ] = None
    precision: Annotated[str, typer.Option("--precision", help="float32, float64, or bf16 over float32 weights.")] = (
        "float32"
    )
    checkpoint_every: Annotated[
        int, typer.Option("--checkpoint-every", help="Write a checkpoint every so many steps, and at the end.")
    ] = 0
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False

    def work(self, model: ModelConfig) -> Work:
        """What is trained: this model, with the optimizer and the precision that are meant."""
        optimizer = Optimizer(
            self.optimizer, self.learning_rate, self.momentum, self.decay, self.rate_warmup, self.clip_norm
        )
        return Work(model, self.precision, optimizer)

    def run(self, compute: Compute) -> Run:
        """How it is run. Raises InputError for a number out of range or a time without a unit."""
        for flag, given, least in (("--steps", self.steps, 1), ("--checkpoint-every", self.checkpoint_every, 0)):
            if given is not None and given < least:
                raise InputError(f"{flag} {given}", f"is below {least}", f"give {least} or more")
        source = source_of(self.data, self.data_dir)
        return Run(
            data=source.name,
            data_dir=source.folder,
            seed=self.seed,
            steps=_STEPS if self.steps is None and self.seconds is None else self.steps,
            seconds=None if self.seconds is None else some_time("--seconds", self.seconds),
            compute=compute,
            checkpoint_every=self.checkpoint_every,
            resume=self.resume,
        )


def how_far(step: Step | None, steps: int | None) -> str:
    """Step, loss, seconds a step and time left, in a line for people; empty as long as nothing is known."""
    if step is None:
        return ""
    total = "" if steps is None else f"/{steps}"
    left = "" if step.left_s is None else f", {step.left_s:.0f} s left"
    return f"step {step.number}{total}, loss {step.loss:.4f}, {step.seconds:.3g} s a step{left}"
