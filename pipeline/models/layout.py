"""Megatron's layout string of a pipeline, read as layers per stage.

`E` is the embedding, `t` a transformer block, `L` the head with its loss; `|` ends a stage, `*n` repeats
what stands before it (a letter, or a group in parentheses), commas and blanks mean nothing:
`Et*3|(tt|)*29,L` has the embedding and three blocks in its first stage, then 29 stages of two blocks.
"""

from __future__ import annotations

__all__ = ["layout_counts"]

import re

from chimera.pipeline.errors import InputError

_LETTERS = re.compile(r"[EtmL|()*0-9, ]+")
_GROUP = re.compile(r"\(([^()]*)\)(?:\*([0-9]{1,5}))?")
_REPEAT = re.compile(r"([EtmL|])\*([0-9]{1,5})")
_MOST = 100_000


def layout_counts(text: str) -> tuple[int, ...] | None:
    """The layers of each stage; None for a text that is no layout. InputError for one that cannot be ours."""
    if not _LETTERS.fullmatch(text) or not set(text) & set("EtmL"):
        return None
    written = re.sub("[, ]", "", text)
    while _GROUP.search(written):
        written = _GROUP.sub(_repeated, written)
    written = _REPEAT.sub(_repeated, written)
    given = f"partition {text!r}"
    if set(written) - set("EtmL|"):
        raise InputError(given, "is no layout of a pipeline", "write for example Et*3|(tt|)*2,L")
    if "m" in written:
        raise InputError(given, "has layers for multi-token prediction (m), which no model here has", "leave them out")
    if "E" in written[1:] or "L" in written[:-1]:
        raise InputError(given, "has E or L in the middle", "begin with the embedding E, end with the head L")
    return tuple(map(len, written.split("|")))


def _repeated(match: re.Match[str]) -> str:
    what, times = match[1], int(match[2] or 1)
    if len(what) * times > _MOST:
        raise InputError(f"{what}*{times} in a layout", "is longer than any model", "repeat it less often")
    return _REPEAT.sub(_repeated, what) * times
