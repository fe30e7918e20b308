"""The batch script: a pure function of cluster, tasks and folder, so that a file can show it."""

from __future__ import annotations

__all__ = ["render"]

import shlex
from collections.abc import Sequence
from pathlib import Path

from chimera.executor.cluster.allocation import Allocation, allocate
from chimera.executor.cluster.job import Task
from chimera.executor.cluster.profile import Cluster, Software
from chimera.executor.ranks.environment import FIRST_PORT, PORTS, RANK_VARIABLES
from chimera.pipeline.errors import InputError

_BOOKKEEPING = """\
leave() { # state, exit status, reason: the task's file changes whole or not at all
    printf 'state=%s\\nexit_status=%s\\njob=%s\\nhost=%s\\nat=%s\\ncommand=%s\\nreason=%s\\n' \\
        "$1" "$2" "$SLURM_JOB_ID" "${SLURMD_NODENAME:-}" "$(date -u +%FT%TZ)" "$text" "$3" \
>"$folder/tasks/.$task.$SLURM_JOB_ID"
    mv "$folder/tasks/.$task.$SLURM_JOB_ID" "$folder/tasks/$task"
}
broken() { # what did not work before any rank was started
    leave failed 1 "$1 failed, before any rank was started"
    exit 1
}
stopped() { # SLURM ends a job with TERM, at its limit and when it is cancelled
    if ((SECONDS + 5 >= limit_s)); then
        leave failed 143 "the time limit of $((limit_s / 60)) min was reached"
    else
        leave cancelled 143 "cancelled after $SECONDS s"
    fi
    exit 143
}
reason() { # the first error that a rank, or srun, has printed
    if ((warning_s > 0 && SECONDS + warning_s + 65 >= limit_s && ($1 == 130 || $1 == 143))); then
        echo "interrupted before the time limit of $((limit_s / 60)) min"
        return
    fi
    grep -m 1 -E '^(srun: |slurmstepd-?[^ ]*: )?error: ' "$log" || echo "exit status $1 without a word in $log"
}"""
_RENDEZVOUS = f"""\
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol show node "$first" | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
[[ -n $MASTER_ADDR ]] || broken "asking scontrol for the address of ${{first:-the first node}}"
MASTER_PORT=$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))
export MASTER_ADDR MASTER_PORT"""
_ENDING = """\
wait $!
status=$?
if ((status == 0)); then
    leave done 0 ""
else
    leave failed "$status" "$(reason "$status")"
fi
exit "$status\""""


def render(
    cluster: Cluster,
    tasks: Sequence[Task],
    folder: Path,
    *,
    name: str = "chimera",
    pending: Sequence[int] | None = None,
    at_once: int | None = None,
    array: bool = False,
) -> str:
    """The text that sbatch gets: one job, or an array with a task of the job for each given one.

    `pending` are the numbers of the array's tasks to run (all by default), `at_once` of them
    together. Paths in it are absolute. Raises InputError for ranks that do not fit the cluster and for
    a folder that cannot stand in an #SBATCH line.
    """
    if any(character.isspace() or character in "%\\" for character in str(folder)):
        raise InputError(
            f"folder {str(folder)!r}", "SLURM would misread spaces and % in a path", "give another --output"
        )
    fits = [allocate(task.ranks, cluster.nodes) for task in tasks]
    whole = Allocation(max(fit.nodes for fit in fits), max(fit.ranks_per_node for fit in fits))
    numbers = list(range(len(tasks)) if pending is None else pending) if array else []
    log = "%A_%a" if array else "%j"
    options = _options(cluster, whole, name)
    if array:
        options.append(f"--array={_ranges(numbers)}" + (f"%{at_once}" if at_once else ""))
    options += [f"--output={folder}/logs/{log}.out", f"--error={folder}/logs/{log}.err"]
    written = '"$folder/logs/${SLURM_ARRAY_JOB_ID}_$task.err"' if array else '"$folder/logs/$SLURM_JOB_ID.err"'
    parts = [
        "\n".join(["#!/bin/bash", *(f"#SBATCH {option}" for option in options)]),
        f"# Rendered by `chimera slurm` for the cluster {cluster.name!r}.",
        "\n".join(
            [
                f"folder={shlex.quote(str(folder))}",
                "task=${SLURM_ARRAY_TASK_ID:-0}",
                f"log={written}",
                f"limit_s={60 * cluster.request.minutes} warning_s={cluster.request.warning_s}",
            ]
        ),
        _choice(tasks, fits, numbers) if array else _assignments(tasks[0], fits[0], ""),
        _BOOKKEEPING,
        # a task that is started twice, such as by a requeue, does its work once
        'grep -qx state=done "$folder/tasks/$task" 2>/dev/null && '
        'grep -qxF "command=$text" "$folder/tasks/$task" && exit 0\n'
        'trap stopped TERM\nleave running "" ""',
        "\n".join(_preparation(cluster)),
        _RENDEZVOUS,
        "\n".join(_variables(cluster)),
        f"{_launch(cluster, whole)}\n{_ENDING}",
    ]
    return "\n\n".join(parts) + "\n"


