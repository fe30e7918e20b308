"""One pass in unit time that turns a repeated V-shaped building block into an order of actions."""

from __future__ import annotations

__all__ = ["Block", "Rules", "squeeze"]

from typing import NamedTuple

Block = tuple[int, int, int, int]
"""the slots of a device's F0, F1, B1 and B0 for micro-batch 0; micro-batch m stands 6m slots later"""
_PERIOD = 6
_WEIGHT = 4
_NEVER = 1 << 60


class Rules(NamedTuple):
    """How a device chooses what to run next."""

    limit: int
    """activations of a chunk it may store, from F to W"""
    overtake: bool
    """whether a pass may run before an earlier one of the block that has to wait"""
    prompt: bool
    """whether a W precedes everything else while there are forwards left, instead of filling gaps"""


class _Device:
    """What one device has done: passes by kind (F0, F1, B1, B0), and its next slots in the block."""

    def __init__(self, block: Block, microbatches: int) -> None:
        self.done = [0, 0, 0, 0]
        self.due = list(block)
        self.row: list[int] = []
        self.owed = 0
        self.stored = 0
        self.microbatches = microbatches
        self.needs: list[tuple[list[int], int] | None] = []
        """per kind, the passes by kind of the device that makes its input, and which kind; None: no input"""

    def choose(self, rules: Rules) -> int:
        """The kind to run now, _WEIGHT for a W, or -1 for none."""
        due, done = self.due, self.done
        if self.owed and rules.prompt and done[1] < self.microbatches:
            return _WEIGHT
        first = due.index(min(due))
        if due[first] == _NEVER:
            return _WEIGHT if self.owed else -1
        candidates = [first]
        if not self._ready(first):
            candidates = sorted(range(4), key=due.__getitem__)[1:] if rules.overtake else []
        for kind in candidates:
            if due[kind] == _NEVER or not self._ready(kind):
                continue
            if kind > 1:
                return kind
            if kind != first and not self._fits(kind, rules.limit):
                continue
            if self.stored < rules.limit:
                return kind
            if self.owed:
                return _WEIGHT
        return _WEIGHT if self.owed else -1

    def run(self, kind: int) -> None:
        """Notes that `kind` was run in this slot."""
        self.row.append(kind)
        if kind == _WEIGHT:
            self.owed -= 1
            self.stored -= 1
            return
        self.done[kind] += 1
        self.due[kind] = self.due[kind] + _PERIOD if self.done[kind] < self.microbatches else _NEVER
        if kind > 1:
            self.owed += 1
        else:
            self.stored += 1

    def _ready(self, kind: int) -> bool:
        need = self.needs[kind]
        return need is None or need[0][need[1]] > self.done[kind]

    def _fits(self, kind: int, limit: int) -> bool:
        """Whether the passes that a forward would overtake can still run within the limit after it."""
        level = self.done[0] + self.done[1] - self.done[2] - self.done[3] + 1
        due, own, last = self.due.copy(), self.due[kind], self.microbatches
        left = [last - done for done in self.done]
        due[kind] = _NEVER
        while level <= limit:
            following = due.index(min(due))
            if due[following] >= own:
                return True
            level += 1 if following < 2 else -1
            left[following] -= 1
            due[following] = due[following] + _PERIOD if left[following] else _NEVER
        return False


def squeeze(blocks: list[Block], microbatches: int, rules: Rules) -> list[list[int]]:
    """Per device the kinds in order: 0 F0, 1 F1, 2 B1, 3 B0, 4 W; micro-batches of a kind ascend.

    `blocks[device]`. Every pass takes one slot. The passes of a micro-batch must follow one another
    in the blocks, and their forwards and backwards alone must keep the limit: then the earliest
    pass of all in block order can always run, so the walk ends. A slot costs O(p).
    """
    devices = [_Device(block, microbatches) for block in blocks]
    _connect(devices)
    left = 6 * microbatches * len(devices)
    while left:
        chosen = [(device, device.choose(rules)) for device in devices]
        for device, kind in chosen:
            if kind >= 0:
                device.run(kind)
                left -= 1
    return [device.row for device in devices]


def _connect(devices: list[_Device]) -> None:
    """A pass needs the same pass of the neighbour, or at a turn of the V the one before it here."""
    last = len(devices) - 1
    for index, device in enumerate(devices):
        before = devices[index - 1].done if index else None
        after = devices[index + 1].done if index < last else None
        device.needs = [
            (before, 0) if before is not None else None,
            (after, 1) if after is not None else (device.done, 0),
            (before, 2) if before is not None else (device.done, 1),
            (after, 3) if after is not None else (device.done, 2),
        ]
