"""Communication streams: each device serves its messages in the order in which they were posted.

As asynchronous sends and receives of one NCCL communicator do: posting does not hold the device,
but a receive at the head of its stream holds up every message posted behind it until its data have
come, sends that are ready and messages of other peers included (head-of-line blocking).
"""

from __future__ import annotations

__all__ = ["Streams"]

from collections import deque
from collections.abc import Callable


class Streams:
    """One queue of message numbers a device; a message starts when it stands at the head of both its queues."""

    def __init__(self, ends: list[tuple[int, int]], devices: int, start: Callable[[int], None]) -> None:
        self._ends, self._start = ends, start
        self._queues: list[deque[int]] = [deque() for _ in range(devices)]
        self._started: set[int] = set()

    def post(self, device: int, number: int) -> None:
        """Puts one end of a message on a device's stream."""
        queue = self._queues[device]
        queue.append(number)
        if len(queue) == 1:
            self._start_head(device)

    def finish(self, number: int) -> None:
        """The message has arrived: both its streams go on."""
        for device in self._ends[number]:
            self._queues[device].popleft()
        for device in self._ends[number]:
            self._start_head(device)

    def head(self, device: int) -> int | None:
        """The message that holds up a device's stream, if any."""
        return self._queues[device][0] if self._queues[device] else None

    def _start_head(self, device: int) -> None:
        number = self.head(device)
        if number is None:
            return
        one, other = self._ends[number]
        if number not in self._started and self.head(one) == self.head(other) == number:
            self._started.add(number)
            self._start(number)
