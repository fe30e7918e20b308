"""--partition: how the layers of a model are cut into stages."""

from __future__ import annotations

__all__ = ["PARTITION", "layers_per_stage", "partitions"]

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from chimera.pipeline.errors import InputError
from chimera.pipeline.models.partition import Partition
from chimera.pipeline.schedule import Schedule

if TYPE_CHECKING:
    from chimera.simulator import Profile

PARTITION = typer.Option(
    "--partition",
    metavar="balanced|count|N,N,...",
    help="Layers of each stage: balanced by cost (the default), equal in number, or as given.",
)


def layers_per_stage(
    text: str | None, schedule: Schedule, *, model: str | None = None, profile: Profile | None = None
) -> Partition | None:
    """The numbers of layers that --partition means for a schedule; None where it is not given.

    What is balanced are the costs that the profile measured, or without one the model's forward
    FLOPs. Raises InputError for a partition that does not fit, or a profile of equal stages.
    """
    if text is None:
        return None
    return Partition.of(text, _costs(text, model, profile), schedule.stages)


def partitions(
    text: str | None, schedules: Iterable[Schedule], *, model: str, profile: Profile | None = None
) -> tuple[Partition, ...]:
    """The partitions that --partition means, one for each number of stages; none where it is not given."""
    if text is None:
        return ()
    costs = _costs(text, model, profile)
    return tuple(Partition.of(text, costs, stages) for stages in dict.fromkeys(each.stages for each in schedules))


def _costs(text: str, model: str | None, profile: Profile | None) -> list[int]:
    """What each layer costs."""
    if profile is None:
        from chimera.pipeline.models import layers, model_config

        return [layer.forward_flops for layer in layers(model_config(model or ""))]
    if profile.per_stage:
        raise InputError(
            f"--partition {text} with equal stages", "which know no layers", "give --profile of a calibration"
        )
    from chimera.simulator.costs.stage_costs import stage_costs

    count = sum(layer.repeat for layer in profile.layers)
    return [cost.forward_ns + cost.backward_ns for cost in stage_costs(profile, count, partition=(1,) * count)]
