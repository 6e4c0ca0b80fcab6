"""What to build: frozen facts about hosts, networks, containers and the cables between them.

A `Topology` is only a description; nothing here touches a kernel. Every class checks what it can see by
itself when it is made, `Topology` checks what needs the whole (names, subnets, who is attached to what).

Words: a **host** is a network namespace that may route and filter. A **segment** is a plain Ethernet
switch outside all hosts (a LAN). A **network** is what `docker network create` makes: on a host, with a
driver. A **container** is a namespace on a host; each of its attachments to a network is an **endpoint**.
A **cable** is a bare veth pair between two namespaces. A **node** is a host or a container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

from netverify.topology import inventory
from netverify.topology.checks import check
from netverify.topology.containers import Container, Endpoint, PortMapping
from netverify.topology.devices import Cable, CableEnd, Interface, Route, Segment
from netverify.topology.errors import TopologyError, did_you_mean, quoted
from netverify.topology.hosts import DockerDaemon, Host, Role
from netverify.topology.inventory import Attachment
from netverify.topology.networks import Network, NetworkDriver
from netverify.topology.resolve import resolve
from netverify.topology.values import (
    NOTHING,
    Address,
    InterfaceAddress,
    Settings,
    Subnet,
    check_name,
    check_text,
    check_tuple,
)

__all__ = [
    "NOTHING",
    "Address",
    "Attachment",
    "Cable",
    "CableEnd",
    "Container",
    "DockerDaemon",
    "Endpoint",
    "Host",
    "Interface",
    "InterfaceAddress",
    "Network",
    "NetworkDriver",
    "PortMapping",
    "Role",
    "Route",
    "Segment",
    "Subnet",
    "Topology",
]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Part = TypeVar("_Part", bound=_Named)


@dataclass(frozen=True)
class Topology:
    """A whole experiment: what stands where, and which document it comes from.

    The order of `networks` is that in which they are created, that of `containers` the one in which they
    start: addresses are given out in it, and Docker's rules depend on it.
    """

    name: str
    title: str = ""
    source: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    segments: tuple[Segment, ...] = ()
    networks: tuple[Network, ...] = ()
    containers: tuple[Container, ...] = ()
    cables: tuple[Cable, ...] = ()
    notes: Mapping[str, str] = field(default_factory=Settings)

    def __post_init__(self) -> None:
        subject = f"topology {quoted(self.name)}"
        check_name(subject, "name", self.name)
        check_text(subject, "title", self.title)
        check_tuple(subject, "source", self.source, (str,))
        for text in self.source:
            check_text(subject, "source", text)
        for key, text in self.notes.items():
            check_name(subject, "notes", key)
            check_text(subject, f"notes.{key}", text, lines=True)
        object.__setattr__(self, "notes", Settings(self.notes))
        for key, kind in _PARTS.items():
            check_tuple(subject, key, getattr(self, key), (kind,))
        check(self)

    # Looking things up. All of these raise TopologyError for a name that nobody has.

    def host(self, name: str) -> Host:
        """The host of that name."""
        return self._find("host", self._hosts, name)

    def segment(self, name: str) -> Segment:
        """The segment of that name."""
        return self._find("segment", self._segments, name)

    def network(self, name: str) -> Network:
        """The network of that name."""
        return self._find("network", self._networks, name)

    def container(self, name: str) -> Container:
        """The container of that name."""
        return self._find("container", self._containers, name)

    def node(self, name: str) -> Host | Container:
        """The host or container of that name."""
        return self._find("host or container", self._nodes, name)

    def nodes(self) -> tuple[Host | Container, ...]:
        """Everybody with a network namespace of his own: hosts first, then containers."""
        return (*self.hosts, *(container for container in self.containers if container.has_namespace))

    def namespace_of(self, name: str) -> str:
        """Whose namespace the node `name` lives in: its own name, or that of the one who shares his."""
        node = self.node(name)
        while isinstance(node, Container) and node.shares is not None:
            node = self.node(node.shares)
        return node.name

    def inhabitants(self, name: str) -> tuple[str, ...]:
        """Every node that lives in the namespace of `name`, the owner first."""
        owner = self.namespace_of(name)
        sharing = (c.name for c in self.containers if not c.has_namespace)
        return (owner, *(guest for guest in sharing if self.namespace_of(guest) == owner))

    def containers_on(self, host: str) -> tuple[Container, ...]:
        """The containers of a host."""
        return self._containers_by_host.get(self.host(host).name, ())

    def networks_on(self, host: str) -> tuple[Network, ...]:
        """The networks that a host carries."""
        return self._networks_by_host.get(self.host(host).name, ())

    def endpoints_on(self, network: str) -> tuple[tuple[Container, Endpoint], ...]:
        """Who is attached to a network, and how."""
        return self._endpoints_by_network.get(self.network(network).name, ())

    def cable_ends(self, node: str) -> tuple[Interface, ...]:
        """The devices of a node that are ends of cables."""
        return self._cable_ends.get(self.node(node).name, ())

    # What a namespace holds. `node` may be somebody who shares another's namespace: then it is that one's.

    def interfaces_of(self, node: str) -> tuple[Interface, ...]:
        """Every device in the namespace but lo: interfaces, bridges, ends of veth pairs, endpoints."""
        return tuple(inventory.interfaces_of(self, self._owner(node)))

    def addresses_of(self, node: str, version: int | None = None) -> tuple[Address, ...]:
        """The addresses in the namespace, of one family (4 or 6) or of both, loopback left out."""
        return inventory.addresses_of(self, self._owner(node), version)

    def routes_of(self, node: str) -> tuple[Route, ...]:
        """The routes to set in the namespace, a container's default routes among them."""
        return inventory.routes_of(self, self._owner(node))

    def listens_of(self, node: str) -> tuple[tuple[str, int], ...]:
        """The (protocol, port) pairs of all services in the namespace."""
        return tuple(pair for name in self.inhabitants(node) for pair in self.node(name).listens)

    def attachments(self, container: str) -> tuple[Attachment, ...]:
        """The container's own endpoints, ready to build. Needs a resolved topology."""
        return inventory.attachments(self, self.container(container))

    def tunnel_addresses(self, network: str) -> dict[str, Address]:
        """For each host of an overlay, the address that its VXLAN packets come from."""
        return inventory.tunnel_addresses(self, self.network(network))

    def parent_segment(self, network: Network) -> str | None:
        """The segment that a macvlan's or ipvlan's parent is plugged into, if it is."""
        interfaces = {interface.device: interface for interface in self.host(network.host).interfaces}
        parent = interfaces.get(network.host_device)
        return parent.segment if parent else None

    def segment_addresses(self, segment: str | None) -> tuple[Address, ...]:
        """The addresses of the hosts' interfaces on a segment."""
        return tuple(
            address.ip
            for host in self.hosts
            for interface in host.interfaces
            if segment is not None and interface.segment == segment
            for address in interface.addresses
        )

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions in use: 4, 6 or both; 4 if there are no addresses at all."""
        subnets = {subnet.version for network in self.networks for subnet in network.subnets}
        found = subnets | {
            address.version for node in self.nodes() for address in self.addresses_of(node.name)
        }
        return tuple(sorted(found)) or (4,)

    # Making another one.

    def resolved(self) -> Topology:
        """With every address, device name, MAC, gateway, mode and bridge name filled in.

        Addresses come from IPAM, names and MACs are Docker's schemes with hashes for random numbers, so the
        same topology always gives the same result; a resolved topology gives itself. Raises TopologyError
        where a subnet has too few addresses.
        """
        return resolve(self)

    def adding(self, *parts: Host | Segment | Network | Container | Cable) -> Topology:
        """With more of something, each at the end of its kind."""
        grown: dict[str, Any] = {
            key: (*getattr(self, key), *(part for part in parts if isinstance(part, kind)))
            for key, kind in _PARTS.items()
        }
        return replace(self, **grown)

    def with_host(self, name: str, **changes: Any) -> Topology:
        """With fields of a host changed: `with_host("host", docker=DockerDaemon("28.0"))`."""
        return replace(self, hosts=_changed(self.hosts, self.host(name), changes))

    def with_segment(self, name: str, **changes: Any) -> Topology:
        """With fields of a segment changed."""
        return replace(self, segments=_changed(self.segments, self.segment(name), changes))

    def with_network(self, name: str, **changes: Any) -> Topology:
        """With fields of a network changed: `with_network("net18", internal=True)`."""
        return replace(self, networks=_changed(self.networks, self.network(name), changes))

    def with_container(self, name: str, **changes: Any) -> Topology:
        """With fields of a container changed: `with_container("c1", listens=(("tcp", 80),))`."""
        return replace(self, containers=_changed(self.containers, self.container(name), changes))

    # Indexes, made when first needed.

    @cached_property
    def _hosts(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _segments(self) -> dict[str, Segment]:
        return {segment.name: segment for segment in self.segments}

    @cached_property
    def _networks(self) -> dict[str, Network]:
        return {network.name: network for network in self.networks}

    @cached_property
    def _containers(self) -> dict[str, Container]:
        return {container.name: container for container in self.containers}

    @cached_property
    def _nodes(self) -> dict[str, Host | Container]:
        return {**self._hosts, **self._containers}

    @cached_property
    def _containers_by_host(self) -> dict[str, tuple[Container, ...]]:
        return _grouped((container.host, container) for container in self.containers)

    @cached_property
    def _networks_by_host(self) -> dict[str, tuple[Network, ...]]:
        return _grouped((host, network) for network in self.networks for host in network.hosts)

    @cached_property
    def _endpoints_by_network(self) -> dict[str, tuple[tuple[Container, Endpoint], ...]]:
        return _grouped((e.network, (c, e)) for c in self.containers for e in c.endpoints)

    @cached_property
    def _cable_ends(self) -> dict[str, tuple[Interface, ...]]:
        return _grouped((end.node, end.interface) for cable in self.cables for end in cable.ends)

    def _find(self, kind: str, known: Mapping[str, _Found], name: str) -> _Found:
        try:
            return known[name]
        except KeyError:
            raise TopologyError(
                f"topology {quoted(self.name)}",
                (),
                f"no {kind} is named {quoted(name)}",
                did_you_mean(name, known),
            ) from None

    def _owner(self, node: str) -> Host | Container:
        return self.node(self.namespace_of(node))


_Found = TypeVar("_Found")
_Value = TypeVar("_Value")
_PARTS: Mapping[str, type] = {
    "hosts": Host,
    "segments": Segment,
    "networks": Network,
    "containers": Container,
    "cables": Cable,
}


def _changed(parts: tuple[_Part, ...], part: _Part, changes: Mapping[str, Any]) -> tuple[_Part, ...]:
    changed: _Part = replace(part, **changes)  # type: ignore[type-var]
    return tuple(changed if other.name == part.name else other for other in parts)


def _grouped(pairs: Iterable[tuple[str, _Value]]) -> dict[str, tuple[_Value, ...]]:
    groups: dict[str, list[_Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in groups.items()}
