"""What `chimera run --dry-run` shows: what each rank would hold and send, and that nothing was done."""

from __future__ import annotations

__all__ = ["report_dry_runs"]

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from chimera.cli.reports.output import note, print_json, print_table
from chimera.executor.ranks.environment import is_leader
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Setting
from chimera.pipeline.units import format_bytes

if TYPE_CHECKING:
    from chimera.executor.dry_run import DryRun, RankSummary

_COLUMNS = (
    "ranks",
    "actions",
    "messages sent",
    "bytes sent",
    "all-reduces",
    "bytes all-reduced",
    "parameters",
    "weights",
)


def report_dry_runs(schedules: Sequence[Schedule], setting: Setting, *, as_json: bool) -> None:
    """Walks through the ranks of every schedule; one table each, or one JSON document for all."""
    from chimera.executor.dry_run import dry_run

    if not is_leader():
        return
    walked = [dry_run(each, setting) for each in schedules]
    if as_json:
        cases = [each.as_json() for each in walked]
        print_json(cases[0] if len(cases) == 1 else {"schema_version": 1, "executed": False, "cases": cases})
    else:
        for each in walked:
            _show(each)
    note("nothing was executed: one process walked through all ranks, no tensor was computed and no message left it")


def _show(dry: DryRun) -> None:
    messages, size = sum(rank.sent for rank in dry.ranks), sum(rank.sent_bytes for rank in dry.ranks)
    largest = max(dry.ranks, key=lambda rank: rank.parameters)
    title = (
        f"{dry.schedule} of {dry.model}, {len(dry.ranks)} ranks ({dry.devices} devices x width {dry.width}), "
        f"{dry.microbatches} micro-batches of {dry.microbatch_size}: not executed"
    )
    print_table(title, _COLUMNS, _rows(dry.ranks))
    print(
        f"every message has its counterpart: {messages} of {format_bytes(size)} together; {dry.groups} process groups"
    )
    print(
        f"largest rank: {largest.rank} with {largest.parameters:,} parameters, "
        f"{format_bytes(largest.weight_bytes)} of weights"
    )


def _rows(ranks: Sequence[RankSummary]) -> list[tuple[str, ...]]:
    """A row for all ranks that hold and do the same."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for rank in ranks:
        shown = (
            str(rank.actions),
            str(rank.sent),
            format_bytes(rank.sent_bytes),
            str(rank.all_reduces),
            format_bytes(rank.all_reduced_bytes),
            f"{rank.parameters:,}",
            format_bytes(rank.weight_bytes),
        )
        alike[shown].append(rank.rank)
    return [(_ranges(numbers), *shown) for shown, numbers in alike.items()]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers for people: 1-31, 33."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
