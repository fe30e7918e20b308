"""Words of others on a terminal: shown as they are, never obeyed."""

from __future__ import annotations

__all__ = ["visible"]

import unicodedata

_KEPT = "\n\t"


def visible(text: str) -> str:
    r"""The text with control characters spelled out (`\x1b[31m`), so that a name or a log line cannot steer a terminal.

    Line ends and tabulators stay; so do letters of any script. Characters that reorder a line (bidirectional marks) are
    spelled out, too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    return character.encode("unicode_escape").decode("ascii")
