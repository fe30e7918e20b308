"""`chimera calibrate`: short real runs on this machine become a cost profile."""

from __future__ import annotations

__all__ = ["calibrate", "check_calibration", "check_measuring"]

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from chimera.calibration.measuring.session import OnProgress, SessionConfig, require_cores, run_session
from chimera.executor.data import Source, check_source
from chimera.pipeline.errors import InputError
from chimera.pipeline.setting import Setting
from chimera.simulator.costs.profile import Profile

_PIPELINED_SHARE = 0.6


def calibrate(setting: Setting, *, budget_s: float, output: Path, on_progress: OnProgress | None = None) -> Profile:
    """Measures layers, messages, all-reduces, optimizer, dispatch and memory, co-running on all ranks.

    The model is cut into as many stages as the setting has devices. `output` is a folder for what the ranks
    write. About `budget_s` seconds of measuring, start-up aside. Raises InputError for a setting that does not
    fit, also for more ranks than cores, RunError when a rank fails.
    """
    config = SessionConfig(check_calibration(setting, budget_s), budget_s, output)
    require_cores(setting.ranks)
    return run_session(config, {}, seconds=_PIPELINED_SHARE * budget_s, on_progress=on_progress).profile


def check_calibration(setting: Setting, budget_s: float) -> Setting:
    """The setting with its data named; InputError for what is wrong whatever this machine's cores and folders."""
    device = setting.run.device
    if device != "cpu":
        raise InputError(f"device {device!r}", "calibration has only ever run on the CPU", "use --device cpu")
    return check_measuring(setting, [setting.layout.grid.devices], budget_s)


def check_measuring(setting: Setting, stages: Iterable[int], budget_s: float) -> Setting:
    """The setting with its data named; InputError where there is nothing to measure, or no time."""
    work, run = setting.work, setting.run
    setting.check(stages)
    source = check_source(work.model, Source(run.data, run.data_dir))
    if budget_s <= 0:
        raise InputError(f"budget {budget_s:g} s", "leaves no time to measure", "give some seconds, such as 20s")
    return replace(setting, run=replace(run, data=source.name, data_dir=source.folder))
