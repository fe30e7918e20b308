"""A running all-reduce of one stage's gradient over its replicas."""

from __future__ import annotations

__all__ = ["Reduction"]

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import Tensor

from chimera.pipeline.actions import Action


class Reduction:
    """Starts at once; a callback notes its end, which a late wait would hide."""

    def __init__(self, action: Action, flat: Tensor, group: Any, mark: Callable[[], Any]) -> None:
        self.action, self.started = action, mark()
        self._work = dist.all_reduce(flat, group=group, async_op=True)
        self._ends: list[Any] = []
        self._mark = mark
        if not flat.is_cuda:
            self._work.get_future().add_done_callback(lambda _: self._ends.append(mark()))

    def wait(self) -> Any:
        """Waits; the mark of its end."""
        self._work.wait()
        return self._ends[0] if self._ends else self._mark()
