"""What predictions may cost at most, beside what they cost: one table for all goals."""

from __future__ import annotations

__all__ = ["Goal", "goal_table"]

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.turns import shown, table


class Goal(NamedTuple):
    """A limit, and what was measured in every round, in the same unit."""

    what: str
    limit: float
    unit: str
    measured: Sequence[float]
    at_least: bool = False
    """whether more is better"""

    @property
    def met(self) -> bool:
        """By the median."""
        middle = median(self.measured)
        return middle >= self.limit if self.at_least else middle <= self.limit


def goal_table(goals: Sequence[Goal]) -> str:
    """Goal, median with range, the median as a share of the goal, and whether it is met."""
    rows = []
    for goal in goals:
        sign = "at least" if goal.at_least else "at most"
        digits = 2 if goal.limit < 10 else 1
        share = f"{median(goal.measured) / goal.limit:.2f}"
        figures = (f"{sign} {goal.limit:g} {goal.unit}", shown(goal.measured, digits=digits), share)
        rows.append([goal.what, *figures, "met" if goal.met else "missed"])
    return table(("what", "goal", "measured", "of the goal", ""), rows)
