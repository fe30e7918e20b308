"""The three commands of SLURM that we call, each seldom."""

from __future__ import annotations

__all__ = ["queued", "sbatch", "scancel"]

import subprocess
from pathlib import Path

from chimera.pipeline.errors import InputError, RunError

_PATIENCE_S = 60


def sbatch(script: Path) -> int:
    """Submits a script and returns the job's number.

    Raises InputError where there is no sbatch, RunError with SLURM's own words where it refuses.
    """
    done = _call("sbatch", "--parsable", str(script))
    return int(done.stdout.strip().splitlines()[-1].split(";")[0])


def queued(job: int) -> dict[int, str]:
    """SLURM's state (PENDING, RUNNING ...) by task number of what is still in its queue: one call of squeue.

    A job that is no array is task 0. Raises InputError where there is no squeue, RunError where it
    does not answer.
    """
    try:
        done = _call("squeue", "--noheader", "--array", "--format=%i|%T", f"--jobs={job}")
    except RunError as error:
        if "Invalid job id" in error.derived:  # SLURM forgets a job some minutes after its end
            return {}
        raise
    lines = [line.strip().split("|") for line in done.stdout.splitlines() if "|" in line]
    return {int(number.partition("_")[2] or 0): state for number, state in lines}


def scancel(job: int) -> None:
    """Cancels a job with all its tasks; nothing happens to one that has ended."""
    _call("scancel", str(job))


def _call(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        remedy = "submit on a login node of the cluster; --dry-run shows the script anywhere"
        raise InputError(program, "is not on this machine's PATH", remedy) from error
    except subprocess.TimeoutExpired as error:
        raise RunError(program, f"did not answer within {_PATIENCE_S} s", "try again later") from error
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise RunError(f"{program} refused", words, "correct the cluster profile; --dry-run shows the script")
    return done
