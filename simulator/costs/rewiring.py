"""The same costs on another network: nodes, link classes, NICs and host overheads changed or completed."""

from __future__ import annotations

__all__ = ["LinkChange", "Rewiring", "describe", "rewired"]

from dataclasses import dataclass, replace

from chimera.pipeline.errors import InputError
from chimera.pipeline.units import format_bandwidth, format_bytes, format_ns
from chimera.simulator.costs.profile import Algorithm, AllReduceCost, LinkClass, LinkCost, Profile


@dataclass(frozen=True, slots=True)
class LinkChange:
    """What is said about a class of links; None is not said."""

    latency_ns: int | None = None
    bandwidth_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rewiring:
    """What is said about a network beyond its profile; None keeps what the profile says.

    `intra_node` are the links within a node, or all of them where there are no nodes; `overhead_ns`
    is host time of every message at both ends. `boundary_bytes` and `gradient_bytes` are for costs
    without sizes: of a message, and of the gradients of a device's share of the model.
    """

    devices_per_node: int | None = None
    intra_node: LinkChange | None = None
    inter_node: LinkChange | None = None
    shared_nic: bool | None = None
    half_duplex: bool | None = None
    overhead_ns: int | None = None
    boundary_bytes: int | None = None
    gradient_bytes: int | None = None
    algorithm: Algorithm | None = None


def rewired(profile: Profile, change: Rewiring) -> Profile:
    """The profile on the changed network.

    Where nodes are new, links within a node are what the profile's `same_node` or `local` links are.
    A link whose latency or bandwidth is given holds its messages one after another.

    Raises InputError for links between nodes that nothing describes, and for sizes given twice.
    """
    if change == Rewiring():
        return profile
    nodes, shared = change.devices_per_node or profile.topology.devices_per_node, change.shared_nic
    topology = replace(
        profile.topology, devices_per_node=nodes, shared_nic=profile.topology.shared_nic if shared is None else shared
    )
    links = {name: _tuned(link, change) for name, link in _links(profile, change, nodes).items()}
    return replace(_sized(profile, change), topology=topology, links=links, all_reduce=_reduced(profile, change, nodes))


def _links(profile: Profile, change: Rewiring, nodes: int | None) -> dict[LinkClass, LinkCost]:
    links = profile.links
    if nodes is None:
        local = links.get("local")
        return {"local": _changed(local, change.intra_node)} if local or change.intra_node or change.overhead_ns else {}
    if change.inter_node is None and "other_node" not in links:
        raise InputError(
            f"nodes of {nodes} devices",
            f"profile {profile.name!r} has no links between nodes",
            "add --inter-node 20us,10GB/s",
        )
    same = links.get("same_node") or links.get("local") or LinkCost(queueing=False)
    return {
        "same_node": _changed(same, change.intra_node),
        "other_node": _changed(links.get("other_node"), change.inter_node),
    }


def _changed(link: LinkCost | None, change: LinkChange | None) -> LinkCost:
    if change is None:
        return link or LinkCost(queueing=False)
    link = link or LinkCost()
    latency, bandwidth = change.latency_ns, change.bandwidth_bytes_per_s
    return replace(
        link,
        latency_ns=link.latency_ns if latency is None else latency,
        least_bandwidth_bytes_per_s=link.least_bandwidth_bytes_per_s if bandwidth is None else None,
        bandwidth_bytes_per_s=link.bandwidth_bytes_per_s if bandwidth is None else bandwidth,
        queueing=True,
    )


def _tuned(link: LinkCost, change: Rewiring) -> LinkCost:
    if change.half_duplex is not None:
        link = replace(link, half_duplex=change.half_duplex)
    if change.overhead_ns is not None:
        link = replace(link, send_overhead_ns=change.overhead_ns, receive_overhead_ns=change.overhead_ns)
    return link


def _sized(profile: Profile, change: Rewiring) -> Profile:
    layers = profile.layers
    if change.boundary_bytes is not None:
        if any(cost.boundary_bytes for layer in layers for cost in layer.costs):
            raise InputError("a size of messages", f"profile {profile.name!r} knows its own", "drop --boundary")
        layers = tuple(
            replace(layer, costs=tuple(replace(cost, boundary_bytes=change.boundary_bytes) for cost in layer.costs))
            for layer in layers
        )
    if change.gradient_bytes is not None:
        if not profile.per_stage or any(layer.parameters for layer in layers):
            raise InputError("a size of gradients", f"profile {profile.name!r} knows its layers", "drop --gradients")
        parameters = round(change.gradient_bytes / profile.optimizer.gradient_bytes_per_parameter)
        layers = tuple(replace(layer, parameters=parameters) for layer in layers)
    return replace(profile, layers=layers)


def describe(profile: Profile, change: Rewiring) -> tuple[str, ...]:
    """What was said, in words, for a profile that `rewired` made of it."""
    said = []
    nodes = profile.topology.devices_per_node
    if change.devices_per_node is not None:
        said.append(f"nodes of {nodes} devices, filled in the order of ranks")
    classes = {"local": change.intra_node, "same_node": change.intra_node, "other_node": change.inter_node}
    named = {"local": "links", "same_node": "links within a node", "other_node": "links between nodes"}
    said += [f"{named[name]}: {_in_words(link)}" for name, link in profile.links.items() if classes[name]]
    if change.shared_nic is not None:
        said.append("one NIC a node for all its devices" if change.shared_nic else "a NIC for every device")
    if change.half_duplex is not None:
        said.append("half duplex: both directions of a link share it" if change.half_duplex else "full duplex links")
    if change.overhead_ns is not None:
        said.append(f"{format_ns(change.overhead_ns)} of host time for every message at both ends")
    if change.boundary_bytes is not None:
        said.append(f"every message has {format_bytes(change.boundary_bytes)}")
    if change.gradient_bytes is not None:
        said.append(f"gradients of {format_bytes(change.gradient_bytes)} a device's share of the model")
    if change.algorithm is not None:
        said.append(f"all-reduce algorithm: {change.algorithm}")
    return tuple(said)


def _in_words(link: LinkCost) -> str:
    bandwidth = link.bandwidth_bytes_per_s
    return f"{format_ns(link.latency_ns)}, {'any bandwidth' if bandwidth is None else format_bandwidth(bandwidth)}"


def _reduced(profile: Profile, change: Rewiring, nodes: int | None) -> AllReduceCost:
    """Formulas instead of the measured table, where an algorithm is chosen; without nodes, no better than a given link.

    With nodes, `chimera.simulator.costs.collectives` takes the links into account.
    """
    cost, link = profile.all_reduce, change.intra_node
    if link is not None and nodes is None:
        bandwidths = [known for known in (cost.bandwidth_bytes_per_s, link.bandwidth_bytes_per_s) if known]
        latency = max(cost.latency_ns, link.latency_ns or 0)
        cost = replace(cost, latency_ns=latency, bandwidth_bytes_per_s=min(bandwidths, default=None))
    return cost if change.algorithm is None else replace(cost, algorithm=change.algorithm, measured=())
