"""The `chimera` command: one file a subcommand; they parse, call and print."""

from __future__ import annotations

__all__ = ["main"]

from cli.app import main
