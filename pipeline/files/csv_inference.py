"""What a CSV file leaves unsaid: how many stages and micro-batches, which stage lives where."""

from __future__ import annotations

__all__ = ["infer_schedule"]

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from chimera.pipeline.actions import Action
from chimera.pipeline.errors import InputError, ScheduleError
from chimera.pipeline.files.torch_csv import Cell
from chimera.pipeline.schedule import Schedule

_Rows = tuple[tuple[Cell, ...], ...]


def infer_schedule(rows: _Rows, path: Path, placement: Sequence[Sequence[int]] | None) -> Schedule:
    """The schedule of CSV cells, named after its file; one row a device, numbers from 0 without gaps.

    With a `placement`, a micro-batch belongs to the replica on whose devices most of its actions
    stand (so that a misplaced action is found by the check, not here). Raises InputError for
    numbers that leave gaps too wide to be a mistake, ScheduleError for a stage on two devices.
    """
    stages = 1 + _largest(rows, path.name, "stage")
    microbatches = 1 + _largest(rows, path.name, "micro-batch")
    if placement is None:
        placement = (_infer_placement(rows, path.name, stages),)
    replicas = tuple(map(tuple, placement))
    return Schedule(
        name=path.stem,
        stages=stages,
        devices=len(rows),
        microbatches=microbatches,
        placement=replicas,
        replica_of=_infer_replicas(rows, replicas, microbatches) if len(replicas) > 1 else (0,) * microbatches,
        actions=tuple(tuple(cell.action for cell in row if cell.action.is_compute) for row in rows),
    )


def _parts(cell: Cell) -> tuple[Action, ...]:
    return cell.action.parts if cell.action.is_compute else ()


def _largest(rows: _Rows, source: str, what: str) -> int:
    """The largest stage or micro-batch number; refuses one beyond the number of actions in the file."""
    limit = sum(len(_parts(cell)) * 2 for row in rows for cell in row)
    largest = -1
    for device, row in enumerate(rows):
        for cell in row:
            for part in _parts(cell):
                number = part.stage if what == "stage" else max(part.microbatches)
                if number > limit:
                    raise InputError(
                        f"{source} row {device + 1} (device {device}), column {cell.column + 1}: {part}",
                        f"{what} {number} cannot be reached in a file of {limit // 2} actions",
                        f"number every {what} from 0 without gaps",
                    )
                largest = max(largest, number)
    if largest < 0:
        raise InputError(f"{source} computes nothing", "it holds no forward or backward", "write cells like 2F5")
    return largest


def _infer_placement(rows: _Rows, source: str, stages: int) -> tuple[int, ...]:
    """The one device of every stage."""
    homes: dict[int, Counter[int]] = defaultdict(Counter)
    for device, row in enumerate(rows):
        for cell in row:
            for part in _parts(cell):
                homes[part.stage][device] += 1
    for stage in range(stages):
        if len(homes[stage]) > 1:
            raise _two_homes(rows, source, stage, homes[stage])
        if not homes[stage]:
            raise InputError(
                f"{source} never runs stage {stage}", f"it runs stage {stages - 1}", "number stages from 0 without gaps"
            )
    return tuple(next(iter(homes[stage])) for stage in range(stages))


def _two_homes(rows: _Rows, source: str, stage: int, homes: Counter[int]) -> ScheduleError:
    """Points at the stage's first action on the device that runs it least."""
    home, stray = homes.most_common()[0][0], homes.most_common()[-1][0]
    computed = [cell for cell in rows[stray] if cell.action.is_compute]
    position, cell = next(
        (position, cell) for position, cell in enumerate(computed) if any(part.stage == stage for part in _parts(cell))
    )
    return ScheduleError(
        f"{source} row {stray + 1} (device {stray}), column {cell.column + 1}: {cell.action}",
        f"stage {stage} runs on device {home} too",
        "keep a stage on one device, or give the placement of the replicas (or a JSON file)",
        device=stray,
        position=position,
    )


def _infer_replicas(rows: _Rows, placement: tuple[tuple[int, ...], ...], microbatches: int) -> tuple[int, ...]:
    """The replica whose devices agree with most actions of each micro-batch."""
    votes: list[Counter[int]] = [Counter() for _ in range(microbatches)]
    for device, row in enumerate(rows):
        for cell in row:
            for part in _parts(cell):
                for replica, homes in enumerate(placement):
                    if part.stage < len(homes) and homes[part.stage] == device:
                        for microbatch in part.microbatches:
                            votes[microbatch][replica] += 1
    return tuple(vote.most_common(1)[0][0] if vote else 0 for vote in votes)
