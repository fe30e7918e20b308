"""Predicts, executes and scores pipeline-parallel training schedules.

    import chimera

    prediction = chimera.simulate(
        chimera.build("chimera", stages=8, microbatches=8), chimera.Profile.uniform(forward="1ms", backward="2ms")
    )
    print(prediction)

The names here are what programs and notebooks need; docs/python.md shows each with an example. What is beneath them
(plans, workloads, engines) is in `chimera.lowlevel`. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

__all__ = [
    "build",
    "calibrate",
    "catalogue",
    "check",
    "ChimeraError",
    "compare",
    "Comparison",
    "Conditions",
    "Grid",
    "InputError",
    "Layout",
    "load_profile",
    "measure",
    "Metrics",
    "model_config",
    "model_names",
    "Partition",
    "plot",
    "Prediction",
    "Profile",
    "read_schedule",
    "read_timeline",
    "Run",
    "run",
    "RunError",
    "RunResult",
    "save_profile",
    "save_trace",
    "Schedule",
    "ScheduleError",
    "Setting",
    "simulate",
    "text_grid",
    "Timeline",
    "validate",
    "Validation",
    "Work",
    "__version__",
]

from typing import TYPE_CHECKING

from chimera._lazy import attribute_getter

if TYPE_CHECKING:
    from chimera.calibration.judging.validate import validate as validate
    from chimera.calibration.judging.validation import Validation as Validation
    from chimera.calibration.measuring.calibrate import calibrate as calibrate
    from chimera.executor.training.run import RunResult as RunResult
    from chimera.executor.training.run import run as run
    from chimera.pipeline.errors import ChimeraError as ChimeraError
    from chimera.pipeline.errors import InputError as InputError
    from chimera.pipeline.errors import RunError as RunError
    from chimera.pipeline.errors import ScheduleError as ScheduleError
    from chimera.pipeline.files.grid import text_grid as text_grid
    from chimera.pipeline.files.schedule_file import read_schedule as read_schedule
    from chimera.pipeline.files.timeline_file import read_timeline as read_timeline
    from chimera.pipeline.files.trace import save_trace as save_trace
    from chimera.pipeline.grid import Grid as Grid
    from chimera.pipeline.metrics import Metrics as Metrics
    from chimera.pipeline.metrics import measure as measure
    from chimera.pipeline.models import model_config as model_config
    from chimera.pipeline.models import model_names as model_names
    from chimera.pipeline.models.partition import Partition as Partition
    from chimera.pipeline.schedule import Schedule as Schedule
    from chimera.pipeline.schedules import build as build
    from chimera.pipeline.schedules import catalogue as catalogue
    from chimera.pipeline.setting import Layout as Layout
    from chimera.pipeline.setting import Run as Run
    from chimera.pipeline.setting import Setting as Setting
    from chimera.pipeline.setting import Work as Work
    from chimera.pipeline.soundness.check import check as check
    from chimera.pipeline.timeline import Timeline as Timeline
    from chimera.plotting import plot as plot
    from chimera.simulator.costs.profile import Profile as Profile
    from chimera.simulator.costs.profile_file import load_profile as load_profile
    from chimera.simulator.costs.profile_file import save_profile as save_profile
    from chimera.simulator.predicting.compare import compare as compare
    from chimera.simulator.predicting.comparison import Comparison as Comparison
    from chimera.simulator.predicting.conditions import Conditions as Conditions
    from chimera.simulator.predicting.predict import simulate as simulate
    from chimera.simulator.predicting.prediction import Prediction as Prediction

__version__ = "0.1.0"

_HOMES = {
    "chimera.calibration.judging.validate": "validate",
    "chimera.calibration.judging.validation": "Validation",
    "chimera.calibration.measuring.calibrate": "calibrate",
    "chimera.executor.training.run": "RunResult run",
    "chimera.pipeline.errors": "ChimeraError InputError RunError ScheduleError",
    "chimera.pipeline.files.grid": "text_grid",
    "chimera.pipeline.files.schedule_file": "read_schedule",
    "chimera.pipeline.files.timeline_file": "read_timeline",
    "chimera.pipeline.files.trace": "save_trace",
    "chimera.pipeline.grid": "Grid",
    "chimera.pipeline.metrics": "Metrics measure",
    "chimera.pipeline.models": "model_config model_names",
    "chimera.pipeline.models.partition": "Partition",
    "chimera.pipeline.schedule": "Schedule",
    "chimera.pipeline.schedules": "build catalogue",
    "chimera.pipeline.setting": "Setting Work Layout Run",
    "chimera.pipeline.soundness.check": "check",
    "chimera.pipeline.timeline": "Timeline",
    "chimera.plotting": "plot",
    "chimera.simulator.costs.profile": "Profile",
    "chimera.simulator.costs.profile_file": "load_profile save_profile",
    "chimera.simulator.predicting.compare": "compare",
    "chimera.simulator.predicting.comparison": "Comparison",
    "chimera.simulator.predicting.conditions": "Conditions",
    "chimera.simulator.predicting.predict": "simulate",
    "chimera.simulator.predicting.prediction": "Prediction",
}

__getattr__ = attribute_getter(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
