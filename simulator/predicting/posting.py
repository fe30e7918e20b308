"""When receives are posted on transports that serve messages in order: as early as can be, or when their time has come.

Both ways all devices see all messages in one total order, that of their sends, so nobody waits for
ever (`chimera.pipeline.lowering.repair`). They differ in the clock. *Early* is the order of the sends if messages
took no time, as torch's lowering has it: a message that is under way for long is received ahead of
sends that are ready before it comes, and holds them up. *Late* is the order of the sends when
messages take the time that a profile says: what is ready goes first.
"""

from __future__ import annotations

__all__ = ["posted_late"]

from chimera.pipeline.lowering.repair import rendezvous_safe
from chimera.pipeline.schedule import Plan
from chimera.simulator.engines.clocks import clocks
from chimera.simulator.engines.direct import engine as direct
from chimera.simulator.workload.workload import Workload


def posted_late(workload: Workload) -> Plan:
    """The workload's plan with its messages in the order in which they are sent when no message holds up another.

    Of actions that end at the same moment, the plan's own order decides.
    """
    plan, done = workload.plan, clocks(workload, direct.run(workload))
    position = [0] * len(plan.actions)
    moments = []
    for place, device in enumerate(plan.order):
        moments.append((done[device][position[device]], place, device))
        position[device] += 1
    order = tuple(device for _, _, device in sorted(moments))
    return rendezvous_safe(Plan(plan.schedule, plan.actions, order))
