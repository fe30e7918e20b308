"""Whether what ranks hold fits into the memory of the host that is to start them."""

from __future__ import annotations

__all__ = ["Held", "check_room", "check_room_to_measure", "least_held"]

from collections.abc import Mapping
from typing import NamedTuple

from chimera.executor.jobs.cases import Case, Job, job_of
from chimera.executor.ranks.environment import membership
from chimera.executor.ranks.memory_room import available_bytes
from chimera.pipeline.errors import InputError
from chimera.pipeline.inflight import peak_activations
from chimera.pipeline.models import layers, model_config
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule
from chimera.pipeline.setting import Optimizer, Setting, Work
from chimera.pipeline.units import format_bytes


class Held(NamedTuple):
    """What the ranks of a case hold at least, in bytes over all of them."""

    always: int
    """weights, gradients, optimizer state"""
    in_flight: int
    """activations, at the peak of each device"""


def check_room(job: Job, schedules: Mapping[str, Schedule]) -> None:
    """Raises InputError if the ranks of a job, all on this host, need more than it has left.

    Cases take turns: all their weights are there at once, the activations of one at a time. Ranks that
    srun or torchrun started are not judged: they may stand on many hosts.
    """
    if membership() is not None:
        return
    held = [least_held(job, case, schedules[case.label]) for case in job.cases]
    needed, available = sum(one.always for one in held) + max(one.in_flight for one in held), available_bytes()
    if needed > available:
        first = job.cases[0]
        sizes = f"B = {first.microbatch_size} on {schedules[first.label].devices * first.width} ranks"
        raise InputError(
            f"{job.model['name']} with {', '.join(case.label for case in job.cases)}, {sizes}",
            f"holds at least {format_bytes(needed)} (weights, gradients, optimizer, activations) "
            f"where this host has {format_bytes(available)} left",
            "take a smaller model or micro-batch, more hosts (chimera slurm), or predict it with chimera simulate",
        )


def check_room_to_measure(setting: Setting, schedules: Mapping[str, Schedule]) -> None:
    """Raises InputError if the ranks that measure these schedules, all on this host, need more than it has left."""
    paced = dict.fromkeys(schedules, ()) if setting.run.compute == "paced" else None
    check_room(job_of(setting, schedules, paced), schedules)


def least_held(job: Job, case: Case, schedule: Schedule) -> Held:
    """What all copies of a case hold; a device's activations are counted as those of the smallest of its stages.

    Versions of weights, workspaces, buffers of messages and the framework come on top; so do the
    activations of paced stages, whose size is the profile's.
    """
    config = model_config(job.model)
    work = Work(config, job.dtype, Optimizer(job.optimizer, momentum=job.momentum))
    described, cuts = layers(config), Partition.of_model(config, schedule.stages, case.partition).ranges
    size, copies = work.weight_bytes, 2 + work.optimizer.state_copies
    always = in_flight = 0
    for device, peak in enumerate(peak_activations(schedule)):
        held = [[described[index] for index in cuts[stage]] for stage in schedule.stages_on(device)]
        always += size * copies * sum(layer.parameters for members in held for layer in members)
        recomputes = any(schedule.recomputes(stage) for stage in schedule.stages_on(device))
        if not recomputes and case.pace is None:
            kept = min(sum(layer.activation_elements for layer in members) for members in held)
            in_flight += size * int(peak) * case.microbatch_size * kept
    return Held(case.width * always, case.width * in_flight)