def _options(cluster: Cluster, whole: Allocation, name: str) -> list[str]:
    request = cluster.request
    asked = {
        "job-name": name,
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
        "constraint": request.constraint,
        "nodes": whole.nodes,
        "ntasks": whole.ranks,
        "ntasks-per-node": whole.ranks_per_node,
        "cpus-per-task": request.cpus_per_rank,
        "mem": f"{request.memory_mib}M" if request.memory_mib else "",
        "time": f"{request.minutes // 60:02}:{request.minutes % 60:02}:00",
        "signal": f"INT@{request.warning_s}" if request.warning_s else "",
    }
    return (
        [f"--{key}={value}" for key, value in asked.items() if value != ""]
        + _gpus(cluster, whole)
        + list(request.extra)
    )


def _gpus(cluster: Cluster, whole: Allocation) -> list[str]:
    kind = f"{cluster.gpus.kind}:" if cluster.gpus.kind else ""
    return {
        "none": [],
        "gpus": [f"--gpus={kind}{whole.ranks}"],
        "gres": [f"--gres=gpu:{kind}{whole.ranks_per_node}"],
        "gpus-per-node": [f"--gpus-per-node={kind}{whole.ranks_per_node}"],
    }[cluster.gpus.style]


def _ranges(numbers: Sequence[int]) -> str:
    """0,2,3,4 as `0,2-4`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _choice(tasks: Sequence[Task], fits: Sequence[Allocation], numbers: Sequence[int]) -> str:
    cases = "\n".join(f"{number})\n{_assignments(tasks[number], fits[number], '    ')}\n    ;;" for number in numbers)
    return f"case $task in\n{cases}\nesac"


def _assignments(task: Task, fit: Allocation, indent: str) -> str:
    words = shlex.join(task.words)
    lines = [f"nodes={fit.nodes} ranks={fit.ranks}", f"text={shlex.quote(task.text)}", f"command=({words})"]
    return "\n".join(indent + line for line in lines)


def _preparation(cluster: Cluster) -> list[str]:
    steps = [f"cd {shlex.quote(cluster.paths.work)}"]
    if cluster.software.modules:
        steps += ["module purge", *(f"module load {shlex.quote(module)}" for module in cluster.software.modules)]
    steps += cluster.software.activate
    return [f"{step} || broken {shlex.quote(step)}" for step in steps]


def _variables(cluster: Cluster) -> list[str]:
    interface = cluster.network.interface
    sockets = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}
    return [
        f"export {key}={shlex.quote(value)}"
        for key, value in (RANK_VARIABLES | sockets | dict(cluster.variables)).items()
    ]


def _launch(cluster: Cluster, whole: Allocation) -> str:
    chimera, torchrun = (_program(cluster.software, program) for program in ("chimera", "torchrun"))
    cpus = cluster.request.cpus_per_rank
    if cluster.launcher == "srun":
        steps = f'srun --nodes="$nodes" --ntasks="$ranks" --cpus-per-task={cpus} --kill-on-bad-exit=1'
        return f'{steps} \\\n    {chimera} "${{command[@]}}" &'
    agent = (
        f'exec {torchrun} --nnodes="$nodes" --nproc-per-node="$((ranks / nodes))" --node-rank="$SLURM_NODEID" '
        f'--master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" --no-python {chimera} "$@"'
    )
    each = f"--ntasks-per-node=1 --cpus-per-task={cpus * whole.ranks_per_node} --kill-on-bad-exit=1"
    steps = f'srun --nodes="$nodes" --ntasks="$nodes" {each}'
    return f'export nodes ranks\n{steps} \\\n    bash -c {shlex.quote(agent)} torchrun "${{command[@]}}" &'


def _program(software: Software, name: str) -> str:
    return shlex.quote(f"{software.bin}/{name}" if software.bin else name)
