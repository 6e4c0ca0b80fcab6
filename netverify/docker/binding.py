"""Which sockets and rules a published port becomes: one binding for each address family of the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from netverify.docker.config import (
    PROTOCOLS,
    Address,
    Attachment,
    BridgeNetwork,
    DockerHost,
    Protocol,
    PublishedPort,
    containers,
    ports_of,
)
from netverify.docker.version import (
    BINDING_PER_FAMILY,
    PORTS_SORTED,
    PROXY_6_TO_4,
    PROXY_ANSWERS_AS_ASKED,
    ROUTED_PORTS_ALWAYS_OPEN,
    Version,
)

ANY_IPV4 = IPv4Address("0.0.0.0")
ANY_IPV6 = IPv6Address("::")
_ANY: dict[int, Address] = {4: ANY_IPV4, 6: ANY_IPV6}


@dataclass(frozen=True, slots=True)
class Binding:
    """A host address and port, and the container's address and port that it stands for.

    The two addresses may be of different families: then only the userland proxy can carry the traffic. In a
    routed network a port is opened on the container's own address, and `host_port` is 0: the host has none.
    """

    network: BridgeNetwork
    protocol: Protocol
    host_address: Address
    host_port: int
    container: Address
    container_port: int

    @property
    def is_translated(self) -> bool:
        """Whether rules can carry it, because both sides are of one address family."""
        return self.host_address.version == self.container.version

    @property
    def is_on_host(self) -> bool:
        """Whether the host itself takes part with a port of its own."""
        return self.host_port != 0


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that Docker holds on the host, bound to `address` and `port`.

    With the userland proxy, what it accepts is passed to `target`, from the host's own address. Without
    the proxy (`target` is None) the socket only keeps the port from others: the kernel answers a TCP
    connection that reaches it, and nobody reads from it.

    A proxy for UDP on all addresses `answers_as_asked`, from the address that it was asked at, or else from
    the one that the kernel picks for the way back.
    """

    protocol: Protocol
    address: Address
    port: int
    target: tuple[Address, int] | None
    answers_as_asked: bool = True


def bindings(host: DockerHost) -> tuple[Binding, ...]:
    """All bindings of the host's published ports, in the order in which the daemon makes them.

    Source: moby libnetwork/drivers/bridge/port_mapping.go, allocatePortsInternal (to 26.1), and
    port_mapping_linux.go, addPortMappings (27.0 and later).
    """
    return tuple(
        binding
        for container in containers(host)
        for place in container
        for binding in bindings_of(host, place)
    )


def bindings_of(host: DockerHost, place: Attachment) -> tuple[Binding, ...]:
    """The bindings of what one container publishes through one network, in the daemon's order.

    Since 29.0 that is on a routed network what the container publishes through another one, too.
    """
    sort = _by_container_port if host.engine.has(PORTS_SORTED) else _by_host_port
    ports = sort(list(ports_of(host, place.network, place.address)))
    found = [binding for port in ports for binding in _of_port(host, port)]
    if host.engine.has(ROUTED_PORTS_ALWAYS_OPEN) and not host.network(place.network).internal:
        others = sort(list(_published_elsewhere(host, place)))
        found += [one for port in others for one in _of_port(host, port) if not one.is_on_host]
    return tuple(found)


def listeners(host: DockerHost) -> tuple[Listener, ...]:
    """The sockets that the daemon holds on the host for its published ports.

    Those of a swarm's mesh take both families, and nobody reads from them: rules lead IPv4 past them.
    Sources: moby libnetwork/portmapper/mapper.go (MapRange, newDummyProxy), cmd/proxy, and
    libnetwork/service_linux.go (plumbProxy).
    """
    mesh = () if host.ingress is None else host.ingress.ports
    reserved = (
        Listener(protocol, address, port, None) for port, protocol in mesh for address in (ANY_IPV4, ANY_IPV6)
    )
    return (*_of_bindings(host), *reserved)


