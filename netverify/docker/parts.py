"""What stands on a Docker host: bridge networks, containers attached to them, and what is published.

Only bridge networks stand here. Docker writes no rules for macvlan, ipvlan, host and none.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from netverify.docker.errors import DockerError
from netverify.docker.options import GatewayMode, check_device, check_gateway_modes

Address = IPv4Address | IPv6Address
Protocol = Literal["tcp", "udp", "sctp"]
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "sctp")
"""What can be published, in the order in which engines since 27.0 program them."""

GATEWAY_BRIDGE = "docker_gwbridge"
"""The bridge through which a swarm's tasks reach the outside, and the ingress reaches them."""


@dataclass(frozen=True, slots=True)
class BridgeNetwork:
    """`docker network create --driver bridge`.

    `bridge` is the device's name (com.docker.network.bridge.name). `subnet6` is given for networks with
    IPv6 only. `default` marks the network "bridge", normally docker0, which the daemon makes anew at each
    start. `host_binding` is the address that ports are published on when they name none
    (com.docker.network.bridge.host_binding_ipv4; the daemon's --ip for the default bridge). `host_ipv4`
    and `host_ipv6` make outgoing traffic leave with that source, by SNAT instead of MASQUERADE.
    `gateway_mode` and `gateway_mode6` are of IPv4 and IPv6. Through the devices `trusted` packets may come
    directly to containers' addresses (com.docker.network.bridge.trusted_host_interfaces).
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
    gateway_mode: GatewayMode = "nat"
    gateway_mode6: GatewayMode = "nat"
    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise DockerError(f"the network on bridge {self.bridge} has no name")
        subject = f"network {self.name}"
        check_device(subject, self.bridge)
        for device in self.trusted:
            check_device(subject, device, "a trusted device")
        check_gateway_modes(subject, (self.gateway_mode, self.gateway_mode6), internal=self.internal)
        if self.host_ipv6 is not None and self.subnet6 is None:
            raise DockerError(f"{subject}: host_ipv6 needs a network with an IPv6 subnet")

    def mode(self, version: int) -> GatewayMode:
        """The gateway mode of a family, 4 or 6."""
        return self.gateway_mode if version == 4 else self.gateway_mode6


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's place on a network: its addresses there, whether it publishes anything or not.

    Attachments with the same `container` name are those of one container; without a name each is one of its
    own.
    """

    network: str
    address: IPv4Address
    address6: IPv6Address | None = None
    container: str = ""


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
class Link:
    """`docker run --link`, of the default bridge: `client` may ask a port that `server` exposes.

    The engine writes rules for IPv4 alone. They matter on a bridge with icc=false.
    """

    network: str
    client: IPv4Address
    server: IPv4Address
    port: int
    protocol: Protocol = "tcp"

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise DockerError(f"link {self.client} to {self.server}: port {self.port} is not 1 to 65535")


@dataclass(frozen=True, slots=True)
class Ingress:
    """A swarm's routing mesh on this host: `ports` that services publish, by (number, protocol).

    `address` is that of the ingress sandbox on docker_gwbridge, where the mesh takes over.
    """

    address: IPv4Address
    ports: tuple[tuple[int, Protocol], ...] = ()

    def __post_init__(self) -> None:
        for number, protocol in self.ports:
            if not 0 < number < 65536 or protocol not in PROTOCOLS:
                raise DockerError(f"ingress: {number}/{protocol} is no port with its protocol")
        if len(set(self.ports)) != len(self.ports):
            raise DockerError("ingress: a port is published twice")
