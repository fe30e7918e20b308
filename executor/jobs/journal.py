"""What a rank writes down while it runs: completed iterations, and what disturbed them."""

from __future__ import annotations

__all__ = ["Journal", "disturbances", "read_journal"]

import json
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chimera.executor.ranks.context import RankContext

_DETAILS = ("spans", "transfers", "sent")


class Journal:
    """One JSON line a completed iteration, flushed at once: what is left of a run that is cut short."""

    def __init__(self, context: RankContext) -> None:
        folder = context.output / "ranks"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / f"rank-{context.rank}.jsonl", "w")  # noqa: SIM115 - open as long as the run

    def add(self, label: str, record: Mapping[str, Any]) -> None:
        """Appends one iteration of a case."""
        self._file.write(json.dumps({"label": label, **record}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @staticmethod
    def peak_rss_bytes() -> int:
        """The largest resident size this process ever had."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_journal(output: Path, rank: int, *, detailed: int | None = None) -> list[dict[str, Any]]:
    """The completed iterations of a rank, in order; a last line cut short is left out.

    Spans and messages only of the last `detailed` lines: of a long run they would not fit into memory.
    """
    found: list[dict[str, Any]] = []
    with suppress(OSError), open(output / "ranks" / f"rank-{rank}.jsonl") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            found.append(json.loads(line))
            if detailed is not None and len(found) > detailed:
                for name in _DETAILS:
                    found[-detailed - 1].pop(name, None)
    return found


@contextmanager
def disturbances() -> Iterator[dict[str, int]]:
    """Fills a dict with involuntary context switches, stolen time and resident size over a block."""
    found: dict[str, int] = {}
    switches, stolen = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, _steal_ns()
    yield found
    found["switches"] = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches
    found["steal_ns"] = _steal_ns() - stolen
    found["rss_bytes"] = _rss_bytes()


def _steal_ns() -> int:
    """Time that the hypervisor gave to others, summed over all cores (10 ms resolution)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        return int(fields[8]) * (10**9 // os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return 0


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
