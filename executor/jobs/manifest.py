"""What a checkpoint is of: its step, its files with their digests, and the job that it belongs to.

The manifest is written last and read first: what it does not name is no part of the checkpoint.
"""

from __future__ import annotations

__all__ = ["Manifest", "checkpoint_folder", "fingerprint", "read_manifest", "refuse_misfit"]

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from chimera.executor.jobs.cases import Case, Job
from chimera.pipeline.errors import InputError

_NAME = "manifest.json"
_FREE = {
    "cases",
    "rounds",
    "warmup",
    "memory",
    "reset",
    "restart",
    "seconds",
    "checkpoint_every",
    "resume",
    "held_out",
    "detailed",
}
"""fields of a job that may differ from one part of a training to the next: nothing is learnt from them"""


class Manifest(BaseModel):
    """`files` are names within `folder`, itself within the checkpoint folder, with their SHA-256.

    `losses` hold the loss of every step so far, by case; `job` is the `fingerprint`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    step: int
    folder: str
    files: dict[str, str]
    job: dict[str, JsonValue]
    losses: dict[str, list[float]]
    checkpoint_every: int = 0
    """steps between two checkpoints; 0 in those of earlier versions, which did not say"""


def checkpoint_folder(output: Path) -> Path:
    """Where a run that writes into `output` keeps its checkpoint."""
    return output / "checkpoint"


def manifest_path(output: Path) -> Path:
    """The manifest of a run that writes into `output`."""
    return checkpoint_folder(output) / _NAME


def fingerprint(job: Job) -> dict[str, JsonValue]:
    """Everything that what is learnt depends on, as JSON values: two jobs of one training have the same."""
    fields = {name: value for name, value in asdict(job).items() if name not in _FREE}
    cases: dict[str, Any] = {"schedules": ", ".join(case.label for case in job.cases)}
    for case in job.cases:
        cases[f"size of {case.label}"] = _size(case)
        cases[f"order of {case.label}"] = hashlib.sha256(json.dumps(case.schedule).encode()).hexdigest()[:16]
        cases[f"partition of {case.label}"] = case.partition
    found: dict[str, JsonValue] = json.loads(json.dumps({**cases, **fields, "torch": version("torch")}))
    return found


def read_manifest(output: Path) -> Manifest | None:
    """The manifest of the last whole checkpoint; None if there is none. Raises InputError if it is damaged."""
    path = manifest_path(output)
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"checkpoint {path}", f"{where}: {first['msg']}", "start anew in another folder") from error
    except OSError as error:
        raise InputError(f"checkpoint {path}", error.strerror or str(error), "start anew in another folder") from error


def refuse_misfit(manifest: Manifest, job: Job) -> None:
    """Raises InputError, naming the first difference, for a checkpoint of another training."""
    ours = fingerprint(job)
    for name in [*ours, *(name for name in manifest.job if name not in ours)]:
        then, now = manifest.job.get(name), ours.get(name)
        if then != now:
            raise InputError(
                f"the checkpoint has {_spoken(name)} {_short(then, now)}",
                f"the run asks for {_short(now, then)}",
                "resume with the settings it was made with, or start anew in another folder",
            )


def _size(case: Case) -> str:
    schedule = case.schedule
    devices = f"{schedule['stages']} stages on {schedule['devices']} devices"
    return f"{devices}, {schedule['microbatches']} micro-batches of {case.microbatch_size}, width {case.width}"


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _short(value: JsonValue, other: JsonValue) -> str:
    """A model by its name, where the names tell them apart."""
    if isinstance(value, dict) and isinstance(other, dict) and value.get("name") != other.get("name"):
        return str(value.get("name"))
    return json.dumps(value) if not isinstance(value, str) else value
