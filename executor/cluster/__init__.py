"""Ranks on a cluster: a profile of it, the batch script, submitting, and what became of the job. No torch."""

from __future__ import annotations

__all__ = [
    "Allocation",
    "Cluster",
    "Job",
    "Task",
    "allocate",
    "cancel",
    "load_cluster",
    "read_job",
    "render",
    "states",
    "submit",
    "wait",
]

from chimera.executor.cluster.allocation import Allocation, allocate
from chimera.executor.cluster.job import Job, Task, read_job
from chimera.executor.cluster.profile import Cluster
from chimera.executor.cluster.profile_file import load_cluster
from chimera.executor.cluster.script import render
from chimera.executor.cluster.status import states, wait
from chimera.executor.cluster.submit import cancel, submit
