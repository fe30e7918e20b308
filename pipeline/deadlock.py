"""Does a plan run to its end? Replays it, without time, under what a transport guarantees.

| semantics | SEND | RECV | models |
|---|---|---|---|
| buffered | never waits | never waits: its consumer waits for the data | gloo with small payloads, the simulator's default |
| rendezvous | waits at its place until the peer stands at the matching RECV | waits until the peer stands at its SEND | NCCL's ungrouped send and recv, large payloads |
| batched | as rendezvous, but a maximal run of adjacent SENDs and RECVs of a device with one peer is one group | same | `batch_isend_irecv` per peer |

The members of a group are posted together. A member is served as soon as its counterpart is posted
too, in whatever group that stands; the device goes on when all members of its group are served.
Messages of one ordered pair of devices are matched first in, first out, under every semantics.
All-reduces start without waiting and STEP waits for its stage's; under rendezvous and batched a
device serves its all-reduces in the order it launched them, as NCCL communicators on one GPU must.
"""

from __future__ import annotations

__all__ = ["Replay", "Semantics", "check_plan"]

from collections import Counter, defaultdict, deque
from typing import Literal, NamedTuple, get_args

from pipeline.actions import COMMUNICATION, SENDS, Action, Kind, Step
from pipeline.cycles import circle, describe
from pipeline.dependencies import message_for, peer_of
from pipeline.errors import DeadlockError, InputError, ScheduleError
from pipeline.schedule import Plan, Schedule

Semantics = Literal["buffered", "rendezvous", "batched"]
_PRODUCES = {Kind.F: Kind.SEND_F, Kind.B: Kind.SEND_B, Kind.I: Kind.SEND_B}
_RECEIVED_AS = {Kind.SEND_F: (Kind.RECV_F, 1), Kind.SEND_B: (Kind.RECV_B, -1)}


def check_plan(plan: Plan, semantics: Semantics = "buffered") -> None:
    """Raises DeadlockError if the plan cannot run to its end; the error shows who waits for whom.

    Raises ScheduleError if a message is sent before it is computed, is received as another one, has
    no counterpart, or is consumed before its receive is posted, and if the compute actions are
    not the schedule's. About 2 us an action.
    """
    if semantics not in get_args(Semantics):
        raise InputError(f"semantics={semantics!r}", "is not known", f"use one of {', '.join(get_args(Semantics))}")
    for device, (row, computed) in enumerate(zip(plan.actions, plan.schedule.actions, strict=True)):
        if tuple(action for action in row if action.is_compute) != tuple(computed):
            raise ScheduleError(f"device {device}", "computes other actions than its schedule", device=device)
    Replay(plan.schedule, plan.actions, semantics).run()


