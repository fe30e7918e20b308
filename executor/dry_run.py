"""A plan for more ranks than there are machines, walked through in one process: nothing is computed or sent.

Each rank in turn joins a process group that only pretends (torch's "fake" backend), builds its
groups, mail and program as in a real run, and runs it on stages that are empty shells. What every
rank handed to torch is then compared with what its peers did.
"""

from __future__ import annotations

__all__ = ["DryRun", "RankSummary", "dry_run", "refuse_mismatch"]

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from executor.data import Microbatch
from executor.iteration.groups import Groups
from executor.iteration.inspection import Piece
from executor.iteration.mail import Handed
from executor.iteration.runtime import Runtime
from executor.precision import precision_of
from executor.ranks.context import RankContext
from executor.ranks.progress import Progress
from pipeline.errors import RunError
from pipeline.lowering import lower
from pipeline.models import ModelConfig, layers
from pipeline.partition import default_partition, explicit
from pipeline.schedule import Plan, Schedule

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class RankSummary:
    """What one rank would hold and do in an iteration."""

    rank: int
    actions: int
    batches: int
    """calls of torch that post messages: one a message, unless they go out in batches"""
    sent: int
    sent_bytes: int
    received: int
    received_bytes: int
    all_reduces: int
    all_reduced_bytes: int
    parameters: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """The ranks of a run that was not executed, and how many process groups they would make."""

    schedule: str
    model: str
    devices: int
    width: int
    microbatches: int
    microbatch_size: int
    groups: int
    ranks: tuple[RankSummary, ...]

    def as_json(self) -> dict[str, Any]:
        """One JSON-able object, schema_version 1."""
        return {"schema_version": 1, "executed": False, **asdict(self)}


class _Shell:
    """A stage whose tensors have their sizes and nothing in them (see `executor.iteration.stage.StageWork`)."""

    weights: Any

    def __init__(self, parameters: int, given: tuple[int, ...] | None, output: tuple[int, ...], dtypes: Any) -> None:
        gradient = torch.empty(1, dtype=dtypes.weights).expand(parameters)
        self.weights = SimpleNamespace(gradient=gradient, tensors=lambda: [])
        self._given, self._output, self._dtype = given, output, dtypes.messages
        self._rows: dict[tuple[int, int], int] = {}

    def forward(self, pieces: Sequence[Piece], given: Tensor, targets: Tensor | None) -> Tensor:
        """A tensor of the output's size."""
        self._rows |= {piece.key: piece.stop - piece.start for piece in pieces}
        return torch.empty((pieces[-1].stop - pieces[0].start, *self._output), dtype=self._dtype)

    def backward(self, key: tuple[int, int], gradient: Tensor | None, weights: bool) -> Tensor | None:
        """A tensor of the input gradient's size."""
        return None if self._given is None else torch.empty((self._rows[key], *self._given), dtype=self._dtype)

    def backward_weights(self, key: tuple[int, int]) -> None:
        """Nothing."""

    def step(self) -> None:
        """Nothing."""

    def take_loss(self) -> float:
        """There is none."""
        return 0.0


@dataclass(frozen=True, slots=True)
class _Size:
    """What every rank of the run shares."""

    plan: Plan
    shapes: tuple[tuple[int, ...], ...]
    parameters: tuple[int, ...]
    rows: int
    width: int
    dtypes: Any
    batched: bool

    @property
    def ranks(self) -> int:
        return self.plan.schedule.devices * self.width


