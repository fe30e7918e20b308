"""What in a workload slows other work down: cores that are shared, all-reduces that run beside computation."""

from __future__ import annotations

__all__ = ["sharing_reason"]

from collections import Counter

from chimera.pipeline.grid import node_of
from chimera.simulator.workload.workload import COMPUTE, REDUCE, Workload


def sharing_reason(workload: Workload) -> str | None:
    """What slows what down in this workload, or None if everything keeps its own pace."""
    profile = workload.profile
    if profile.cores is not None and profile.cores < max(_host_sizes(workload)):
        return f"{max(_host_sizes(workload))} devices share {profile.cores} cores"
    reduce = profile.all_reduce
    if (reduce.compute_slowdown > 1 or reduce.reduce_slowdown > 1) and _reduces_beside_compute(workload):
        return "all-reduces and computations slow each other down"
    return None


def _reduces_beside_compute(workload: Workload) -> bool:
    """Whether some device computes after it has launched an all-reduce that takes time."""
    lasting = {collective.action for collective in workload.collectives if collective.duration_ns}
    for ops in workload.ops:
        launched = False
        for op in ops:
            if op.code is COMPUTE and launched:
                return True
            launched = launched or (op.code is REDUCE and op.action in lasting)
    return False


def _host_sizes(workload: Workload) -> list[int]:
    """Devices per host; copies of the pipeline share the host unless there are nodes."""
    devices, size = workload.plan.schedule.devices, workload.profile.topology.devices_per_node
    if size is None:
        return [devices * workload.width]
    return list(Counter(node_of(device, size) for device in range(devices)).values())
