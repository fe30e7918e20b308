"""Ranks compare what they run before they work together: a mixture fails late and strangely."""

from __future__ import annotations

__all__ = ["agree", "installed"]

import json
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from chimera.pipeline.errors import RunError


def installed() -> dict[str, str]:
    """The versions of chimera, torch and Python in this process."""
    try:
        chimera = version("chimera-pipeline")
    except PackageNotFoundError:
        chimera = "not installed"
    return {"chimera": chimera, "torch": str(torch.__version__), "python": platform.python_version()}


def agree(store: Any, rank: int, ranks: int) -> None:
    """Tells the other ranks our versions through a torch store; RunError in every rank if they differ."""
    store.set(f"versions/{rank}", json.dumps(installed()))
    told = [json.loads(store.get(f"versions/{other}")) for other in range(ranks)]
    store.set(f"versions-known/{rank}", "1")
    if rank == 0:  # which may keep the store: nobody could read it any more if it went first
        store.wait([f"versions-known/{other}" for other in range(ranks)])
    _compare(told)


def _compare(told: Sequence[Mapping[str, str]]) -> None:
    for name in told[0]:
        holders: dict[str, list[int]] = defaultdict(list)
        for rank, versions in enumerate(told):
            holders[versions[name]].append(rank)
        if len(holders) > 1:
            said = "; ".join(f"{name} {has} on rank {', '.join(map(str, who))}" for has, who in holders.items())
            raise RunError("the ranks differ in what they run", said, "install the same versions on every host")
