"""What one device does next: torch's action vocabulary, and the three things we add to it.

The text is `<stage><KIND><micro-batch>` as in torch.distributed.pipelining: `2F5`, `0SEND_F3`,
`(0F7;7B3)OVERLAP_F_B`. Ours are the doubled forward `0F4+5` (one forward over two
micro-batches), the half backward `3B2.0` / `3B2.1`, and the optimizer step of a stage `1STEP`.
"""

from __future__ import annotations

__all__ = ["COMMUNICATION", "COMPUTE", "RECEIVES", "SENDS", "Action", "Kind", "Overlap", "Step", "parse_action"]

import re
from enum import StrEnum
from typing import NamedTuple

from chimera.pipeline.errors import InputError


class Kind(StrEnum):
    """The kind of an action; the value is its spelling in files."""

    F = "F"
    """forward"""
    B = "B"
    """full backward: input and weight gradients"""
    I = "I"
    """backward for inputs only"""
    W = "W"
    """backward for weights only"""
    SEND_F = "SEND_F"
    """send the stage's output to the next stage"""
    RECV_F = "RECV_F"
    """receive the stage's input from the previous stage"""
    SEND_B = "SEND_B"
    """send the gradient of the stage's input to the previous stage"""
    RECV_B = "RECV_B"
    """receive the gradient of the stage's output from the next stage"""
    REDUCE_GRAD = "REDUCE_GRAD"
    """start the all-reduce of the stage's gradients over its replicas"""
    STEP = "STEP"
    """optimizer step of the stage; waits for its REDUCE_GRAD"""
    OVERLAP = "OVERLAP_F_B"
    """a forward and a backward executed together"""


COMPUTE = frozenset({Kind.F, Kind.B, Kind.I, Kind.W, Kind.OVERLAP})
SENDS = frozenset({Kind.SEND_F, Kind.SEND_B})
RECEIVES = frozenset({Kind.RECV_F, Kind.RECV_B})
COMMUNICATION = SENDS | RECEIVES
_WITHOUT_MICROBATCH = frozenset({Kind.REDUCE_GRAD, Kind.STEP})


class Action(NamedTuple):
    """One thing a device does: `stage` 0..D-1, `kind`, `microbatch` 0..N-1.

    `also` is the second micro-batch of a doubled forward (and of its messages), `half` 0 or 1
    for half of a micro-batch's backward. `microbatch` is -1 for REDUCE_GRAD and STEP.
    """

    stage: int
    kind: Kind
    microbatch: int = -1
    also: int = -1
    half: int = -1

    @property
    def parts(self) -> tuple[Action, ...]:
        """The plain actions this one is made of: itself."""
        return (self,)

    @property
    def microbatches(self) -> tuple[int, ...]:
        """The micro-batches this action covers: one, two when doubled, none for STEP."""
        if self.microbatch < 0:
            return ()
        return (self.microbatch,) if self.also < 0 else (self.microbatch, self.also)

    @property
    def is_compute(self) -> bool:
        """Whether this is a forward or some backward."""
        return self.kind in COMPUTE

    def __str__(self) -> str:
        stage, kind, microbatch, also, half = self
        if also < 0 and half < 0:  # by far the most frequent, and written down a lot
            return f"{stage}{kind}" if microbatch < 0 else f"{stage}{kind}{microbatch}"
        return f"{stage}{kind}{microbatch}+{also}" if also >= 0 else f"{stage}{kind}{microbatch}.{half}"


class Overlap(NamedTuple):
    """A forward and a backward of different micro-batches, executed as one (DualPipe)."""

    forward: Action
    backward: Action

    @property
    def kind(self) -> Kind:
        """Always Kind.OVERLAP."""
        return Kind.OVERLAP

    @property
    def parts(self) -> tuple[Action, ...]:
        """The forward, then the backward."""
        return (self.forward, self.backward)

    @property
    def is_compute(self) -> bool:
        """Always true."""
        return True

    def __str__(self) -> str:
        return f"({self.forward};{self.backward})OVERLAP_F_B"


Step = Action | Overlap
"""Anything that can stand in a device's list."""

_ACTION = re.compile(
    r"([0-9]{1,9})(SEND_F|RECV_F|SEND_B|RECV_B|REDUCE_GRAD|STEP|F|B|I|W)"
    r"(?:([0-9]{1,9})(?:\+([0-9]{1,9}))?(?:\.([01]))?)?"
)
_OVERLAP = re.compile(r"\(([^;()]+);([^;()]+)\)OVERLAP_F_B")


def parse_action(text: str) -> Step:
    """The action written as `text`; the whole text must match, unlike in torch's parser.

    Raises InputError for anything else: junk after the action, a missing micro-batch, the older
    dialect's `2BW0`, a doubled backward, a half forward.
    """
    overlap = _OVERLAP.fullmatch(text)
    if overlap:
        forward, backward = (parse_action(part) for part in overlap.groups())
        if forward.kind is not Kind.F or backward.kind not in (Kind.B, Kind.I):
            raise InputError(f"action {text!r}", "must overlap a forward with a backward", "write (0F7;7B3)OVERLAP_F_B")
        assert isinstance(forward, Action) and isinstance(backward, Action)
        return Overlap(forward, backward)
    match = _ACTION.fullmatch(text)
    if not match:
        raise InputError(
            f"action {text!r}", "is not <stage><KIND><micro-batch>", "write for example 2F5, 0SEND_F3 or 1STEP"
        )
    stage, name, microbatch, also, half = match.groups()
    kind = Kind(name)
    if (microbatch is None) != (kind in _WITHOUT_MICROBATCH):
        problem = "needs a micro-batch" if microbatch is None else "takes no micro-batch"
        raise InputError(f"action {text!r}", f"{name} {problem}", "write for example 2F5 or 1STEP")
    if also is not None and kind not in (Kind.F, Kind.SEND_F, Kind.RECV_F):
        raise InputError(
            f"action {text!r}", "only a forward can cover two micro-batches", "write one backward for each"
        )
    if half is not None and kind in (Kind.F, Kind.SEND_F, Kind.RECV_F):
        raise InputError(f"action {text!r}", "only a backward can cover half a micro-batch", "write the forward whole")
    return Action(int(stage), kind, *(-1 if field is None else int(field) for field in (microbatch, also, half)))
