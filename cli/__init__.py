"""The `chimera` command: one file a subcommand; they parse, call and print."""

from __future__ import annotations

if not __name__.startswith("chimera."):  # no class may exist under two names in one process
    raise ImportError("this folder is `chimera.cli`: import it by that name")

__all__ = ["main"]

from chimera.cli.app import main
