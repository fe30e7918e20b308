"""`chimera calibrate`: short real runs on this machine become a cost profile."""

from __future__ import annotations

__all__ = ["calibrate", "check_calibration", "check_measuring"]

from pathlib import Path

from chimera.calibration.measuring.session import OnProgress, SessionConfig, run_session
from chimera.executor.data import Source, check_source
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import model_config
from chimera.pipeline.models.partition import Partition
from chimera.simulator.costs.profile import Profile

_PIPELINED_SHARE = 0.6
_DEFAULT = Source()


def calibrate(
    model: str,
    *,
    stages: int,
    microbatch_size: int,
    budget_s: float,
    output: Path,
    device: str = "cpu",
    source: Source = _DEFAULT,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Profile:
    """Measures layers, messages, all-reduces, optimizer, dispatch and memory, co-running on all ranks.

    `output` is a folder for what the ranks write. About `budget_s` seconds of measuring, start-up
    aside. Raises InputError for arguments that do not fit, RunError when a rank fails.
    """
    check_calibration(
        model, stages=stages, microbatch_size=microbatch_size, budget_s=budget_s, device=device, source=source
    )
    config = model_config(model)
    session = run_session(
        SessionConfig(config, stages, microbatch_size, budget_s, output, seed, source=check_source(config, source)),
        {},
        seconds=_PIPELINED_SHARE * budget_s,
        on_progress=on_progress,
    )
    return session.profile


def check_calibration(
    model: str, *, stages: int, microbatch_size: int, budget_s: float, device: str = "cpu", source: Source = _DEFAULT
) -> None:
    """Raises InputError for all that can be known without this machine's cores and folders."""
    if device != "cpu":
        raise InputError(f"device {device!r}", "calibration has only ever run on the CPU", "use --device cpu")
    config = model_config(model)
    Partition.default(config, stages)
    check_source(config, source)
    check_measuring(microbatch_size, budget_s)


def check_measuring(microbatch_size: int, budget_s: float) -> None:
    """Raises InputError where there is nothing to measure, or no time."""
    if microbatch_size < 1:
        raise InputError(f"micro-batch size {microbatch_size}", "leaves nothing to compute", "give 1 or more samples")
    if budget_s <= 0:
        raise InputError(f"budget {budget_s:g} s", "leaves no time to measure", "give some seconds, such as 20s")
