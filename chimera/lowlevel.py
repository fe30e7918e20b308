"""What is beneath the public names: actions, plans, workloads, engines, and files in other programs' formats.

For tools that look inside. These names are kept less strictly than those of `chimera`.
"""

from __future__ import annotations

__all__ = [
    "Action",
    "check_plan",
    "chrome_trace",
    "CompiledWorkload",
    "DeadlockError",
    "Kind",
    "lower",
    "Overlap",
    "parse_action",
    "Plan",
    "read_plan",
    "rendezvous_safe",
    "schedule_csv",
    "schedule_json",
    "Times",
    "times_of",
    "UnknownNameError",
    "unrolled_plan",
    "Workload",
    "workload_under",
]

from typing import TYPE_CHECKING

from chimera._lazy import attribute_getter

if TYPE_CHECKING:
    from chimera.pipeline.actions import Action as Action
    from chimera.pipeline.actions import Kind as Kind
    from chimera.pipeline.actions import Overlap as Overlap
    from chimera.pipeline.actions import parse_action as parse_action
    from chimera.pipeline.errors import DeadlockError as DeadlockError
    from chimera.pipeline.errors import UnknownNameError as UnknownNameError
    from chimera.pipeline.files.schedule_file import read_plan as read_plan
    from chimera.pipeline.files.schedule_file import schedule_csv as schedule_csv
    from chimera.pipeline.files.schedule_file import schedule_json as schedule_json
    from chimera.pipeline.files.trace import chrome_trace as chrome_trace
    from chimera.pipeline.lowering.lower import lower as lower
    from chimera.pipeline.lowering.repair import rendezvous_safe as rendezvous_safe
    from chimera.pipeline.lowering.unroll import unrolled_plan as unrolled_plan
    from chimera.pipeline.schedule import Plan as Plan
    from chimera.pipeline.soundness.check import check_plan as check_plan
    from chimera.simulator.engines.choice import times_of as times_of
    from chimera.simulator.engines.compiled.longest_path import CompiledWorkload as CompiledWorkload
    from chimera.simulator.engines.times import Times as Times
    from chimera.simulator.predicting.conditions import workload_under as workload_under
    from chimera.simulator.workload.workload import Workload as Workload

_HOMES = {
    "chimera.pipeline.actions": "Action Kind Overlap parse_action",
    "chimera.pipeline.errors": "DeadlockError UnknownNameError",
    "chimera.pipeline.files.schedule_file": "read_plan schedule_csv schedule_json",
    "chimera.pipeline.files.trace": "chrome_trace",
    "chimera.pipeline.lowering.lower": "lower",
    "chimera.pipeline.lowering.repair": "rendezvous_safe",
    "chimera.pipeline.lowering.unroll": "unrolled_plan",
    "chimera.pipeline.schedule": "Plan",
    "chimera.pipeline.soundness.check": "check_plan",
    "chimera.simulator.engines.choice": "times_of",
    "chimera.simulator.engines.compiled.longest_path": "CompiledWorkload",
    "chimera.simulator.engines.times": "Times",
    "chimera.simulator.predicting.conditions": "workload_under",
    "chimera.simulator.workload.workload": "Workload",
}

__getattr__ = attribute_getter(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
