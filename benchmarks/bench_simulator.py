"""Microseconds per computation of the two engines, lowering and memory timeline included or apart.

Run it from the project's root: `python -m benchmarks.bench_simulator`. Every figure is the best of
several repetitions, in processor time; the costs have links with bandwidth, sizes and all-reduces.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from pipeline.lowering import lower
from pipeline.schedules import build
from simulator import Profile, simulate
from simulator.compiled import CompiledWorkload
from simulator.durations import Durations
from simulator.profile import AllReduceCost, LayerCost, LinkCost, OptimizerCost, Overheads, SizeCost
from simulator.sampling import draw
from simulator.workload import Workload

COST = SizeCost(
    1,
    10**6,
    2 * 10**6,
    forward_spread=0.02,
    backward_spread=0.02,
    activation_bytes=10**8,
    boundary_bytes=10**6,
    forward_workspace_bytes=10**6,
    backward_workspace_bytes=10**6,
)
PROFILE = Profile(
    "benchmark",
    (LayerCost("stage", (COST,), parameters=10**6, parameter_bytes=4 * 10**6),),
    per_stage=True,
    links={"local": LinkCost(50_000, 1e10, 1000, 1000)},
    all_reduce=AllReduceCost(10_000, 1e10),
    optimizer=OptimizerCost(1000, 0.01, 8),
    overheads=Overheads(dispatch_ns=5000),
)


def best_s(action: Callable[[], object], repetitions: int) -> float:
    """The least processor time of several calls, in seconds."""
    found = []
    for _ in range(repetitions):
        begin = time.process_time()
        result = action()
        found.append(time.process_time() - begin)
        del result  # outside the timed region: freeing it is not predicting
    return min(found)


def main() -> None:
    """Prints three tables."""
    print("schedule   D    N  computations  lower  simulate  compiled build  compiled per sample (256)")
    for stages, microbatches, repetitions in ((8, 32, 15), (16, 128, 7), (32, 512, 3)):
        schedule = build("chimera", stages=stages, microbatches=microbatches)
        count, plan = sum(map(len, schedule.actions)), lower(schedule)
        workload = Workload(plan, PROFILE, Durations(schedule, PROFILE))
        compiled, samples = CompiledWorkload(workload), np.concatenate(list(draw(workload, 256, 0)))
        lowering = best_s(lambda s=schedule: lower(s), repetitions)  # type: ignore[misc]
        predicting = best_s(lambda p=plan: simulate(p, PROFILE), repetitions)  # type: ignore[misc]
        building = best_s(lambda w=workload: CompiledWorkload(w), repetitions)  # type: ignore[misc]
        sampling = best_s(lambda c=compiled, d=samples: c.iteration_ns(d), min(repetitions, 3)) / 256  # type: ignore[misc]
        print(
            f"chimera {stages:4d} {microbatches:4d} {count:13d} {lowering / count * 1e6:5.1f}us"
            f" {predicting / count * 1e6:7.1f}us {building / count * 1e6:13.1f}us {sampling / count * 1e9:23.1f}ns"
        )
    print("\nsamples and single configurations (sized costs, graph built)")
    for stages, microbatches in ((8, 32), (16, 128), (32, 512)):
        _built(stages, microbatches)
    print("\nwhole predictions, generation included (uniform costs, compiled)")
    for name in ("chimera", "dapple", "zb-h1"):
        begin = time.perf_counter()
        simulate(build(name, stages=128, microbatches=4096), Profile.uniform(p2p="10us"), engine="compiled")
        print(f"{name:8s} D=128 N=4096: {time.perf_counter() - begin:.2f} s")


def _built(stages: int, microbatches: int) -> None:
    """One row: a thousand drawn iterations, and one, of a graph that is already there."""
    schedule = build("chimera", stages=stages, microbatches=microbatches)
    plan = lower(schedule)
    workload = Workload(plan, PROFILE, Durations(schedule, PROFILE))
    compiled, one = CompiledWorkload(workload), np.concatenate(list(draw(workload, 1, 0)))
    single = best_s(lambda: compiled.iteration_ns(one), 5) / sum(map(len, plan.actions))
    drawn = ""
    if stages == 8:
        thousand = best_s(lambda: [compiled.iteration_ns(batch) for batch in draw(workload, 1000, 0)], 5)
        drawn = f"; 1,000 samples, drawing included: {thousand * 1e3:.1f} ms"
    print(f"chimera {stages:4d} {microbatches:4d}: {single * 1e9:.0f} ns an action of the plan{drawn}")


if __name__ == "__main__":
    main()
