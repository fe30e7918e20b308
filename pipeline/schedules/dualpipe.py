"""DualPipe and DualPipeV: forwards overlapped with backwards of the other direction (DeepSeek-V3).

Both follow the eight steps of the authors' description (arXiv 2412.19437; deepseek-ai/DualPipe). A
device at distance r from its end of the pipeline, of which h lie in one half, runs two chunks: 0,
near the start of its direction, and 1, near the end. DualPipe has p = 2h devices and two replicas
in Chimera's placement, chunk 0 of one and chunk 1 of the other on each device; DualPipeV folds them
onto p = h devices, which then hold stages r and 2p-1-r of one model.

With F&B the time of an overlapped pair, B that of a full backward and W of its weight part, the
longest device idles (p/2-1)(F&B + B - 3W) in DualPipe, (p-1)(F&B + B - 3W) in DualPipeV (times of
one chunk), and stores at most p+1, or 2p+1, activations of a chunk. The authors' formula takes
W <= F = I for granted; our walk lets a pair take the sum of both.
"""

from __future__ import annotations

from collections.abc import Iterator

from chimera.pipeline.actions import Action, Kind, Overlap, Step
from chimera.pipeline.errors import InputError
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.schedules import register

Chunks = tuple[tuple[int, int], tuple[int, int]]
"""(stage, first micro-batch) of chunk 0 and of chunk 1"""


@register(
    "dualpipe",
    source="DeepSeek-V3, arXiv 2412.19437; deepseek-ai/DualPipe",
    constraints="even D; even N >= 2D",
    bubble="(p/2-1)(F&B+B-3W) when W <= F = I",
    activations="p+1",
)
def dualpipe(stages: int, microbatches: int) -> Schedule:
    """Micro-batches 0..m/2-1 go down replica 0, the rest down replica 1, from the other end.

    Raises InputError for odd p, odd m and m < 2p.
    """
    if stages % 2:
        raise InputError(
            f"{stages} stages", "DualPipe folds two halves onto each other", f"use {stages + 1} stages, or dualpipe-v"
        )
    if microbatches % 2:
        raise InputError(
            f"{microbatches} micro-batches", "DualPipe deals them to two directions", f"use {microbatches + 1}"
        )
    _enough(microbatches, 2 * stages, "2D")
    half, each = stages // 2, microbatches // 2
    rows = []
    for device in range(stages):
        down, up = (device, 0), (stages - 1 - device, each)
        chunks = (down, up) if device < half else (up, down)
        rows.append(tuple(_eight_steps(min(device, stages - 1 - device), half, each, chunks)))
    placement = (tuple(range(stages)), tuple(reversed(range(stages))))
    return Schedule("dualpipe", stages, stages, microbatches, placement, (0,) * each + (1,) * each, tuple(rows))


@register(
    "dualpipe-v",
    aliases=("dualpipev",),
    source="DualPipeV, 'cut in half' (Sea AI Lab); deepseek-ai/DualPipe; torch ScheduleDualPipeV",
    constraints="N >= 2D",
    bubble="(p-1)(F&B+B-3W), times of a chunk, when W <= F = I",
    activations="2p+1 chunks",
)
def dualpipe_v(stages: int, microbatches: int) -> Schedule:
    """p = `stages` devices of 2 chunks each. Raises InputError for m < 2p."""
    _enough(microbatches, 2 * stages, "2D")
    last = 2 * stages - 1
    rows = tuple(
        tuple(_eight_steps(device, stages, microbatches, ((device, 0), (last - device, 0)))) for device in range(stages)
    )
    placement = (tuple(min(stage, last - stage) for stage in range(2 * stages)),)
    return Schedule("dualpipe-v", 2 * stages, stages, microbatches, placement, (0,) * microbatches, rows)


def _enough(microbatches: int, needed: int, text: str) -> None:
    if microbatches < needed:
        raise InputError(
            f"{microbatches} micro-batches", f"its steady state needs {text} = {needed}", f"use {needed} or more"
        )


def _ascending(kind: Kind, stage: int, first: int, count: int) -> Iterator[Action]:
    """A chunk's forwards or backwards in order."""
    return (Action(stage, kind, first + m) for m in range(count))


def _eight_steps(rank: int, half: int, count: int, chunks: Chunks) -> Iterator[Step]:
    """The row of a device: `count` micro-batches through each of its two chunks."""
    forward, backward = ([_ascending(kind, *chunk, count) for chunk in chunks] for kind in (Kind.F, Kind.B))
    owed: list[Action] = []

    def split(chunk: int) -> Action:
        """The next backward of a chunk without its weight part, which is owed."""
        action = next(backward[chunk])
        owed.append(action._replace(kind=Kind.W))
        return action._replace(kind=Kind.I)

    inner = half - rank - 1  # devices between this one and the middle
    for _ in range(2 * inner):
        yield next(forward[0])
    for _ in range(rank + 1):
        yield next(forward[0])
        yield next(forward[1])
    for _ in range(inner):
        yield split(1)
        yield owed.pop(0)
        yield next(forward[1])
    for turn in range(count - 2 * half + rank + 1):
        if turn == 0 and inner == 0:  # in the middle nothing else is ready yet: apart, the rest starts sooner
            yield next(forward[0])
            yield next(backward[1])
        else:
            yield Overlap(next(forward[0]), next(backward[1]))
        yield Overlap(next(forward[1]), next(backward[0]))
    for _ in range(inner):
        yield next(backward[1])
        yield Overlap(next(forward[1]), next(backward[0]))
    for turn in range(2 * (rank + 1)):  # chunks 1 and 0 in turn, the later half of them split
        chunk = 1 - turn % 2
        yield split(chunk) if turn > rank else next(backward[chunk])
    for _ in range(inner):
        yield owed.pop(0)
        yield split(0)
    yield from owed
