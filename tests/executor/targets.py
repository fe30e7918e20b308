"""What the launcher's tests let the ranks do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from chimera.executor.data import microbatch
from chimera.executor.iteration.clipping import Clipping
from chimera.executor.jobs import checkpoint
from chimera.executor.jobs import prepare as setup
from chimera.executor.jobs.cases import Job
from chimera.executor.jobs.evaluation import evaluate
from chimera.executor.jobs.job import run_job, set_up
from chimera.executor.jobs.prepare import Prepared
from chimera.executor.modules import build_layers, loss_of
from chimera.executor.ranks.clock import clock_offset_ns
from chimera.executor.ranks.context import RankContext
from chimera.executor.verification.difference import difference
from chimera.executor.verification.reference import reference
from chimera.pipeline.errors import InputError
from chimera.pipeline.models import layers


def echo(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    total = torch.tensor([context.rank + 1.0])
    dist.all_reduce(total)
    return {"rank": context.rank, "sum": float(total), "given": payload["text"], "pid": os.getpid()}


def fail(context: RankContext, payload: Mapping[str, Any]) -> None:
    context.progress.at("1B3")
    if context.rank == payload["rank"]:
        raise ValueError("the reason")
    dist.barrier()


def hang(context: RankContext, payload: Mapping[str, Any]) -> None:
    context.progress.at(f"{context.rank}F0")
    if context.rank == payload["rank"]:
        os.kill(os.getpid(), getattr(signal, payload["signal"]))
    dist.barrier()
    time.sleep(3600)


def difference_with_a_repeated_microbatch(context: RankContext, payload: Mapping[str, Any]) -> dict[str, float]:
    whole = Prepared.batch
    Prepared.batch = lambda self: whole(self)[:1] * self.schedule.microbatches  # type: ignore[method-assign]
    return difference(context, payload)


def jobs(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Several jobs in one launch, by name: starting ranks costs more than most of them."""
    return {name: run_job(context, job) for name, job in payload["jobs"].items()}


def differences(context: RankContext, payload: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The differences of several jobs in one launch, by name."""
    return {name: difference(context, job) for name, job in payload["jobs"].items()}


def differences_of_wrong_clipping(context: RankContext, payload: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What `difference` says if replicas are counted twice, and if nothing is clipped at all."""
    with patch.object(setup, "counted_stages", lambda schedule, device, copy: schedule.stages_on(device)):
        twice = difference(context, payload)
    Clipping.__call__ = lambda self: None  # type: ignore[method-assign]
    return {"replicas counted twice": twice, "no clipping": difference(context, payload)}


def train_and_die(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A job whose rank `rank` kills itself instead of calling function `at` of the checkpoint for the `nth` time."""
    calls, whole = iter(range(1, payload["nth"])), getattr(checkpoint, payload["at"])

    def die(*given: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given)

    if context.rank == payload["rank"]:
        setattr(checkpoint, payload["at"], die)
    return run_job(context, payload["job"])


def scores(context: RankContext, payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of several jobs: the parts of each case's score on 600 samples, beside what one module gives of the reference."""
    return [_scores(context, Job.from_payload(job)) for job in payload["jobs"]]


def _scores(context: RankContext, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {"one process": {}}
    for item in set_up(context, job):
        if not item.active:
            continue
        batch = microbatch(item.config, 600, seed=1, iteration=0, number=0, dtype=item.dtype)
        for _ in range(job.iterations):
            item.iterate()
        found[item.case.label] = evaluate(item, batch)
        model = build_layers(item.config, range(len(layers(item.config))), seed=job.seed, dtype=item.dtype)
        for layer, values in zip(model, reference(item, job.iterations).weights, strict=True):
            layer.load_state_dict(dict(zip(layer.state_dict(), values, strict=True)))
        output = torch.nn.Sequential(*model)(batch.inputs)
        of_tokens = output[0] if isinstance(output, tuple) else output
        right = of_tokens.argmax(-1) == batch.targets  # what is not to be predicted has no such target
        if isinstance(output, tuple):
            right = right[:, 1:]
        found["one process"][item.case.label] = {
            "correct": int(right.sum()),
            "loss": float(loss_of(item.config, output, batch.targets)),
        }
    return found


def refuse(context: RankContext, payload: Mapping[str, Any]) -> None:
    raise InputError("something of the case", "is wrong", "change it")


def abort_once_done(context: RankContext, payload: Mapping[str, Any]) -> int:
    """Rank 0 aborts between leaving its result and its end, as torch's threads have been seen to do."""
    if context.rank == 0:
        left = context.output / "ranks" / "rank-0.json"

        def abort() -> None:
            while not left.exists():
                time.sleep(0.001)
            os.abort()

        threading.Thread(target=abort, daemon=True).start()
    else:
        time.sleep(0.5)  # so that rank 0 still waits for us
    return context.rank


def wait(context: RankContext, payload: Mapping[str, Any]) -> None:
    (context.output / "ranks" / f"waiting-{context.rank}").touch()
    time.sleep(3600)


def endure(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A job, and after each of its iterations the files that are open and the resident size."""
    whole = Prepared.iterate
    found: dict[str, Any] = {"files": [], "rss_bytes": []}

    def iterate(self: Prepared, **given: Any) -> dict[str, Any]:
        record = whole(self, **given)
        found["files"].append(len(os.listdir("/proc/self/fd")))
        found["rss_bytes"].append(record["rss_bytes"])
        return record

    Prepared.iterate = iterate  # type: ignore[method-assign]
    job = run_job(context, payload)
    return found | {"cases": job["cases"]}


def policies(context: RankContext, payload: Mapping[str, Any]) -> dict[str, list[int]]:
    """The scheduling class of every thread after a job was set up, by the thread's name."""
    set_up(context, Job.from_payload(payload))
    found: dict[str, list[int]] = {}
    for task in Path("/proc/self/task").iterdir():
        found.setdefault((task / "comm").read_text().strip(), []).append(os.sched_getscheduler(int(task.name)))
    return found


def channels(context: RankContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What one iteration of each case sends and posts: (kind, micro-batch, group: n-th seen, or -1: torch's own)."""
    job = Job.from_payload(payload)
    prepared = set_up(context, job)
    groups: list[Any] = []
    found: dict[str, list[tuple[str, int, int]]] = {}

    def number(group: Any) -> int:
        if group is not None and group not in groups:
            groups.append(group)
        return -1 if group is None else groups.index(group)

    for item in prepared:
        if not item.active:
            continue
        mail, noted = item.runtime.mail, found.setdefault(item.case.label, [])
        post = mail._hand

        def hand(message: Any, post: Any = post, noted: Any = noted) -> None:
            noted.append((message.receive.kind, message.receive.microbatch, number(message.group)))
            post(message)

        mail._hand = hand  # type: ignore[method-assign]
        item.iterate()
    return {"messages": found, "members": [dist.get_process_group_ranks(group) for group in groups]}


def offset(context: RankContext, payload: Mapping[str, Any]) -> int:
    return clock_offset_ns(f"host-{context.rank}")
