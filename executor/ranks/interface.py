"""Which network interface ranks on several hosts talk over: the one that reaches rank 0."""

from __future__ import annotations

__all__ = ["interface_towards"]

import socket
from ipaddress import ip_address

import psutil


def interface_towards(address: str, port: int) -> str | None:
    """The name of the interface whose own address the kernel chooses for talking to `address`.

    On rank 0 that is the interface that has the address. None where it cannot be told: an address
    that does not resolve, or a host's name that resolves to its loopback on that host only.
    """
    try:
        family, kind, _, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)  # nothing is sent: connecting UDP only looks at the routes
            own = str(probe.getsockname()[0])
    except OSError:
        return None
    if ip_address(own).is_loopback and not _is_loopback(address):
        return None
    names = (name for name, known in psutil.net_if_addrs().items() if any(one.address == own for one in known))
    return next(names, None)


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return text == "localhost"
