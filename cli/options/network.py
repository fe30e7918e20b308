"""The network on the command line: nodes, links, NICs, host overheads, and what a message weighs."""

from __future__ import annotations

__all__ = ["NetworkOptions", "network_key", "on_network"]

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera.cli.reports.output import duration_ns
from chimera.pipeline.errors import InputError
from chimera.pipeline.units import parse_bandwidth, parse_bytes

if TYPE_CHECKING:
    from chimera.simulator import Prediction, Profile
    from chimera.simulator.costs.profile import Algorithm
    from chimera.simulator.costs.rewiring import LinkChange, Rewiring

_LINK = "LATENCY,BANDWIDTH"
_EXAMPLE = "5us,100GB/s"


class AllReduce(StrEnum):
    """How gradients are all-reduced; auto is the fastest for each size and group."""

    AUTO = "auto"
    RING = "ring"
    RABENSEIFNER = "rabenseifner"
    TREE = "tree"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """What is said about the network, as it is written; it completes or overrides a profile."""

    p2p: Annotated[
        str | None,
        typer.Option("--p2p", metavar="TIME", help="Latency of every message between equal stages; default 0ms."),
    ] = None
    devices_per_node: Annotated[
        int | None, typer.Option("--devices-per-node", help="Devices that share a node, in the order of ranks.")
    ] = None
    intra_node: Annotated[
        str | None,
        typer.Option(
            "--intra-node", metavar=_LINK, help=f"Links within a node, such as {_EXAMPLE}; either part alone."
        ),
    ] = None
    inter_node: Annotated[
        str | None, typer.Option("--inter-node", metavar=_LINK, help="Links between nodes, such as 20us,10GB/s.")
    ] = None
    shared_nic: Annotated[
        bool | None, typer.Option("--shared-nic/--private-nics", help="Whether a node's devices share one NIC.")
    ] = None
    half_duplex: Annotated[
        bool | None, typer.Option("--half-duplex/--full-duplex", help="Whether both directions of a link share it.")
    ] = None
    overhead: Annotated[
        str | None, typer.Option("--overhead", metavar="TIME", help="Host time of every message, at both ends.")
    ] = None
    boundary: Annotated[
        str | None,
        typer.Option("--boundary", metavar="SIZE", help="Bytes of a message, for costs without sizes: 4MiB."),
    ] = None
    gradients: Annotated[
        str | None,
        typer.Option("--gradients", metavar="SIZE", help="Gradients of a device's share, for costs without sizes."),
    ] = None
    all_reduce: Annotated[
        AllReduce | None, typer.Option("--all-reduce", help="The algorithm, instead of what the profile says.")
    ] = None


def on_network(profile: Profile, options: NetworkOptions) -> tuple[Profile, tuple[str, ...]]:
    """The profile on the network that was described, and that network in words.

    Raises InputError for what is malformed, contradicts itself or would change nothing.
    """
    from chimera.simulator.costs.rewiring import describe, rewired

    _check_nodes(profile, options)
    change = _change(options)
    changed = rewired(profile, change)
    _check_links(changed, options)
    _check_sizes(changed, options)
    return changed, describe(changed, change)


def network_key(prediction: Prediction) -> dict[str, Any]:
    """`network`: nodes and links as a profile's file writes them."""
    from chimera.simulator.costs.profile_file import document

    found = document(prediction.profile)
    return {
        "network": {"topology": found["topology"], "links": found.get("links", {}), "all_reduce": found["all_reduce"]}
    }


def _change(options: NetworkOptions) -> Rewiring:
    from chimera.simulator.costs.rewiring import Rewiring

    overhead, algorithm = options.overhead, options.all_reduce
    chosen: Algorithm | None = None if algorithm is None else algorithm.value
    return Rewiring(
        devices_per_node=options.devices_per_node,
        intra_node=_link("--intra-node", options.intra_node),
        inter_node=_link("--inter-node", options.inter_node),
        shared_nic=options.shared_nic,
        half_duplex=options.half_duplex,
        overhead_ns=None if overhead is None else duration_ns("--overhead", overhead),
        boundary_bytes=_size("--boundary", options.boundary),
        gradient_bytes=_size("--gradients", options.gradients),
        algorithm=chosen,
    )


def _link(option: str, text: str | None) -> LinkChange | None:
    """`5us,100GB/s`, `5us` or `100GB/s`."""
    from chimera.simulator.costs.rewiring import LinkChange

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    bandwidths = [part for part in parts if "/" in part]
    latencies = [part for part in parts if "/" not in part]
    if len(bandwidths) > 1 or len(latencies) > 1:
        raise InputError(
            f"{option} {text}", "is not one latency and one bandwidth", f"write for example {option} {_EXAMPLE}"
        )
    try:
        return LinkChange(
            latency_ns=duration_ns(option, latencies[0]) if latencies else None,
            bandwidth_bytes_per_s=parse_bandwidth(bandwidths[0]) if bandwidths else None,
        )
    except InputError as error:
        raise InputError(f"{option} {text}", error.derived, f"write for example {option} {_EXAMPLE}") from None


def _size(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except InputError as error:
        raise InputError(f"{option} {text}", error.derived, error.remedy) from None


def _check_nodes(profile: Profile, options: NetworkOptions) -> None:
    nodes = options.devices_per_node
    if nodes is not None and nodes < 1:
        raise InputError(f"--devices-per-node {nodes}", "a node holds at least one device", "give 1 or more")
    if nodes is None and profile.topology.devices_per_node is None:
        for option, given in (("--inter-node", options.inter_node), ("--shared-nic", options.shared_nic)):
            if given:
                remedy = "add --devices-per-node K (1: every device has a node of its own)"
                raise InputError(option, "nothing says which devices share a node", remedy)
    if options.p2p is not None and options.intra_node is not None:
        given = f"--p2p {options.p2p} with --intra-node {options.intra_node}"
        raise InputError(given, "are two costs of the same messages", "give one of them")


def _check_links(profile: Profile, options: NetworkOptions) -> None:
    cost = profile.all_reduce
    known = cost.latency_ns or cost.bandwidth_bytes_per_s or profile.topology.devices_per_node
    if options.all_reduce is not None and not known:
        remedy = "describe the links: --devices-per-node 4 --inter-node 20us,10GB/s --gradients 400MiB"
        derived = "neither latency nor bandwidth of an all-reduce is known"
        raise InputError(f"--all-reduce {options.all_reduce.value}", derived, remedy)
    if options.half_duplex and not any(link.queueing for link in profile.links.values()):
        derived = "messages only take time here and never wait for one another"
        raise InputError("--half-duplex", derived, f"describe the links: --intra-node {_EXAMPLE} --boundary 4MiB")


def _check_sizes(profile: Profile, options: NetworkOptions) -> None:
    if any(cost.boundary_bytes or layer.parameters for layer in profile.layers for cost in layer.costs):
        return
    for option, text in (("--intra-node", options.intra_node), ("--inter-node", options.inter_node)):
        if text is not None and "/" in text:
            remedy = "add --boundary 4MiB (a message) or --gradients 400MiB (a device's share of the model)"
            raise InputError(f"{option} {text}", "a bandwidth says nothing about messages without bytes", remedy)
