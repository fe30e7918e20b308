"""Replays a plan on one rank, literally, and times everything it does."""

from __future__ import annotations

__all__ = ["IterationRecord", "Runtime"]

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from executor.acknowledge import acknowledgements
from executor.context import RankContext
from executor.data import Microbatch
from executor.memory import held_bytes
from executor.modules import loss_of
from pipeline.actions import Action, Kind
from pipeline.dependencies import message_for, messages_from
from pipeline.models import ModelConfig
from pipeline.schedule import Plan

Row = tuple[str, str, int, int]


@dataclass(slots=True)
class IterationRecord:
    """One iteration of one rank; times are monotonic nanoseconds."""

    begin_ns: int = 0
    end_ns: int = 0
    loss: float = 0.0
    spans: list[Row] = field(default_factory=list)
    """(stream, action, start, end)"""
    transfers: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)
    """(receive, source, bytes, posted, arrived, needed)"""
    sent: dict[str, int] = field(default_factory=dict)
    """when each message was handed over, by its receive action"""


class Runtime:
    """One rank's interpreter of a plan: modules by stage, optimizer by stage, groups by stage."""

    def __init__(
        self,
        context: RankContext,
        plan: Plan,
        config: ModelConfig,
        modules: dict[int, nn.Sequential],
        boundary: Callable[[int], tuple[int, ...]],
        optimizers: dict[int, torch.optim.Optimizer],
        groups: dict[int, Any],
        width: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        schedule = plan.schedule
        self.context, self.plan, self.schedule, self.config = context, plan, schedule, config
        self.device = context.rank % schedule.devices
        self.base = context.rank - self.device
        self.actions = plan.actions[self.device]
        self.names = [str(action) for action in self.actions]
        self.acknowledged = acknowledgements(plan, self.device)
        self.modules, self.optimizers, self.groups = modules, optimizers, groups
        self.boundary, self.dtype = boundary, dtype
        self.scale = 1.0 / (schedule.microbatches * width)
        self.parameters = {stage: [p for p in module.parameters()] for stage, module in modules.items()}

    def held_bytes(self) -> int:
        """Bytes held between iterations: weights, gradients and optimizer state of all its stages."""
        parameters = [p for own in self.parameters.values() for p in own]
        states = [
            value
            for optimizer in self.optimizers.values()
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]
        return held_bytes([*parameters, *(p.grad for p in parameters), *states])

    def iteration(self, batch: Sequence[Microbatch]) -> IterationRecord:
        """Runs the plan once; `batch[m]` is micro-batch m of this copy of the pipeline."""
        self.record, self.batch = IterationRecord(), batch
        self.inbox: dict[Action, tuple[Tensor, Any, int, int]] = {}
        self.local: dict[tuple[int, str, int], Tensor] = {}
        self.inputs: dict[tuple[int, int], Tensor] = {}
        self.outputs: dict[tuple[int, int], GradientEdge] = {}
        self.sends: dict[Action, tuple[Any, Tensor]] = {}
        self.reduces: dict[int, list[Any]] = {}
        dist.barrier()
        self.record.begin_ns = time.monotonic_ns()
        for action, name in zip(self.actions, self.names, strict=True):
            self.context.progress.at(name)
            assert isinstance(action, Action)
            self._HANDLERS[action.kind](self, action, name)
        for handle, _ in self.sends.values():
            handle.wait()
        self.record.end_ns = time.monotonic_ns()
        return self.record

    def _forward(self, action: Action, name: str) -> None:
        stage, m = action.stage, action.microbatch
        given = self.batch[m].inputs if stage == 0 else self._take(action, "F").requires_grad_()
        start = time.monotonic_ns()
        output = self.modules[stage](given)
        if stage == self.schedule.stages - 1:
            output = loss_of(self.config, output, self.batch[m].targets) * self.scale
            self.record.loss += float(output.detach())
        end = time.monotonic_ns()
        # Only the edge into the graph is kept: the output itself can go once it is sent.
        self.inputs[stage, m], self.outputs[stage, m] = given, get_gradient_edge(output)
        self._give(action, "F", output.detach())
        self.record.spans.append(("compute", name, start, end))

    def _backward(self, action: Action, name: str) -> None:
        stage, m = action.stage, action.microbatch
        gradient = None if stage == self.schedule.stages - 1 else self._take(action, "B")
        start = time.monotonic_ns()
        torch.autograd.backward(self.outputs.pop((stage, m)), gradient)
        end = time.monotonic_ns()
        given = self.inputs.pop((stage, m))
        if stage > 0:
            assert given.grad is not None
            self._give(action, "B", given.grad)
        self.record.spans.append(("compute", name, start, end))

    def _take(self, action: Action, what: str) -> Tensor:
        message = message_for(action, self.schedule)
        if message is None:
            source = action.stage + (-1 if what == "F" else 1)
            return self.local.pop((source, what, action.microbatch))
        tensor, handle, posted, size = self.inbox.pop(message.receive)
        needed = time.monotonic_ns()
        handle.wait()
        arrived = time.monotonic_ns()
        for delivered in self.acknowledged.get(message.receive, ()):
            self.sends.pop(delivered)[0].wait()
        self.record.transfers.append((str(message.receive), message.source, size, posted, arrived, needed))
        return tensor

    def _give(self, action: Action, what: str, tensor: Tensor) -> None:
        self.local[action.stage, what, action.microbatch] = tensor

    def _send(self, action: Action, name: str) -> None:
        what = "F" if action.kind is Kind.SEND_F else "B"
        tensor = self.local.pop((action.stage, what, action.microbatch)).contiguous()
        compute = action._replace(kind=Kind.F if what == "F" else Kind.B)
        message = messages_from(compute, self.schedule)
        assert message is not None
        self.record.sent[str(message.receive)] = time.monotonic_ns()
        self.sends[message.receive] = (dist.isend(tensor, self.base + message.target), tensor)

    def _receive(self, action: Action, name: str) -> None:
        compute = action._replace(kind=Kind.F if action.kind is Kind.RECV_F else Kind.B)
        message = message_for(compute, self.schedule)
        assert message is not None
        sender = action.stage - 1 if action.kind is Kind.RECV_F else action.stage
        tensor = torch.empty((len(self.batch[action.microbatch].inputs), *self.boundary(sender)), dtype=self.dtype)
        handle = dist.irecv(tensor, self.base + message.source)
        self.inbox[action] = (tensor, handle, time.monotonic_ns(), tensor.nbytes)

    def _reduce(self, action: Action, name: str) -> None:
        start = time.monotonic_ns()
        gradients = [p.grad for p in self.parameters[action.stage] if p.grad is not None]
        flat = torch._utils._flatten_dense_tensors(gradients)  # type: ignore[attr-defined]
        work = dist.all_reduce(flat, group=self.groups[action.stage], async_op=True)
        done: list[int] = []
        work.get_future().add_done_callback(lambda _: done.append(time.monotonic_ns()))
        self.reduces[action.stage] = [work, flat, gradients, start, done, name]

    def _step(self, action: Action, name: str) -> None:
        waiting = self.reduces.pop(action.stage, None)
        if waiting:
            work, flat, gradients, started, done, reduce_name = waiting
            work.wait()
            finished = done[0] if done else time.monotonic_ns()
            for own, total in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):  # type: ignore[attr-defined]
                own.copy_(total)
            self.record.spans.append(("sync", reduce_name, started, finished))
        start = time.monotonic_ns()
        optimizer = self.optimizers[action.stage]
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        self.record.spans.append(("optimizer", name, start, time.monotonic_ns()))

    _HANDLERS = {
        Kind.F: _forward, Kind.B: _backward, Kind.SEND_F: _send, Kind.SEND_B: _send,
        Kind.RECV_F: _receive, Kind.RECV_B: _receive, Kind.REDUCE_GRAD: _reduce, Kind.STEP: _step,
    }
