"""A Docker host in Docker's own words: the daemon's options, its bridge networks, the published ports.

Only bridge networks stand here. Docker writes no rules for macvlan, ipvlan, host and none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from netverify.docker.errors import DockerError
from netverify.docker.version import (
    HOST_IPV4,
    HOST_IPV6,
    IP6TABLES,
    IP6TABLES_BY_DEFAULT,
    Change,
    Version,
    generation_of,
)

Address = IPv4Address | IPv6Address
Protocol = Literal["tcp", "udp", "sctp"]
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "sctp")
"""What can be published, in the order in which engines since 27.0 program them."""

# At most IFNAMSIZ - 1 characters (include/uapi/linux/if.h), and none that rules read otherwise: a blank, a
# quote, "!"; a "+" last would mean all devices that begin so.
_BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@=+-]{0,14}(?<![+])")


@dataclass(frozen=True, slots=True)
class BridgeNetwork:
    """`docker network create --driver bridge`.

    `bridge` is the device's name (com.docker.network.bridge.name). `subnet6` is given for networks with
    IPv6 only. `default` marks the network "bridge", normally docker0, which the daemon makes anew at each
    start. `host_binding` is the address that ports are published on when they name none
    (com.docker.network.bridge.host_binding_ipv4; the daemon's --ip for the default bridge). `host_ipv4`
    and `host_ipv6` make outgoing traffic leave with that source, by SNAT instead of MASQUERADE.
    """

    name: str
    bridge: str
    subnet: IPv4Network
    subnet6: IPv6Network | None = None
    default: bool = False
    internal: bool = False
    icc: bool = True
    masquerade: bool = True
    host_binding: Address | None = None
    host_ipv4: IPv4Address | None = None
    host_ipv6: IPv6Address | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise DockerError(f"the network on bridge {self.bridge} has no name")
        if _BRIDGE.fullmatch(self.bridge) is None:
            raise DockerError(
                f"network {self.name}: {self.bridge!r} cannot name a bridge in rules: expected 1 to 15 "
                "letters, digits and marks of _.:@=+-, the first no mark but _, the last no +"
            )
        if self.host_ipv6 is not None and self.subnet6 is None:
            raise DockerError(f"network {self.name}: host_ipv6 needs a network with an IPv6 subnet")


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """One container's port that is published: `docker run --publish [HOST_ADDRESS:]HOST_PORT:PORT/PROTOCOL`.

    `network` names the network through which the container is published: the one that holds its default
    route. `container` and `container6` are the container's addresses there. Ranges are given port by port,
    as the docker command expands them.
    """

    network: str
    container: IPv4Address
    container_port: int
    host_port: int
    protocol: Protocol = "tcp"
    host_address: Address | None = None
    container6: IPv6Address | None = None

    def __post_init__(self) -> None:
        for what, port in (("host", self.host_port), ("container", self.container_port)):
            if not 0 < port < 65536:
                raise DockerError(f"{self}: {what} port {port} is not between 1 and 65535")
        if self.protocol not in PROTOCOLS:
            raise DockerError(f"{self}: expected a protocol of {', '.join(PROTOCOLS)}")

    def __str__(self) -> str:
        """As `docker ps` prints it."""
        host = {4: f"{self.host_address}:", 6: f"[{self.host_address}]:"}
        address = host[self.host_address.version] if self.host_address is not None else ""
        return f"{address}{self.host_port}->{self.container}:{self.container_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class DockerHost:
    """A host with a Docker daemon: the daemon's options, its networks, and what its containers publish.

    `networks` stand in the order in which the daemon set them up, oldest first, which decides the order of
    the rules. On a fresh host the default bridge is the oldest; after a restart of the daemon it is the
    newest. `published` stand in the order in which containers started.

    `forward_policy` is the IPv4 policy of FORWARD after the daemon's start: DROP when the daemon itself
    turned ip_forward on, ACCEPT when the host already forwarded. `ip6tables` left out means the version's
    default.
    """

    version: str
    networks: tuple[BridgeNetwork, ...] = ()
    published: tuple[PublishedPort, ...] = ()
    forward_policy: Literal["ACCEPT", "DROP"] = "DROP"
    userland_proxy: bool = True
    iptables: bool = True
    ip6tables: bool | None = None

    def __post_init__(self) -> None:
        generation_of(self.version)
        if self.forward_policy not in ("ACCEPT", "DROP"):
            raise DockerError(f"forward policy {self.forward_policy!r} is neither ACCEPT nor DROP")
        if self.ip6tables:
            self._require(IP6TABLES, "ip6tables")
        _check_unique("network name", (network.name for network in self.networks))
        _check_unique("bridge", (network.bridge for network in self.networks))
        _check_unique("default bridge", ("default" for network in self.networks if network.default))
        for network in self.networks:
            if network.host_ipv4 is not None:
                self._require(HOST_IPV4, f"network {network.name}: host_ipv4")
            if network.host_ipv6 is not None:
                self._require(HOST_IPV6, f"network {network.name}: host_ipv6")
        for one, other in _pairs(self.networks):
            if one.subnet.overlaps(other.subnet):
                raise DockerError(
                    f"networks {one.name} and {other.name} overlap: {one.subnet}, {other.subnet}"
                )
        for port in self.published:
            self._check_port(port)
        _check_host_ports(self.published)

    @property
    def engine(self) -> Version:
        """The version as a value that can be compared."""
        return Version.parse(self.version)

    @property
    def filters_ipv6(self) -> bool:
        """Whether the daemon writes ip6tables rules."""
        return self.engine.has(IP6TABLES_BY_DEFAULT) if self.ip6tables is None else self.ip6tables

    def network(self, name: str) -> BridgeNetwork:
        """The network of that name. Raises DockerError."""
        for network in self.networks:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in self.networks) or "none"
        raise DockerError(f"no bridge network {name!r}; this host has: {names}")

    def _require(self, change: Change, what: str) -> None:
        if not self.engine.has(change):
            raise DockerError(f"{what}: not before Docker {change.since}, and this is {self.version}")

    def _check_port(self, port: PublishedPort) -> None:
        network = self.network(port.network)
        if network.internal:
            raise DockerError(f"{port}: network {network.name} is internal, where no port can be published")
        if port.container not in network.subnet:
            raise DockerError(f"{port}: {port.container} is outside {network.name}'s subnet {network.subnet}")
        if port.container6 is not None and (
            network.subnet6 is None or port.container6 not in network.subnet6
        ):
            raise DockerError(
                f"{port}: {port.container6} is outside {network.name}'s IPv6 subnet {network.subnet6}"
            )


def _check_host_ports(published: tuple[PublishedPort, ...]) -> None:
    """No two ports may need the same socket on the host: the second container would not start."""
    taken: dict[tuple[int, str], list[PublishedPort]] = {}
    for port in published:
        others = taken.setdefault((port.host_port, port.protocol), [])
        for other in others:
            if _meet(port.host_address, other.host_address):
                raise DockerError(f"{port}: {other} has this port of the host already")
        others.append(port)


def _meet(one: Address | None, other: Address | None) -> bool:
    """Whether two host addresses cover a common one; none at all covers everything."""
    if one is None or other is None:
        return True
    return one.version == other.version and (one == other or one.is_unspecified or other.is_unspecified)


def _check_unique(what: str, values: Iterable[str]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise DockerError(f"{what} {value} is given {count} times")


def _pairs(networks: tuple[BridgeNetwork, ...]) -> Iterable[tuple[BridgeNetwork, BridgeNetwork]]:
    return ((one, other) for number, one in enumerate(networks) for other in networks[number + 1 :])
