"""Several schedules predicted under the same conditions: who is fastest, who wins the draws, who does not fit."""

from __future__ import annotations

__all__ = ["Comparison"]

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import overload

from chimera.pipeline.showing import Record, records_table, show_line
from chimera.pipeline.units import format_ns
from chimera.simulator.costs.what_if import OutOfMemory
from chimera.simulator.draws.intervals import beats
from chimera.simulator.predicting.competitors import LeftOut
from chimera.simulator.predicting.prediction import Prediction


@dataclass(frozen=True, repr=False)
class Comparison:
    """Predictions in the order in which their schedules were given, and what only all of them together say.

    `left_out` are schedules that do not admit the depth. `out_of_memory` says of every prediction who exceeds
    the capacity that was asked about (None if nobody does), and is empty where none was.
    """

    predictions: tuple[Prediction, ...]
    left_out: tuple[LeftOut, ...] = ()
    out_of_memory: tuple[OutOfMemory | None, ...] = ()

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, place: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self.predictions[place]

    def __repr__(self) -> str:
        fastest = f"{self.labels[self.places[0]]} is fastest with {format_ns(self.best.metrics.iteration_ns)}"
        left_out = [f"{len(self.left_out)} left out"] if self.left_out else []
        return show_line("Comparison", f"of {len(self)} schedules", [fastest, *left_out])

    def _repr_html_(self) -> str:
        return records_table("Comparison, fastest first", self.records())

    @property
    def places(self) -> tuple[int, ...]:
        """Where the predictions stand in `predictions`, fastest first; of equally fast ones the earlier."""
        times = [prediction.metrics.iteration_ns for prediction in self.predictions]
        return tuple(sorted(range(len(times)), key=times.__getitem__))

    @property
    def ranking(self) -> tuple[Prediction, ...]:
        """The predictions by iteration time, fastest first."""
        return tuple(self.predictions[place] for place in self.places)

    @property
    def best(self) -> Prediction:
        """The fastest."""
        return self.predictions[self.places[0]]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every prediction: the schedule's, its depth where there are several, its place where two agree."""
        schedules = [prediction.schedule for prediction in self.predictions]
        several = len({schedule.devices for schedule in schedules}) > 1
        names = [schedule.name + (f" D={schedule.devices}" if several else "") for schedule in schedules]
        return tuple(name if names.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(names))

    def chance(self, ours: int, theirs: int) -> float | None:
        """The share of draws in which one prediction is faster than another in the same draw; None without draws."""
        draws = (self.predictions[ours].draws_ns, self.predictions[theirs].draws_ns)
        return None if draws[0] is None or draws[1] is None else beats(draws[0], draws[1])

    def chances(self) -> dict[str, dict[str, float]]:
        """Of every prediction, fastest first, the share of draws in which it beats each other; empty without draws."""
        table: dict[str, dict[str, float]] = {}
        for ours in self.places:
            for theirs in self.places:
                chance = None if ours == theirs else self.chance(ours, theirs)
                if chance is not None:
                    table.setdefault(self.labels[ours], {})[self.labels[theirs]] = chance
        if len(self.predictions) == 1 and self.best.draws_ns is not None:
            return {self.labels[0]: {}}
        return table

    def exceeds(self, place: int) -> OutOfMemory | None:
        """Who runs out of memory in a prediction; None if nobody does, or no capacity was asked about."""
        return self.out_of_memory[place] if self.out_of_memory else None

    def exceeding(self) -> tuple[Prediction, ...]:
        """Those that do not fit into the capacity, in their order."""
        return tuple(each for place, each in enumerate(self.predictions) if self.exceeds(place) is not None)

    def assuming(self, *more: str) -> Comparison:
        """The comparison whose predictions also say this, of costs that were changed before."""
        said = (replace(each, assumptions=(*each.assumptions, *more)) for each in self.predictions)
        return replace(self, predictions=tuple(said))

    def records(self) -> list[Record]:
        """One flat row a prediction, fastest first, with units in the names, as a data frame takes them."""
        return [self._record(rank, place) for rank, place in enumerate(self.places, start=1)]

    def _record(self, rank: int, place: int) -> Record:
        prediction = self.predictions[place]
        sized = any(device.peak_memory_bytes for device in prediction.metrics.per_device)
        record: Record = {"rank": rank, "label": self.labels[place]}
        for own in prediction.records():
            record |= own
        if prediction.draws_ns is not None:
            record["beats_fastest"] = self.chance(place, self.places[0]) if rank > 1 else None
        if self.out_of_memory:
            record["fits_capacity"] = self.exceeds(place) is None if sized else None
        return record
