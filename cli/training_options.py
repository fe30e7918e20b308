"""Options that say how to train, and how far a training is."""

from __future__ import annotations

__all__ = [
    "CHECKPOINT_EVERY", "CLIP_NORM", "DECAY", "LEARNING_RATE", "MOMENTUM", "OPTIMIZER", "PRECISION", "RATE_WARMUP",
    "RESUME", "SECONDS", "SEED", "STEPS", "how_far", "seconds",
]  # fmt: skip

from typing import TYPE_CHECKING

import typer

from cli.output import duration_ns
from pipeline.errors import InputError

if TYPE_CHECKING:
    from calibration.following import Step

STEPS = typer.Option(None, "--steps", help="Steps to train and measure; 10 unless --seconds is given.")
SECONDS = typer.Option(None, "--seconds", help="Stop after so long, such as 30s, and at least three steps.")
SEED = typer.Option(0, "--seed", help="Seed of weights and data.")
OPTIMIZER = typer.Option("adamw", "--optimizer", help="adamw or sgd.")
LEARNING_RATE = typer.Option(1e-3, "--learning-rate", help="The highest learning rate.")
MOMENTUM = typer.Option(0.0, "--momentum", help="Momentum of sgd.")
DECAY = typer.Option("constant", "--decay", help="constant, linear or cosine, to zero at the last step.")
RATE_WARMUP = typer.Option(0, "--rate-warmup", help="Steps in which the learning rate rises to its highest.")
CLIP_NORM = typer.Option(None, "--clip-norm", help="Largest norm of all gradients together; schedules with a flush only.")
PRECISION = typer.Option("float32", "--precision", help="float32, float64, or bf16 over float32 weights.")
CHECKPOINT_EVERY = typer.Option(0, "--checkpoint-every", help="Write a checkpoint every so many steps, and at the end.")
RESUME = typer.Option(False, "--resume", help="Go on from the checkpoint in the output folder.")


def seconds(text: str | None) -> float | None:
    """The seconds of --seconds; InputError without a unit."""
    found = None if text is None else duration_ns("--seconds", text) / 1e9
    if found is not None and found <= 0:
        raise InputError(f"--seconds {text}", "is no time at all", "give a time above 0")
    return found


def how_far(step: Step | None, steps: int | None) -> str:
    """Step, loss, seconds a step and time left, in a line for people; empty as long as nothing is known."""
    if step is None:
        return ""
    total = "" if steps is None else f"/{steps}"
    left = "" if step.left_s is None else f", {step.left_s:.0f} s left"
    return f"step {step.number}{total}, loss {step.loss:.4f}, {step.seconds:.3g} s a step{left}"