def _of_bindings(host: DockerHost) -> tuple[Listener, ...]:
    return tuple(
        Listener(
            binding.protocol,
            address,
            binding.host_port,
            (binding.container, binding.container_port) if host.userland_proxy else None,
            answers_as_asked=host.engine.has(PROXY_ANSWERS_AS_ASKED),
        )
        for binding in bindings(host)
        if binding.is_on_host
        for address in _socket_addresses(host.engine, binding.host_address)
    )


def _published_elsewhere(host: DockerHost, place: Attachment) -> Iterator[PublishedPort]:
    """What the container at this place publishes through its other networks, as if it were through this."""
    own = {
        (one.network, one.address)
        for one in host.attached
        if place.container and one.container == place.container and one.network != place.network
    }
    for port in host.published if own else ():
        if (port.network, port.container) in own:
            yield replace(port, network=place.network, container=place.address, container6=place.address6)


def _by_container_port(ports: list[PublishedPort]) -> list[PublishedPort]:
    """The order since 27.0: moby's cmpPortBinding, where no address stands before IPv4 before IPv6."""

    def key(port: PublishedPort) -> tuple[int, int, int, int, int]:
        address = port.host_address
        family, number = (0, 0) if address is None else (address.version, int(address))
        protocol = PROTOCOLS.index(port.protocol)
        return port.container_port, protocol, port.host_port, family, number

    return sorted(ports, key=key)


def _by_host_port(ports: list[PublishedPort]) -> list[PublishedPort]:
    """The order until 26: container ports by their highest host port, falling; host ports likewise.

    Source: go-connections nat/sort.go, SortPortMap, called from moby daemon/network.go. Its comparison
    contradicts itself where host ports fall and container ports rise; then the engine's order is not fixed,
    and this is one of those that it may choose.
    """
    falling = sorted(ports, key=lambda port: (-port.host_port, -port.container_port, port.protocol != "tcp"))
    groups: dict[tuple[int, str], list[PublishedPort]] = {}
    for port in falling:
        groups.setdefault((port.container_port, port.protocol), []).append(port)
    return [port for group in groups.values() for port in group]


def _of_port(host: DockerHost, port: PublishedPort) -> Iterator[Binding]:
    network = host.network(port.network)
    for address in _host_addresses(host.engine, port, network):
        container = _container_address(host, port, address)
        if container is None:
            continue
        if network.mode(container.version) != "routed":
            yield Binding(network, port.protocol, address, port.host_port, container, port.container_port)
        elif address.version == container.version:
            yield Binding(network, port.protocol, _ANY[address.version], 0, container, port.container_port)


def _host_addresses(engine: Version, port: PublishedPort, network: BridgeNetwork) -> tuple[Address, ...]:
    """The host addresses that the port is bound to: its own, else the network's, else all."""
    address = port.host_address if port.host_address is not None else network.host_binding
    if address is not None and (port.host_address is not None or address != ANY_IPV4):
        return (address,)
    return (ANY_IPV4, ANY_IPV6) if engine.has(BINDING_PER_FAMILY) else (ANY_IPV4,)


def _container_address(host: DockerHost, port: PublishedPort, address: Address) -> Address | None:
    """The container's address behind a host address; None when there is no way there, so no binding."""
    if isinstance(address, IPv4Address):
        return port.container
    if not host.engine.has(BINDING_PER_FAMILY):
        return port.container
    if port.container6 is not None:
        return port.container6
    return port.container if host.userland_proxy and host.engine.has(PROXY_6_TO_4) else None


def _socket_addresses(engine: Version, address: Address) -> tuple[Address, ...]:
    """The addresses on which a binding's socket accepts.

    Before 20.10 the engine did not tell Go which family to listen for, and Go's socket for 0.0.0.0 or [::]
    accepts both (net.Listen: an unspecified address means all addresses).
    """
    if address.is_unspecified and not engine.has(BINDING_PER_FAMILY):
        return (ANY_IPV4, ANY_IPV6)
    return (address,)
