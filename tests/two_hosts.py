"""Two hosts with addresses and a wire of their own: network namespaces of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESSES = ("10.77.0.1", "10.77.0.2")


class NoNamespacesError(Exception):
    """Why there can be no namespaces here."""


def ip(*words: str) -> str:
    """What iproute2 answers."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=20).stdout


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two namespaces joined by wire0 and wire1; nothing of this machine's own network is touched."""
    names = tuple(f"chimera-{os.getpid()}-{number}" for number in range(2))
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise NoNamespacesError("network namespaces need root and iproute2")
    try:
        try:
            _join(names)
        except subprocess.CalledProcessError as error:
            raise NoNamespacesError(f"this kernel makes no network namespaces: {error.stderr.strip()}") from error
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def _join(names: tuple[str, ...]) -> None:
    for name in names:
        ip("netns", "add", name)
    ip("link", "add", "wire0", "netns", names[0], "type", "veth", "peer", "name", "wire1", "netns", names[1])
    for number, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", f"wire{number}")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", f"wire{number}", "up")
