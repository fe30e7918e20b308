"""Several schedules predicted: one after another, or side by side in worker processes, with the same answer."""

from __future__ import annotations

__all__ = ["compare", "estimated_s"]

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from chimera.pipeline.errors import ChimeraError, InputError
from chimera.pipeline.schedule import Plan, Schedule, require_schedule
from chimera.simulator.costs.profile import Profile
from chimera.simulator.predicting.comparison import Comparison
from chimera.simulator.predicting.competitors import Competitors, competitors
from chimera.simulator.predicting.conditions import PLAIN, Conditions, fitted
from chimera.simulator.predicting.prediction import Prediction
from chimera.simulator.predicting.rows import Planned, Question, Row, answer, answer_elsewhere, row_of, schedule_of
from chimera.simulator.predicting.steady_state import iterations_for

OnRow = Callable[[int, Prediction], object]
_POOL_FROM_S = 2.0
"""estimated work from which starting workers is worth its time"""
_COMPUTATION_S, _DRAWN_S = 11e-6, 3e-6
"""what a computation costs to predict, and in every draw"""


def compare(
    schedules: Competitors | Iterable[Planned | str] | None,
    profile: Profile,
    conditions: Conditions | None = None,
    *,
    stages: int | Sequence[int] | None = None,
    microbatches: int | None = None,
    executor: Executor | None = None,
    on_row: OnRow | None = None,
) -> Comparison:
    """Predicts several schedules under the same conditions.

    Schedules are values, or names of the catalogue (None: all that admit the depth), which need `stages`, one or
    several, and `microbatches`. `on_row(index, prediction)` is told of every prediction as it comes. Any
    `concurrent.futures.Executor` predicts; without one, from two seconds of estimated work on, as many worker
    processes as there are cores do (a script then needs its `if __name__ == "__main__":`). The answer is the
    same whoever predicts.

    Raises InputError for names without a depth and depths that cannot be compared, and what
    `chimera.simulator.simulate` and `chimera.simulator.predicting.competitors.competitors` raise.
    """
    planned, left_out = _competing(schedules, stages, microbatches)
    _check_depths(planned, profile)
    asked = [fitted(conditions or PLAIN, profile, schedule_of(each)) for each in planned]
    questions = [Question(each, profile, own) for each, own in zip(planned, asked, strict=True)]
    rows: list[Row | None] = [None] * len(questions)
    for index, answered in _answers(questions, executor):
        rows[index] = row = row_of(questions[index], answered)
        if on_row is not None:
            on_row(index, row.prediction)
    done = [row for row in rows if row is not None]
    capacity = conditions is not None and conditions.capacity_bytes is not None
    return Comparison(
        predictions=tuple(row.prediction for row in done),
        left_out=left_out,
        out_of_memory=tuple(row.out_of_memory for row in done) if capacity else (),
    )


def estimated_s(planned: Planned, conditions: Conditions = PLAIN) -> float:
    """About how many seconds of one core a prediction takes."""
    schedule, computations = schedule_of(planned), sum(map(len, planned.actions))
    overlaps = isinstance(planned, Schedule) and schedule.update != "flush"
    iterations = 1 + (iterations_for(schedule) if overlaps else 0)
    return computations * (_COMPUTATION_S * iterations + _DRAWN_S * conditions.samples)


def _competing(
    schedules: Competitors | Iterable[Planned | str] | None,
    stages: int | Sequence[int] | None,
    microbatches: int | None,
) -> tuple[tuple[Planned, ...], tuple[Any, ...]]:
    """The schedules as values, in their order, and those left out."""
    if isinstance(schedules, Competitors):
        return schedules
    if isinstance(schedules, str | Schedule | Plan):
        raise InputError(f"one schedule, {schedules!r:.80}", "is not several", "give a list of schedules or of names")
    wanted = list(schedules or ())
    if wanted and not any(isinstance(each, str) for each in wanted):
        return tuple(map(require_schedule, wanted)), ()
    if stages is None or microbatches is None:
        missing = "stages" if stages is None else "microbatches"
        raise InputError(f"names without {missing}", "do not say how large the schedules are", f"give {missing}=8")
    if not wanted:
        return competitors(None, stages, microbatches)
    planned: list[Planned] = []
    left_out: list[Any] = []
    for each in wanted:
        if isinstance(each, str):
            found = competitors([each], stages, microbatches)
            planned += found.schedules
            left_out += found.left_out
        else:
            planned.append(require_schedule(each))
    return tuple(planned), tuple(left_out)


def _check_depths(planned: Sequence[Planned], profile: Profile) -> None:
    depths = {schedule_of(each).devices for each in planned}
    if len(depths) > 1 and profile.per_stage:
        given = f"{', '.join(map(str, sorted(depths)))} devices with costs of equal stages"
        derived = "more stages would be a larger model, and the times could not be compared"
        raise InputError(given, derived, "give --profile with layers, which are partitioned anew for each depth")


def _answers(questions: Sequence[Question], executor: Executor | None) -> Iterator[tuple[int, bytes]]:
    """The answers with the places of their questions, as they come."""
    if executor is not None:
        yield from _submitted(questions, executor)
        return
    workers = min(len(os.sched_getaffinity(0)), len(questions))
    work = sum(estimated_s(each.planned, each.conditions) for each in questions)
    if workers < 2 or work < _POOL_FROM_S:
        yield from ((index, answer(question)) for index, question in enumerate(questions))
        return
    with _pool(workers) as pool:
        yield from _submitted(questions, pool)


@contextmanager
def _pool(workers: int) -> Iterator[Executor]:
    """So many processes that share nothing with this one; what has not begun is dropped where something fails."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    # A worker that is interrupted ends without a word: its asker is interrupted too, and says so.
    pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_DFL))
    try:
        yield pool
    except BrokenProcessPool as error:
        remedy = "guard the script with `if __name__ == '__main__':`, or pass an executor"
        raise ChimeraError("a worker process of the comparison", "ended before its answer", remedy) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(questions: Sequence[Question], executor: Executor) -> Iterator[tuple[int, bytes]]:
    """Longest first, so that no worker is left alone with a long one at the end."""
    longest = sorted(range(len(questions)), key=lambda i: -estimated_s(questions[i].planned, questions[i].conditions))
    futures = {executor.submit(answer_elsewhere, questions[i].packed()): i for i in longest}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()
