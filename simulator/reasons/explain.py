"""Why an iteration takes as long as it does: critical path, devices' time, and what limits it."""

from __future__ import annotations

__all__ = ["Explanation", "explain", "explain_prediction"]

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

from chimera.pipeline.schedule import Plan, Schedule
from chimera.pipeline.units import format_ns
from chimera.simulator.costs.what_if import OutOfMemory, out_of_memory
from chimera.simulator.engines.choice import times_of
from chimera.simulator.engines.exchanges import Transport
from chimera.simulator.engines.times import Times
from chimera.simulator.memory.events import memory_events
from chimera.simulator.predicting.conditions import workload_under
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.reasons.critical_path import Piece, PieceKind, critical_path
from chimera.simulator.reasons.limits import Limit, Losses, losses
from chimera.simulator.reasons.time_shares import DeviceShares, device_shares
from chimera.simulator.workload.workload import Workload

_WORDS: dict[str, str] = {
    "transport": "sends and receives that wait for each other, or for their turn on a stream,",
    "network": "messages and all-reduces that wait for a shared NIC or for the other direction of a link",
    "synchronisation": "gradient all-reduces and optimizer steps",
    "link": "messages on their way",
    "overhead": "host time for dispatch and messages",
    "contention": "work that slows other work down",
    "imbalance": "stages of unequal cost",
    "bubble": "the schedule's bubbles",
}
_NEARLY = 0.02
"""a loss below this share of the iteration limits nothing"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """An iteration taken apart; nanoseconds. Shares and losses each add up to `iteration_ns`."""

    iteration_ns: int
    path: tuple[Piece, ...]
    shares: tuple[DeviceShares, ...]
    busiest: int
    idlest: int
    losses: Losses
    limit: Limit
    evidence: str
    memory: OutOfMemory | None = None

    def path_ns(self) -> dict[PieceKind, int]:
        """How much of the critical path is what."""
        found: Counter[PieceKind] = Counter()
        for piece in self.path:
            found[piece.kind] += piece.end_ns - piece.start_ns
        return {kind: found[kind] for kind in get_args(PieceKind) if found[kind]}

    def as_json(self) -> dict[str, Any]:
        """The object `explain` of `chimera simulate --explain --json`; seconds."""
        document: dict[str, Any] = {
            "limit": self.limit,
            "evidence": self.evidence,
            "losses_s": {name: value / 1e9 for name, value in self.losses._asdict().items()},
            "critical_path_s": {kind: value / 1e9 for kind, value in self.path_ns().items()},
            "critical_path": [
                {**piece._asdict(), "start_s": piece.start_ns / 1e9, "end_s": piece.end_ns / 1e9} for piece in self.path
            ],
            "busiest_device": self.busiest,
            "idlest_device": self.idlest,
            "devices": [_shares_json(shares) for shares in self.shares],
        }
        for piece in document["critical_path"]:
            del piece["start_ns"], piece["end_ns"]
        if self.memory is not None:
            document["out_of_memory"] = self.memory.as_json()
        return document


def explain(
    workload: Workload, times: Times, semantics: Transport = "buffered", capacity_bytes: int | None = None
) -> Explanation:
    """Takes an iteration apart, of times of these semantics; with a capacity, says who exceeds it first."""
    shares = device_shares(workload, times, semantics)
    lost = losses(workload, times.end_ns, semantics)
    memory = out_of_memory(memory_events(workload, times), capacity_bytes) if capacity_bytes is not None else None
    busiest = max(shares, key=lambda share: share.compute)
    idlest = min(reversed(shares), key=lambda share: share.compute)
    limit, evidence = _limit(lost, times.end_ns, busiest)
    if memory is not None:
        limit = "memory"
        evidence = f"{memory}; were there enough, {evidence}"
    path = critical_path(workload, times, semantics)
    return Explanation(times.end_ns, path, shares, busiest.device, idlest.device, lost, limit, evidence, memory)


def explain_prediction(
    prediction: Prediction, planned: Plan | Schedule | None = None, capacity_bytes: int | None = None
) -> Explanation:
    """The same of a prediction; `planned` is the plan it was made of, where that was taken literally."""
    planned = planned if isinstance(planned, Plan) else prediction.schedule
    workload = workload_under(planned, prediction.profile, prediction.conditions)
    semantics = prediction.conditions.semantics
    return explain(workload, times_of(workload, semantics), semantics, capacity_bytes)


def _limit(lost: Losses, iteration_ns: int, busiest: DeviceShares) -> tuple[Limit, str]:
    """The largest loss, and what would be gained without it."""
    limits: tuple[Limit, ...] = (
        "transport",
        "network",
        "synchronisation",
        "link",
        "overhead",
        "contention",
        "imbalance",
        "bubble",
    )
    values = lost._asdict()
    largest = max(limits, key=lambda name: values[name])
    if values[largest] <= _NEARLY * iteration_ns:
        share = busiest.compute / iteration_ns if iteration_ns else 1.0
        return (
            "compute",
            f"device {busiest.device} computes {share:.1%} of the iteration; nothing else costs more than 2 %",
        )
    share = values[largest] / iteration_ns
    return largest, f"{_WORDS[largest]} cost {format_ns(values[largest])}, {share:.1%} of {format_ns(iteration_ns)}"


def _shares_json(shares: DeviceShares) -> dict[str, Any]:
    waited = {str(device): value / 1e9 for device, value in sorted(shares.waited_for.items())}
    named = {f"{name}_s": value / 1e9 for name, value in shares.named().items()}
    return {"device": shares.device, **named, "waited_for_device_s": waited}
