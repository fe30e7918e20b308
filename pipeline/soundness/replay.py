"""Replay a plan without time: devices work through their rows as far as a transport lets them."""

from __future__ import annotations

__all__ = ["Posted", "Replay", "Semantics"]

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from functools import partial
from typing import Literal, NamedTuple

from chimera.pipeline.actions import COMMUNICATION, SENDS, Action, Kind, Step
from chimera.pipeline.errors import ScheduleError
from chimera.pipeline.rules import SENT_AS, batch_end, channel_of, message_for, peer_of, receive_of
from chimera.pipeline.schedule import Schedule

Semantics = Literal["buffered", "rendezvous", "batched"]
"""What a transport makes wait; `chimera.pipeline.soundness.deadlock` defines the three."""


class Posted(NamedTuple):
    """One end of a message, waiting for the other."""

    receive: Action
    device: int
    position: int


class Replay:
    """Devices working through their rows, as far as each can get, in turn.

    `order` is the device of each action as it was finished: a linear extension of everything the
    semantics makes wait.
    """

    def __init__(self, schedule: Schedule, rows: tuple[tuple[Step, ...], ...], semantics: Semantics) -> None:
        self.schedule, self.rows = schedule, rows
        self.blocking, self.grouped = semantics != "buffered", semantics == "batched"
        self.position = [0] * len(rows)
        self.order: list[int] = []
        self._runnable = deque(range(len(rows)))
        self.group_end = [0] * len(rows)
        self._unserved = [0] * len(rows)
        self.sends: dict[tuple[int, int], deque[Posted]] = defaultdict(deque)
        self.receives: dict[tuple[int, int], deque[Posted]] = defaultdict(deque)
        self._produced: set[tuple[object, ...]] = set()
        self._posted: set[Action] = set()
        self.arrived: set[Action] = set()
        self.launched: dict[int, Counter[int]] = defaultdict(Counter)
        self.reduced: Counter[int] = Counter()
        self.launches: list[deque[int]] = [deque() for _ in rows]
        self.groups = [schedule.replica_devices(stage) for stage in range(schedule.stages)]

    def run(self) -> None:
        """Runs every device until it ends or waits for ever; raises ScheduleError for a message without counterpart."""
        while self._runnable:
            device = self._runnable.popleft()
            while self._step(device):
                pass
        if not self.waiting:
            self._check_leftovers()

    def follow(self, order: Iterable[int]) -> None:
        """Runs the devices in the given order of single actions; raises ScheduleError where that must wait.

        For buffered semantics only: under the others one action alone may have to wait for its peer.
        """
        for device in order:
            if not 0 <= device < len(self.rows) or self.position[device] == len(self.rows[device]):
                raise ScheduleError("the global order", f"issues more actions on device {device} than it has")
            if not self._step(device):
                raise self.fault(device, self.position[device], "stands in the global order before what it waits for")
        if self.waiting:
            device = self.waiting[0]
            raise self.fault(device, self.position[device], "is missing in the global order")
        self._check_leftovers()

    @property
    def waiting(self) -> tuple[int, ...]:
        """The devices that have not reached the end of their row."""
        return tuple(device for device, row in enumerate(self.rows) if self.position[device] < len(row))

    def _check_leftovers(self) -> None:
        for posted in (*self.sends.values(), *self.receives.values()):
            if posted:
                raise self.fault(posted[0].device, posted[0].position, "has no counterpart on the other device")

    def _step(self, device: int) -> bool:
        """Runs the device's next action (or group of them) to its end, unless it must wait."""
        row, position = self.rows[device], self.position[device]
        if position == len(row):
            return False
        action = row[position]
        done = 1
        if action.kind in COMMUNICATION:
            if position >= self.group_end[device]:
                self._post_group(device, position)
            if self._unserved[device]:
                return False
            done = self.group_end[device] - position
        elif not self._can_run(device, position, action):
            return False
        self.order += [device] * done
        self.position[device] = position + done
        return True

    def _post_group(self, device: int, position: int) -> None:
        """Posts a communication action, or a run of them in one channel, and matches what it can."""
        row = self.rows[device]
        peer = self._peer(device, position)
        end = batch_end(position, len(row), partial(self._channel, device)) if self.grouped else position + 1
        self.group_end[device] = end
        self._unserved[device] = end - position if self.blocking else 0
        for place in range(position, end):
            action = row[place]
            assert isinstance(action, Action)
            if action.kind in SENDS:
                self._post_send(action, device, place, peer)
            else:
                self._post_receive(action, device, place, peer)

    def _post_send(self, action: Action, device: int, position: int, peer: int) -> None:
        if action not in self._produced:
            raise self.fault(device, position, "sends what has not been computed yet", "send it after its action")
        self._produced.discard(action)
        self.sends[device, peer].append(Posted(receive_of(action), device, position))
        self._match(device, peer)

    def _post_receive(self, action: Action, device: int, position: int, peer: int) -> None:
        if action in self._posted:
            raise self.fault(device, position, "is posted twice", "remove one of them")
        self._posted.add(action)
        self.receives[peer, device].append(Posted(action, device, position))
        self._match(peer, device)

    def _match(self, source: int, target: int) -> None:
        """Serves the oldest send and receive of an ordered pair, if both are there."""
        sends, receives = self.sends[source, target], self.receives[source, target]
        if not (sends and receives):
            return
        send, receive = sends.popleft(), receives.popleft()
        if send.receive != receive.receive:
            sent = self.rows[source][send.position]
            raise self.fault(
                target,
                receive.position,
                f"receives {sent} of device {source} (position {send.position}): messages of a pair keep their order",
                "post the receives in the order of the sends",
            )
        self.arrived.add(receive.receive)
        if self.blocking:
            self._unserved[source] -= 1
            self._unserved[target] -= 1
            self._runnable.append(source)
        self._runnable.append(target)

    def _can_run(self, device: int, position: int, action: Step) -> bool:
        """Runs a compute action, an all-reduce launch or an optimizer step, unless it must wait."""
        if action.kind is Kind.REDUCE_GRAD:
            assert isinstance(action, Action)
            self._launch(device, action.stage)
            return True
        if action.kind is Kind.STEP:
            assert isinstance(action, Action)
            return self.reduced[action.stage] >= self.launched[action.stage][device]
        for part in action.parts:
            message = message_for(part, self.schedule)
            if message is not None and message.receive not in self.arrived:
                if message.receive not in self._posted:
                    raise self.fault(device, position, f"{message.receive} is not posted before it")
                return False
        for part in action.parts:
            if part.kind is not Kind.W:
                self._produced.add((part.stage, SENT_AS[part.kind], *part[2:]))
        return True

    def _launch(self, device: int, stage: int) -> None:
        """Starts a device's part in an all-reduce and finishes those that are complete."""
        self.launched[stage][device] += 1
        if not self.blocking:
            self._finish(stage, min(self.launched[stage][member] for member in self.groups[stage]))
            return
        self.launches[device].append(stage)
        candidates = {stage}
        while candidates:
            stage = candidates.pop()
            queues = [self.launches[member] for member in self.groups[stage]]
            if all(queue and queue[0] == stage for queue in queues):
                for queue in queues:
                    queue.popleft()
                self._finish(stage, self.reduced[stage] + 1)
                candidates.update(queue[0] for queue in queues if queue)

    def _finish(self, stage: int, count: int) -> None:
        if count > self.reduced[stage]:
            self.reduced[stage] = count
            self._runnable.extend(self.groups[stage])

    def _peer(self, device: int, position: int) -> int:
        action = self.rows[device][position]
        assert isinstance(action, Action)
        schedule = self.schedule
        if not (0 <= action.stage < schedule.stages and 0 <= action.microbatch < schedule.microbatches):
            raise self.fault(device, position, "has a stage or micro-batch out of range")
        try:
            return peer_of(action, schedule)
        except IndexError:
            raise self.fault(device, position, "would cross the end of the pipeline") from None

    def _channel(self, device: int, position: int) -> tuple[int, int] | None:
        if self.rows[device][position].kind not in COMMUNICATION:
            return None
        self._peer(device, position)  # refuses what leads nowhere
        return channel_of(self.rows[device][position], self.schedule)

    def fault(self, device: int, position: int, derived: str, remedy: str = "") -> ScheduleError:
        """The error that points at one action of one device."""
        given = f"device {device}, position {position}: {self.rows[device][position]}"
        return ScheduleError(given, derived, remedy, device=device, position=position)
