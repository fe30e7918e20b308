"""Which process stands where: ranks, and their places among devices, copies and tensor parts.

Every remainder and quotient of a rank is taken here and nowhere else.
"""

from __future__ import annotations

__all__ = ["AXES", "Axis", "Grid", "Place", "aligned", "node_of"]

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any, Literal, NamedTuple, cast, get_args

from chimera.pipeline.errors import InputError, UnknownNameError
from chimera.pipeline.schedule import Schedule

Axis = Literal["pipeline", "copy"]
AXES: tuple[Axis, Axis] = get_args(Axis)


class Place(NamedTuple):
    """Where a rank stands: in which copy of the pipeline, on which of its devices, as which tensor part of it."""

    copy: int
    device: int
    tensor: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """D devices of a pipeline, W copies of it, T tensor parts of each device: D x W x T ranks.

    `order` names the axis along which ranks are neighbours first: `pipeline, copy` puts the devices
    of a copy side by side (rank = copy x D + device), `copy, pipeline` the copies of a device
    (rank = device x W + copy), as Megatron does. Tensor parts are always innermost. Raises
    InputError for an axis shorter than 1, UnknownNameError for another order.
    """

    devices: int
    width: int = 1
    tensor: int = 1
    order: tuple[Axis, Axis] = AXES

    def __post_init__(self) -> None:
        axes = (("devices", self.devices, "rank"), ("width", self.width, "copy of the pipeline"))
        for what, length, missing in (*axes, ("tensor width", self.tensor, "rank")):
            if length < 1:
                raise InputError(f"{what} {length}", f"is no {missing}", "give 1 or more")
        orders = list(permutations(AXES))
        if self.order not in orders:
            raise UnknownNameError("order of ranks", ",".join(self.order), [",".join(each) for each in orders])

    def __repr__(self) -> str:
        return f"<Grid D={self.devices} W={self.width} T={self.tensor}, {self.rank_order}>"

    @classmethod
    def of_ranks(cls, devices: int, ranks: int, order: tuple[Axis, Axis] = AXES) -> Grid:
        """The grid that so many ranks fill with whole pipelines; those left over have no place in it."""
        return cls(devices, ranks // devices, order=order)

    @classmethod
    def holding(cls, devices: int, ranks: int, order: tuple[Axis, Axis] = AXES) -> Grid:
        """The smallest grid of whole pipelines in which so many ranks all have a place."""
        return cls(devices, -(-ranks // devices), order=order)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Grid:
        """The grid that `document` wrote."""
        return cls(**document | {"order": cast(tuple[Axis, Axis], tuple(document.get("order", AXES)))})

    def document(self) -> dict[str, Any]:
        """The grid as a JSON-able dict."""
        return asdict(self) | {"order": list(self.order)}

    @property
    def rank_order(self) -> str:
        """The order of the axes as `--rank-order` spells it."""
        return ",".join(self.order)

    @property
    def gpus(self) -> int:
        """How many ranks there are: D x W x T, one a GPU."""
        return self.devices * self.width * self.tensor

    @property
    def ranks(self) -> range:
        """All ranks, ascending."""
        return range(self.gpus)

    def rank_of(self, device: int, copy: int = 0, tensor: int = 0) -> int:
        """The rank at a place; IndexError for one outside the grid."""
        if not (0 <= device < self.devices and 0 <= copy < self.width and 0 <= tensor < self.tensor):
            raise IndexError(f"device {device}, copy {copy}, tensor part {tensor} is no place in {self}")
        pair = copy * self.devices + device if self.order[0] == "pipeline" else device * self.width + copy
        return pair * self.tensor + tensor

    def place_of(self, rank: int) -> Place:
        """Where a rank stands; IndexError for one outside the grid."""
        if rank not in self.ranks:
            raise IndexError(f"rank {rank} has no place in {self}")
        pair, tensor = divmod(rank, self.tensor)
        if self.order[0] == "pipeline":
            copy, device = divmod(pair, self.devices)
        else:
            device, copy = divmod(pair, self.width)
        return Place(copy, device, tensor)

    def copy_ranks(self, copy: int = 0, tensor: int = 0) -> tuple[int, ...]:
        """The rank of every device of one copy of the pipeline, by device."""
        return tuple(self.rank_of(device, copy, tensor) for device in range(self.devices))

    def ranks_of(self, devices: Iterable[int], tensor: int = 0) -> tuple[int, ...]:
        """The ranks of these devices in all copies of the pipeline: copy by copy, devices as given."""
        devices = tuple(devices)
        return tuple(self.rank_of(device, copy, tensor) for copy in range(self.width) for device in devices)

    def replica_ranks(self, schedule: Schedule, stage: int, tensor: int = 0) -> tuple[int, ...]:
        """The ranks that hold a replica of a stage (2f x W of them for Chimera): those that all-reduce its gradient."""
        return self.ranks_of(schedule.replica_devices(stage), tensor)


def node_of(rank: int, devices_per_node: int | None) -> int:
    """The node on which a rank stands: nodes are filled in the order of ranks. None: one node holds all."""
    return 0 if devices_per_node is None else rank // devices_per_node


def aligned(devices: int, devices_per_node: int | None) -> bool:
    """Whether copies of so many devices, side by side, all stand on nodes in the same way.

    Whole copies fill a node, or whole nodes a copy.
    """
    return devices_per_node is None or devices_per_node % devices == 0 or devices % devices_per_node == 0
