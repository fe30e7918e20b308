"""Where a file comes from: command, date, host, versions, seed."""

from __future__ import annotations

__all__ = ["machine", "provenance"]

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


def provenance(*, seed: int | None = None) -> dict[str, object]:
    """A JSON-able record of this moment: command, date (UTC), machine, versions, seed."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": _versions(),
        "seed": seed,
    }


def machine() -> dict[str, object]:
    """Processor, cores available to this process and operating system; no host name."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("chimera-pipeline", "numpy", "simpy", "torch"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
