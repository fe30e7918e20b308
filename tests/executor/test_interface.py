"""The interface that reaches an address, against what the kernel's own tables say."""

from __future__ import annotations

import socket

import psutil
import pytest

from chimera.executor.ranks.interface import interface_towards

OWN = [
    (name, one.address)
    for name, known in psutil.net_if_addrs().items()
    for one in known
    if one.family == socket.AF_INET and psutil.net_if_stats()[name].isup
]


@pytest.mark.parametrize(("name", "address"), OWN)
def test_rank_0_finds_the_interface_that_has_its_address(name: str, address: str) -> None:
    assert interface_towards(address, 29_500) == name


def test_an_address_that_does_not_resolve_is_left_to_gloo() -> None:
    assert interface_towards("no-such-host.invalid", 29_500) is None


def test_a_name_that_means_loopback_on_its_own_host_alone_is_left_to_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    # Debian's /etc/hosts gives a host's own name 127.0.1.1: other hosts would never reach it there
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", 29_500))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: found)
    assert interface_towards("node17", 29_500) is None
    assert interface_towards("localhost", 29_500) == "lo"
