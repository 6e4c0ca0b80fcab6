"""A Docker host in Docker's own words: the daemon's options, and what stands on the host (`parts.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import combinations
from typing import Literal

from netverify.docker.errors import DockerError
from netverify.docker.options import parse_mark, require_gateway_mode
from netverify.docker.parts import (
    GATEWAY_BRIDGE,
    PROTOCOLS,
    Address,
    Attachment,
    BridgeNetwork,
    Ingress,
    Link,
    Protocol,
    PublishedPort,
)
from netverify.docker.version import (
    ACCEPT_FWMARK,
    DIRECT_ROUTING,
    FORWARD_POLICY_ON_DEMAND,
    HOST_IPV4,
    HOST_IPV6,
    IP6TABLES,
    IP6TABLES_BY_DEFAULT,
    NFTABLES_BACKEND,
    RAW_OPT_OUT,
    SCTP_CHECKSUM_ON_DEMAND,
    SCTP_CHECKSUM_REMOVED,
    Backend,
    Change,
    Generation,
    Version,
    generation_of,
)

__all__ = [
    "GATEWAY_BRIDGE",
    "PROTOCOLS",
    "Address",
    "Attachment",
    "BridgeNetwork",
    "DockerHost",
    "Ingress",
    "Link",
    "Protocol",
    "PublishedPort",
]

ForwardPolicy = Literal["ACCEPT", "DROP"]


@dataclass(frozen=True, slots=True)
class DockerHost:
    """A host with a Docker daemon: the daemon's options, its networks, its containers, what they publish.

    `networks` stand in the order in which the daemon set them up, oldest first, which decides the order of
    the rules. On a fresh host the default bridge is the oldest; after a restart of the daemon it is the
    newest. `attached` and `published` stand in the order in which containers started; a container that
    publishes something need not be named in `attached`.

    `forward_policy` is the IPv4 policy of FORWARD after the daemon's start: DROP when the daemon itself
    turned ip_forward on, ACCEPT when the host already forwarded. `forward_policy6` is the same for IPv6,
    where engines before 28.0 always set DROP. `ip_forward_no_drop` (28.0) leaves both policies alone.
    `ip6tables` left out means the version's default.

    `raw_rules` is false under DOCKER_INSECURE_NO_IPTABLES_RAW=1, `sctp_checksum` true under
    DOCKER_IPTABLES_SCTP_CHECKSUM=1 (28.0 to 28.5). `accept_fwmark` is --bridge-accept-fwmark.
    """

    version: str
    networks: tuple[BridgeNetwork, ...] = ()
    published: tuple[PublishedPort, ...] = ()
    forward_policy: ForwardPolicy = "DROP"
    userland_proxy: bool = True
    iptables: bool = True
    ip6tables: bool | None = None
    forward_policy6: ForwardPolicy = "DROP"
    ip_forward_no_drop: bool = False
    allow_direct_routing: bool = False
    raw_rules: bool = True
    sctp_checksum: bool = False
    accept_fwmark: str | None = None
    backend: Backend = "iptables"
    attached: tuple[Attachment, ...] = ()
    links: tuple[Link, ...] = ()
    ingress: Ingress | None = None

    def __post_init__(self) -> None:
        self._check_options()
        for network in self.networks:
            self._check_network(network)
        _check_unique("network name", (network.name for network in self.networks))
        _check_unique("bridge", (network.bridge for network in self.networks))
        _check_unique("default bridge", ("default" for network in self.networks if network.default))
        for one, other in combinations(self.networks, 2):
            if one.subnet.overlaps(other.subnet):
                raise DockerError(
                    f"networks {one.name} and {other.name} overlap: {one.subnet}, {other.subnet}"
                )
        for attachment in self.attached:
            self._check_place(str(attachment.address), attachment)
        for port in self.published:
            network = self._check_place(str(port), _place(port))
            if network.internal:
                raise DockerError(
                    f"{port}: network {network.name} is internal, where no port can be published"
                )
        _check_host_ports(self.published)
        for link in self.links:
            for address in (link.client, link.server):
                self._check_place(f"link of {address}", Attachment(link.network, address))

    @property
    def engine(self) -> Version:
        """The version as a value that can be compared."""
        return Version.parse(self.version)

    @property
    def generation(self) -> Generation:
        """The generation of rules that the daemon writes."""
        return generation_of(self.version, self.backend)

    @property
    def filters_ipv6(self) -> bool:
        """Whether the daemon writes ip6tables rules."""
        return self.engine.has(IP6TABLES_BY_DEFAULT) if self.ip6tables is None else self.ip6tables

    @property
    def fills_sctp_checksums(self) -> bool:
        """Whether the daemon writes a CHECKSUM rule for each SCTP port: on demand since 28.0, never in 29."""
        wanted = self.sctp_checksum or not self.engine.has(SCTP_CHECKSUM_ON_DEMAND)
        return wanted and not self.engine.has(SCTP_CHECKSUM_REMOVED)

    def network(self, name: str) -> BridgeNetwork:
        """The network of that name. Raises DockerError."""
        for network in self.networks:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in self.networks) or "none"
        raise DockerError(f"no bridge network {name!r}; this host has: {names}")

    def attachments(self) -> tuple[Attachment, ...]:
        """Every container's place on a network: those named, and those of which only ports are known."""
        places = {(one.network, one.address): one for one in self.attached}
        for port in self.published:
            places.setdefault((port.network, port.container), _place(port))
        return tuple(places.values())

    def policy_drop(self, version: int) -> bool:
        """Whether the daemon sets FORWARD's policy of a family, 4 or 6, to DROP.

        Source: moby libnetwork/drivers/bridge/setup_ip_forwarding.go; since 28.0 per network, when the first
        network of the family finds that family's forwarding off.
        """
        if not self.engine.has(FORWARD_POLICY_ON_DEMAND):
            return version == 6 or self.forward_policy == "DROP"
        if self.ip_forward_no_drop or (self.forward_policy, self.forward_policy6)[version == 6] == "ACCEPT":
            return False
        return any(version == 4 or network.subnet6 is not None for network in self.networks)

    def _check_options(self) -> None:
        if self.backend == "nftables":
            self._require(NFTABLES_BACKEND, "the nftables backend")
        generation_of(self.version, self.backend)
        for policy in (self.forward_policy, self.forward_policy6):
            if policy not in ("ACCEPT", "DROP"):
                raise DockerError(f"forward policy {policy!r} is neither ACCEPT nor DROP")
        wanted: tuple[tuple[Change, str, bool], ...] = (
            (IP6TABLES, "ip6tables", bool(self.ip6tables)),
            (FORWARD_POLICY_ON_DEMAND, "ip_forward_no_drop", self.ip_forward_no_drop),
            (DIRECT_ROUTING, "allow_direct_routing", self.allow_direct_routing),
            (RAW_OPT_OUT, "raw_rules off", not self.raw_rules),
            (SCTP_CHECKSUM_ON_DEMAND, "sctp_checksum", self.sctp_checksum),
            (ACCEPT_FWMARK, "accept_fwmark", self.accept_fwmark is not None),
        )
        for change, what, is_set in wanted:
            if is_set:
                self._require(change, what)
        if self.accept_fwmark is not None:
            parse_mark(self.accept_fwmark)
        if self.ingress is not None:
            self._check_ingress(self.ingress)

    def _check_ingress(self, ingress: Ingress) -> None:
        if self.backend == "nftables":
            raise DockerError("ingress: a swarm does not run on the nftables backend")
        bridges = {network.bridge: network for network in self.networks}
        if GATEWAY_BRIDGE not in bridges or ingress.address not in bridges[GATEWAY_BRIDGE].subnet:
            raise DockerError(f"ingress: {ingress.address} is on no network with bridge {GATEWAY_BRIDGE}")

    def _check_network(self, network: BridgeNetwork) -> None:
        subject = f"network {network.name}"
        wanted = (
            (HOST_IPV4, "host_ipv4", network.host_ipv4 is not None),
            (HOST_IPV6, "host_ipv6", network.host_ipv6 is not None),
            (DIRECT_ROUTING, "trusted", bool(network.trusted)),
        )
        for change, what, is_set in wanted:
            if is_set:
                self._require(change, f"{subject}: {what}")
        for mode in (network.gateway_mode, network.gateway_mode6):
            require_gateway_mode(subject, mode, self.engine)

    def _check_place(self, subject: str, place: Attachment) -> BridgeNetwork:
        """The network that the addresses belong to."""
        network = self.network(place.network)
        address, address6 = place.address, place.address6
        if address not in network.subnet:
            raise DockerError(f"{subject}: {address} is outside {network.name}'s subnet {network.subnet}")
        if address6 is not None and (network.subnet6 is None or address6 not in network.subnet6):
            raise DockerError(
                f"{subject}: {address6} is outside {network.name}'s IPv6 subnet {network.subnet6}"
            )
        return network

    def _require(self, change: Change, what: str) -> None:
        if not self.engine.has(change):
            raise DockerError(f"{what}: not before Docker {change.since}, and this is {self.version}")


def containers(host: DockerHost) -> Iterator[tuple[Attachment, ...]]:
    """The host's containers in the order of their start, each as its attachments."""
    grouped: dict[object, list[Attachment]] = {}
    for number, attachment in enumerate(host.attachments()):
        grouped.setdefault(attachment.container or number, []).append(attachment)
    return map(tuple, grouped.values())


def ports_of(host: DockerHost, network: str, address: IPv4Address) -> tuple[PublishedPort, ...]:
    """What the container with that address publishes, in the order given."""
    return tuple(port for port in host.published if (port.network, port.container) == (network, address))


def _place(port: PublishedPort) -> Attachment:
    return Attachment(port.network, port.container, port.container6)


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