class _Walked:
    """One rank that has walked through its program: what it handed to torch, and its all-reduces in order."""

    def __init__(self, size: _Size, rank: int, folder: Path) -> None:
        schedule, width = size.plan.schedule, size.width
        progress = Progress(folder / "action")
        context = RankContext(rank, size.ranks, _CPU, folder, progress, pinned=False, batched=size.batched)
        groups = Groups(_CPU)
        by_stage, directions = groups.of_stages(schedule, width), groups.of_directions(schedule, width, rank // schedule.devices)
        everyone = groups.of(range(size.ranks))
        self.stages = schedule.stages_on(rank % schedule.devices)
        shells = {stage: self._shell(size, stage) for stage in self.stages}
        runtime = Runtime(
            context, size.plan, shells, rows=size.rows, shapes=size.shapes, dtype=size.dtypes.messages,
            groups=by_stage, directions=directions, width=width, barrier=everyone,
        )  # fmt: skip
        self.handed = runtime.mail.handed = []
        sample = Microbatch(torch.empty(size.rows), torch.empty(size.rows))
        record = runtime.iteration([sample] * schedule.microbatches)
        launched = sorted((start, action) for stream, action, start, _ in record.spans if stream == "sync")
        self.all_reduces = [int(action.removesuffix("REDUCE_GRAD")) for _, action in launched]
        self.groups = len(groups)

    @staticmethod
    def _shell(size: _Size, stage: int) -> _Shell:
        given = size.shapes[stage - 1] if stage else None
        return _Shell(size.parameters[stage], given, size.shapes[stage], size.dtypes)


def dry_run(
    schedule: Schedule,
    config: ModelConfig,
    *,
    microbatch_size: int,
    width: int = 1,
    partition: Sequence[int] | None = None,
    dtype: str = "float32",
    batched: bool = False,
) -> DryRun:
    """Walks through one iteration of every rank and compares the messages and all-reduces of all.

    With `batched` messages go out in batches, as on GPUs. Raises RunError for a message or an all-reduce that has no counterpart, InputError for a partition
    that does not fit. The 64 ranks of Chimera with 128 micro-batches take some seconds.
    """
    known = layers(config)
    cuts = default_partition(config, schedule.stages) if partition is None else explicit(partition, len(known))
    dtypes = precision_of(dtype, _CPU)
    size = _Size(
        lower(schedule, width=width), tuple(known[cut[-1]].boundary_shape for cut in cuts),
        tuple(sum(known[index].parameters for index in cut) for cut in cuts), microbatch_size, width, dtypes, batched,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        walked = [_walk(size, rank, Path(folder)) for rank in range(size.ranks)]
    refuse_mismatch([rank.handed for rank in walked])
    _refuse_reductions(size, walked)
    summaries = tuple(_summary(size, rank, each) for rank, each in enumerate(walked))
    return DryRun(
        schedule.name, config.name, schedule.devices, width, schedule.microbatches, microbatch_size,
        walked[0].groups, summaries,
    )  # fmt: skip


def _walk(size: _Size, rank: int, folder: Path) -> _Walked:
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size.ranks)
    try:
        return _Walked(size, rank, folder)
    finally:
        dist.destroy_process_group()


def refuse_mismatch(handed: Sequence[Sequence[Handed]]) -> None:
    """Raises RunError unless every ordered pair of ranks sends and receives the same, in the same order."""
    ends: dict[bool, dict[tuple[int, int], list[tuple[str, int]]]] = {True: defaultdict(list), False: defaultdict(list)}
    for rank, messages in enumerate(handed):
        for each in messages:
            pair = (rank, each.peer) if each.sending else (each.peer, rank)
            ends[each.sending][pair].append((str(each.receive), each.size_bytes))
    for source, target in sorted({*ends[True], *ends[False]}):
        sent, received = (ends[sending][source, target] for sending in (True, False))
        where = f"from rank {source} to rank {target}"
        for number, (one, other) in enumerate(zip(sent, received, strict=False)):
            if one != other:
                given = f"message {number} {where} is {one[0]} of {one[1]} bytes"
                raise RunError(given, f"rank {target} expects {other[0]} of {other[1]} bytes")
        if len(sent) != len(received):
            raise RunError(f"{len(sent)} messages {where}", f"rank {target} receives {len(received)}")


def _refuse_reductions(size: _Size, walked: Sequence[_Walked]) -> None:
    """Raises RunError unless the members of each group launch its all-reduces in one order."""
    schedule = size.plan.schedule
    launched: dict[tuple[int, ...], dict[int, list[int]]] = defaultdict(dict)
    for stage in range(schedule.stages):
        devices = schedule.replica_devices(stage)
        members = tuple(copy * schedule.devices + device for copy in range(size.width) for device in devices)
        for rank in members:
            launched[members].setdefault(rank, [
                other for other in walked[rank].all_reduces if schedule.replica_devices(other) == devices
            ])  # fmt: skip
    for members, orders in launched.items():
        for rank in members:
            if orders[rank] != orders[members[0]]:
                given = f"rank {members[0]} all-reduces stages {orders[members[0]]} with ranks {list(members)}"
                raise RunError(given, f"rank {rank} does stages {orders[rank]}")


def _summary(size: _Size, rank: int, walked: _Walked) -> RankSummary:
    sent = [each.size_bytes for each in walked.handed if each.sending]
    received = [each.size_bytes for each in walked.handed if not each.sending]
    per_parameter = torch.empty(0, dtype=size.dtypes.weights).element_size()
    parameters = sum(size.parameters[stage] for stage in walked.stages)
    reduced = sum(size.parameters[stage] for stage in walked.all_reduces) * per_parameter
    actions = len(size.plan.actions[rank % size.plan.schedule.devices])
    return RankSummary(
        rank, actions, len({each.batch for each in walked.handed}), len(sent), sum(sent), len(received), sum(received),
        len(walked.all_reduces), reduced, parameters, parameters * per_parameter,
    )  # fmt: skip