class _Posted(NamedTuple):
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
        self._group_end = [0] * len(rows)
        self._unserved = [0] * len(rows)
        self._sends: dict[tuple[int, int], deque[_Posted]] = defaultdict(deque)
        self._receives: dict[tuple[int, int], deque[_Posted]] = defaultdict(deque)
        self._produced: set[tuple[object, ...]] = set()
        self._posted: set[Action] = set()
        self._arrived: set[Action] = set()
        self._launched: dict[int, Counter[int]] = defaultdict(Counter)
        self._reduced: Counter[int] = Counter()
        self._launches: list[deque[int]] = [deque() for _ in rows]
        self._groups = [schedule.replica_devices(stage) for stage in range(schedule.stages)]

    def run(self) -> None:
        """Runs to the end or raises the error that says why it cannot."""
        while self._runnable:
            self._advance(self._runnable.popleft())
        if any(position < len(row) for position, row in zip(self.position, self.rows, strict=True)):
            raise self._stuck()
        for posted in (*self._sends.values(), *self._receives.values()):
            if posted:
                raise self._fault(posted[0].device, posted[0].position, "has no counterpart on the other device")

    def _advance(self, device: int) -> None:
        """Runs one device until it must wait."""
        row = self.rows[device]
        while self.position[device] < len(row):
            position = self.position[device]
            if position < self._group_end[device]:
                if self._unserved[device]:
                    return
                done = self._group_end[device] - position
            else:
                action = row[position]
                if action.kind in COMMUNICATION:
                    self._post_group(device, position)
                    continue
                if not self._can_run(device, position, action):
                    return
                done = 1
            self.order += [device] * done
            self.position[device] = position + done

    def _post_group(self, device: int, position: int) -> None:
        """Posts a communication action, or a run of them with one peer, and matches what it can."""
        row = self.rows[device]
        peer = self._peer(device, position)
        end = position + 1
        if self.grouped:
            while end < len(row) and row[end].kind in COMMUNICATION and self._peer(device, end) == peer:
                end += 1
        self._group_end[device] = end
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
            raise self._fault(device, position, "sends what has not been computed yet", "send it after its action")
        self._produced.discard(action)
        kind, towards = _RECEIVED_AS[action.kind]
        receive = Action(action.stage + towards, kind, *action[2:])
        self._sends[device, peer].append(_Posted(receive, device, position))
        self._match(device, peer)

    def _post_receive(self, action: Action, device: int, position: int, peer: int) -> None:
        if action in self._posted:
            raise self._fault(device, position, "is posted twice", "remove one of them")
        self._posted.add(action)
        self._receives[peer, device].append(_Posted(action, device, position))
        self._match(peer, device)

    def _match(self, source: int, target: int) -> None:
        """Serves the oldest send and receive of an ordered pair, if both are there."""
        sends, receives = self._sends[source, target], self._receives[source, target]
        if not (sends and receives):
            return
        send, receive = sends.popleft(), receives.popleft()
        if send.receive != receive.receive:
            sent = self.rows[source][send.position]
            raise self._fault(
                target,
                receive.position,
                f"receives {sent} of device {source} (position {send.position}): messages of a pair keep their order",
                "post the receives in the order of the sends",
            )
        self._arrived.add(receive.receive)
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
            return self._reduced[action.stage] >= self._launched[action.stage][device]
        for part in action.parts:
            message = message_for(part, self.schedule)
            if message is not None and message.receive not in self._arrived:
                if message.receive not in self._posted:
                    raise self._fault(device, position, f"{message.receive} is not posted before it")
                return False
        for part in action.parts:
            if part.kind is not Kind.W:
                self._produced.add((part.stage, _PRODUCES[part.kind], *part[2:]))
        return True

    def _launch(self, device: int, stage: int) -> None:
        """Starts a device's part in an all-reduce and finishes those that are complete."""
        self._launched[stage][device] += 1
        if not self.blocking:
            self._finish(stage, min(self._launched[stage][member] for member in self._groups[stage]))
            return
        self._launches[device].append(stage)
        candidates = {stage}
        while candidates:
            stage = candidates.pop()
            queues = [self._launches[member] for member in self._groups[stage]]
            if all(queue and queue[0] == stage for queue in queues):
                for queue in queues:
                    queue.popleft()
                self._finish(stage, self._reduced[stage] + 1)
                candidates.update(queue[0] for queue in queues if queue)

    def _finish(self, stage: int, count: int) -> None:
        if count > self._reduced[stage]:
            self._reduced[stage] = count
            self._runnable.extend(self._groups[stage])

    def _peer(self, device: int, position: int) -> int:
        action = self.rows[device][position]
        assert isinstance(action, Action)
        schedule = self.schedule
        if not (0 <= action.stage < schedule.stages and 0 <= action.microbatch < schedule.microbatches):
            raise self._fault(device, position, "has a stage or micro-batch out of range")
        try:
            return peer_of(action, schedule)
        except IndexError:
            raise self._fault(device, position, "would cross the end of the pipeline") from None

    def _stuck(self) -> ScheduleError:
        """The circle of waiting devices, or the device that waits for something nobody does."""
        waits: dict[int, int] = {}
        what: dict[int, str] = {}
        for device, row in enumerate(self.rows):
            if self.position[device] < len(row):
                waits[device], what[device] = self._waits_for(device)
        for device, target in waits.items():
            if target not in waits:
                return self._fault(
                    device, self.position[device], f"waits for {what[device]} on device {target}, which has ended"
                )
        found = circle(waits)
        position = self.position[found[0]]
        return DeadlockError(
            f"device {found[0]}, position {position}: {self.rows[found[0]][position]}",
            describe(found, self.position, self.rows, what),
            "make the plan safe with pipeline.repair.rendezvous_safe",
            device=found[0],
            position=position,
            cycle=tuple((device, waits[device]) for device in found),
        )

    def _waits_for(self, device: int) -> tuple[int, str]:
        """The device that a stuck one waits for, and what it should do."""
        position = self.position[device]
        action = self.rows[device][position]
        if position < self._group_end[device]:
            return self._unserved_member(device)
        if action.kind is Kind.STEP:
            assert isinstance(action, Action)
            return self._late_member(device, action.stage)
        for part in action.parts:
            message = message_for(part, self.schedule)
            if message is not None and message.receive not in self._arrived:
                return message.source, str(message.send)
        raise AssertionError(f"device {device} is stuck at {action} without a reason")

    def _unserved_member(self, device: int) -> tuple[int, str]:
        """The first member of the posted group that found no counterpart."""
        for (source, target), sends in self._sends.items():
            for posted in sends:
                if source == device:
                    return target, str(posted.receive)
        for (source, target), receives in self._receives.items():
            for posted in receives:
                if target == device:
                    return source, f"the send for {posted.receive}"
        raise AssertionError(f"device {device} waits for a group that is served")

    def _late_member(self, device: int, stage: int) -> tuple[int, str]:
        """Follows the head of the launch queues to a device that has not launched it."""
        wanted = stage
        if self.blocking and self._launches[device]:
            wanted = self._launches[device][0]
        for member in self._groups[wanted]:
            queue = self._launches[member]
            behind = (
                not queue or queue[0] != wanted
                if self.blocking
                else self._launched[wanted][member] <= self._reduced[wanted]
            )
            if member != device and behind:
                return member, f"the all-reduce of stage {wanted}"
        raise AssertionError(f"device {device} waits for an all-reduce that is complete")

    def _fault(self, device: int, position: int, derived: str, remedy: str = "") -> ScheduleError:
        given = f"device {device}, position {position}: {self.rows[device][position]}"
        return ScheduleError(given, derived, remedy, device=device, position=position)
