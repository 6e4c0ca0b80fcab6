"""What to build: frozen facts about hosts, networks, containers and the cables between them.

A `Topology` is only a description; nothing here touches a kernel. Every class checks what it can see by
itself when it is made, `Topology` checks what needs the whole (names, subnets, who is attached to what).

Words: a **host** is a network namespace that may route and filter. A **segment** is a plain Ethernet
switch outside all hosts (a LAN). A **network** is what `docker network create` makes: on a host, with a
driver. A **container** is a namespace on a host; each of its attachments to a network is an **endpoint**.
A **cable** is a bare veth pair between two namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from types import MappingProxyType

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

NOTHING: Mapping[str, str] = MappingProxyType({})


class NetworkDriver(Enum):
    """How a network is realised; the names are those of `docker network create --driver`."""

    BRIDGE = "bridge"
    MACVLAN = "macvlan"
    IPVLAN = "ipvlan"
    OVERLAY = "overlay"


class Role(Enum):
    """What a host stands for; the kernel treats all of them alike, drawings and matrices do not."""

    HOST = "host"  # runs containers
    ROUTER = "router"
    NEIGHBOUR = "neighbour"  # another machine on the LAN
    INTERNET = "internet"  # a server far away, which knows no private routes
    NETNS = "netns"  # a bare namespace, as `ip netns add` makes it


@dataclass(frozen=True)
class Route:
    """One route: `destination` via a gateway, out of a device, or refused (`kind`).

    `kind` is iproute2's route type: unicast, blackhole, unreachable or prohibit.
    """

    destination: Subnet
    via: Address | None = None
    device: str | None = None
    source: Address | None = None
    kind: str = "unicast"
    onlink: bool = False


@dataclass(frozen=True)
class Interface:
    """A network device of a host.

    `segment` names the switch that it is plugged into; without one its far end is plugged into nothing
    (but has carrier). `master` enslaves it to a bridge of the same host.
    """

    device: str
    addresses: tuple[InterfaceAddress, ...] = ()
    segment: str | None = None
    master: str | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool = True


@dataclass(frozen=True)
class Segment:
    """A plain Ethernet switch outside all hosts, such as a LAN."""

    name: str
    subnets: tuple[Subnet, ...] = ()


@dataclass(frozen=True)
class DockerDaemon:
    """Options of the Docker engine whose rules a host carries.

    `version` picks the generation of rules ("18.05" ... "29.0"); `forward_policy` is the policy of FORWARD
    ("DROP" when the daemon itself turned forwarding on, "ACCEPT" when the host already forwarded).
    """

    version: str = "27.0"
    ipv6: bool = False  # --ip6tables
    userland_proxy: bool = True
    forward_policy: str = "DROP"


@dataclass(frozen=True)
class Host:
    """A network namespace that routes and filters.

    `forwarding` lists the families ("ipv4", "ipv6") that it forwards. `rules` and `rules6` are loaded with
    iptables-restore as they stand, unless `docker` writes them. `listens` are (protocol, port) pairs on
    which the host itself offers a service, on all its addresses.
    """

    name: str
    role: Role = Role.NETNS
    forwarding: frozenset[str] = frozenset()
    interfaces: tuple[Interface, ...] = ()
    bridges: tuple[Interface, ...] = ()  # bare bridges that no Network describes
    routes: tuple[Route, ...] = ()
    sysctls: Mapping[str, str] = NOTHING
    loopback: bool = True
    docker: DockerDaemon | None = None
    rules: str | None = None
    rules6: str | None = None


@dataclass(frozen=True)
class Network:
    """A container network: `docker network create` in one object.

    `hosts` are the hosts that carry it: one for every driver except overlay. `device` is the bridge's name
    (bridge, overlay) or the parent's (macvlan, ipvlan). `default_route` says whether containers get their
    default route through the gateway of this network. `default_bridge` marks docker0. The remaining options
    carry Docker's names.
    """

    name: str
    driver: NetworkDriver
    hosts: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    gateways: tuple[Address, ...] = ()
    device: str | None = None
    default_bridge: bool = False
    default_route: bool = True
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    mode: str | None = None  # macvlan: bridge, private, vepa, passthru; ipvlan: l2, l3, l3s
    vni: int | None = None  # overlay
    mtu: int | None = None


@dataclass(frozen=True)
class Endpoint:
    """One attachment of a container to a network; addresses left out are allocated by IPAM."""

    network: str
    addresses: tuple[Address, ...] = ()
    device: str | None = None  # eth0, eth1, ... in order when left out
    mac: str | None = None


@dataclass(frozen=True)
class PortMapping:
    """`docker run --publish [HOST_ADDRESS:]HOST_PORT:CONTAINER_PORT/PROTOCOL`."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_address: Address | None = None


@dataclass(frozen=True)
class Container:
    """A namespace on a host, attached to networks or sharing somebody's namespace.

    `mode` is what `docker run --network` was given: "networks" (the endpoints below), "none", "host", or
    "container:NAME". `listens` are (protocol, port) pairs of its services.
    """

    name: str
    host: str
    endpoints: tuple[Endpoint, ...] = ()
    mode: str = "networks"
    publish: tuple[PortMapping, ...] = ()
    listens: tuple[tuple[str, int], ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: Mapping[str, str] = NOTHING


@dataclass(frozen=True)
class CableEnd:
    """One end of a veth pair: the namespace (host or container) it is in, and its device there."""

    node: str
    interface: Interface


@dataclass(frozen=True)
class Cable:
    """A veth pair between two namespaces."""

    ends: tuple[CableEnd, CableEnd]


@dataclass(frozen=True)
class Topology:
    """A whole experiment: what stands where, and which document it comes from."""

    name: str
    title: str = ""
    source: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    segments: tuple[Segment, ...] = ()
    networks: tuple[Network, ...] = ()
    containers: tuple[Container, ...] = ()
    cables: tuple[Cable, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
