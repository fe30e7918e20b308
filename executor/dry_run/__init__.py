"""A plan for more ranks than there are machines, walked through in one process: nothing is computed or sent.

Each rank in turn joins a process group that only pretends (torch's "fake" backend), builds its
groups, mail and program as in a real run, and runs it on stages that are empty shells. What every
rank handed to torch is then compared with what its peers did.
"""

from __future__ import annotations

__all__ = ["DryRun", "RankSummary", "dry_run"]

from chimera.executor.dry_run.ranks import DryRun, RankSummary, dry_run
