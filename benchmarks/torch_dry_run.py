"""torch's own generators, lowering and dry run (torch.distributed.pipelining), driven without processes."""

from __future__ import annotations

__all__ = ["PEERS", "Peer", "dry_run", "generate"]

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from chimera.pipeline.schedule import Schedule


class Peer(NamedTuple):
    """What torch calls a schedule of ours, and how many stages it wants on a rank."""

    name: str
    chunks: int


PEERS = {
    "gpipe": Peer("GPipe", 1),
    "dapple": Peer("1F1B", 1),
    "interleaved": Peer("Interleaved1F1B", 2),
    "zb-v": Peer("ZBVZeroBubble", 2),
    "dualpipe-v": Peer("DualPipeV", 2),
}


def generate(name: str, devices: int, microbatches: int) -> dict[int, list[Any]]:
    """torch's compute order of every rank."""
    from torch.distributed.pipelining.schedules import get_schedule_class

    peer = PEERS[name]
    stages = _stages(devices, peer.chunks)
    schedule: Any = get_schedule_class(peer.name)(stages[0] if peer.chunks == 1 else stages, microbatches)
    found: dict[int, list[Any]] = schedule.pipeline_order
    return found


def dry_run(schedule: Schedule) -> Callable[[], int]:
    """Lowers and simulates the given compute order with torch's code; returns its number of time steps.

    Its simulation knows no overlapped pair: DualPipe's orders raise KeyError there.
    """
    from torch.distributed.pipelining import schedules

    # In torch's own actions, made before the clock starts: torch refuses to lower its own 1F1B order,
    # whose last rank misses micro-batch 0.
    parse = schedules._Action.from_str
    rows = {device: [parse(str(action)) for action in row] for device, row in enumerate(schedule.actions)}
    moved = ("REDUCE_GRAD", "UNSHARD", "RESHARD")

    def _run() -> int:
        runtime: Any = schedules._PipelineScheduleRuntime(
            _stages(schedule.devices, schedule.stages // schedule.devices), schedule.microbatches
        )
        runtime._prepare_schedule_with_comms(rows)
        lowered = {
            rank: [action for action in row if action.computation_type.value not in moved]
            for rank, row in runtime.pipeline_order_with_comms.items()
        }
        done = schedules._simulate_comms_compute(
            lowered, runtime.stage_index_to_group_rank.__getitem__, schedule.stages
        )
        return max(map(len, done.values()))

    return _run


def _stages(devices: int, chunks: int) -> list[Any]:
    """Stand-ins for PipelineStage: what torch's constructors read of them, without the price of a mock."""
    return [
        SimpleNamespace(num_stages=chunks * devices, group_size=devices, group_rank=0, is_first=True, submod=None)
        for _ in range(chunks)
    ]
