"""Checkpoints: the state of every rank between two steps, whole on disk or not there at all.

Each rank writes a file of its own into a new folder; when all are there, the manifest is renamed
over the old one. Whatever is killed at whatever moment, a manifest names files that are complete.
"""

from __future__ import annotations

__all__ = ["Checkpoints"]

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.manifest import (
    Manifest,
    checkpoint_folder,
    fingerprint,
    manifest_path,
    read_manifest,
    refuse_misfit,
)
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.ranks.context import RankContext
from chimera.pipeline.errors import InputError, RunError
from chimera.pipeline.files.atomic_file import atomic_path


class Checkpoints:
    """The checkpoints of one job, seen from one rank; several hosts need one common folder."""

    def __init__(self, context: RankContext, job: Job, prepared: Sequence[Prepared]) -> None:
        self._context, self._job, self._prepared = context, job, prepared
        self._folder = checkpoint_folder(context.output)
        self._losses: dict[str, list[float]] = {case.label: [] for case in job.cases}
        self.step = 0
        """of the last checkpoint written or resumed from"""

    def save(self, step: int, parts: dict[str, list[float]]) -> None:
        """Keeps the state after `step` steps; `parts` are this rank's parts of the losses since the last call.

        Collective. Raises RunError where it cannot be written; the checkpoint before it stays.
        """
        self._context.progress.at(f"writing the checkpoint of step {step}")
        target = self._folder / f"step-{step:08d}" / f"rank-{self._context.rank}.pt"
        try:
            _write(target, self._state())
        except InputError as error:  # the folder could be written to when the run started
            raise RunError(error.given, error.derived, "make room: the checkpoint before it is whole") from error
        told: list[Any] = [None] * self._context.ranks
        dist.all_gather_object(told, (target.name, _digest(target), parts))
        for label, known in self._losses.items():
            known += map(sum, zip(*(other[label] for _, _, other in told), strict=True))
        if self._context.rank == 0:
            files = {name: digest for name, digest, _ in told}
            self._complete(
                Manifest(
                    step=step,
                    folder=target.parent.name,
                    files=files,
                    job=fingerprint(self._job),
                    losses=self._losses,
                    checkpoint_every=self._job.checkpoint_every,
                )
            )
        self.step = step
        dist.barrier()

    def resume(self) -> int:
        """Goes on from the last checkpoint: the number of steps it has behind it.

        Raises InputError if there is none, if it is of another training, or if a file is not what
        its digest says.
        """
        self._context.progress.at("reading the checkpoint")
        manifest = read_manifest(self._context.output)
        if manifest is None:
            raise InputError(
                f"nothing to resume in {self._folder}", "no checkpoint was completed there", "run without --resume"
            )
        refuse_misfit(manifest, self._job)
        self._load(self._read(manifest))
        self._losses = {label: list(values) for label, values in manifest.losses.items()}
        self.step = manifest.step
        return manifest.step

    def _state(self) -> dict[str, Any]:
        return {
            "cases": {
                item.case.label: {
                    "count": item.count,
                    "stages": {number: stage.weights.state() for number, stage in item.runtime.stages.items()},
                }
                for item in self._prepared
                if item.active
            },
            "rng": torch.get_rng_state(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        for item in self._prepared:
            if item.active:
                kept = state["cases"][item.case.label]
                item.count = kept["count"]
                for number, stage in item.runtime.stages.items():
                    stage.weights.load(kept["stages"][number])
        torch.set_rng_state(state["rng"].cpu())

    def _read(self, manifest: Manifest) -> dict[str, Any]:
        name = f"rank-{self._context.rank}.pt"
        path = self._folder / manifest.folder / name
        if not path.is_file() or _digest(path) != manifest.files.get(name):
            raise InputError(
                f"checkpoint file {path}",
                "is not what was written: its SHA-256 differs from the manifest's" if path.is_file() else "is missing",
                "restore it, or start anew in another folder",
            )
        found: dict[str, Any] = torch.load(path, map_location=self._context.device, weights_only=True)
        return found

    def _complete(self, manifest: Manifest) -> None:
        """Makes it the checkpoint, then clears away whatever else lies beside it."""
        with atomic_path(manifest_path(self._context.output)) as temporary, open(temporary, "w") as file:
            file.write(manifest.model_dump_json(indent=1))
            _settle(file)
        _clear(self._folder, manifest.folder)


def _clear(folder: Path, kept: str) -> None:
    """Removes older checkpoints, and what a killed rank left under a temporary name."""
    for part in folder.glob(".*.manifest.json"):
        part.unlink()
    for other in folder.glob("step-*"):
        if other.name != kept:
            shutil.rmtree(other, ignore_errors=True)


def _write(path: Path, state: dict[str, Any]) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch complains of the consequence, not of the full disk
                raise error.__context__ from error
            raise
        _settle(file)


def _settle(file: Any) -> None:
    """What is renamed must be on disk first, or a crash of the machine leaves a whole name with half a file."""
    file.flush()
    os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
