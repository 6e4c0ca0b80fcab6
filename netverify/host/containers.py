"""What `docker inspect` prints of containers, and `docker network inspect` of networks.

Only what a packet can notice is read: environment variables, labels and commands are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface

from netverify.errors import Place
from netverify.host.cursor import Address, Cursor, Network
from netverify.host.devices import Device
from netverify.host.errors import SnapshotError
from netverify.host.routing import HostRoute
from netverify.topology.errors import quoted

# daemon/names/names.go of moby: RestrictedNameChars. Podman's are the same.
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


@dataclass(frozen=True)
class Publication:
    """A port of the host, on one of its addresses or (None) on all, published to a port of a container.

    `version` says that all addresses of one IP version are meant; None is both.
    """

    protocol: str
    host_address: Address | None
    host_port: int
    container_port: int
    version: int | None = None


@dataclass(frozen=True)
class Attachment:
    """A container on a network, as the engine wrote it down."""

    network: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    gateways: tuple[Address, ...] = ()
    mac: int | None = None


@dataclass(frozen=True)
class HostContainer:
    """A running container. `devices` and `routes` are those of its own namespace, None if not collected.

    `exposed` are the ports (protocol, number) that its image or its command names, published or not;
    `capabilities` those that it was given beyond what the engine gives everybody.
    """

    name: str
    identity: str
    mode: str = "bridge"
    attachments: tuple[Attachment, ...] = ()
    publications: tuple[Publication, ...] = ()
    exposed: tuple[tuple[str, int], ...] = ()
    privileged: bool = False
    capabilities: frozenset[str] = frozenset()
    devices: tuple[Device, ...] | None = None
    routes: tuple[HostRoute, ...] | None = None

    def with_namespace(
        self, devices: tuple[Device, ...] | None, routes: tuple[HostRoute, ...] | None
    ) -> HostContainer:
        """The container with what was seen inside."""
        return replace(self, devices=devices, routes=routes)


@dataclass(frozen=True)
class HostNetwork:
    """A network of the engine; `bridge` is the device of one with the driver bridge.

    `options` are the driver's; `is_ingress` says that it is a swarm's, which publishes services' ports.
    """

    name: str
    identity: str
    driver: str = "bridge"
    bridge: str | None = None
    subnets: tuple[Network, ...] = ()
    internal: bool = False
    ipv6: bool = False
    is_ingress: bool = False
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str, default: str = "") -> str:
        """An option of the driver; the names of the driver bridge begin with `com.docker.network.`."""
        return dict(self.options).get(name, default)


def read_containers(document: Cursor) -> tuple[HostContainer, ...]:
    """The running containers of docker-containers.json. Raises SnapshotError."""
    found = [_container(member) for member in document.items() if _is_running(member)]
    names = [container.name for container in found]
    for name in names:
        if names.count(name) > 1:
            raise SnapshotError(Place(document.file), f"two containers are called {name!r}", "each name once")
    return tuple(found)


def read_networks(document: Cursor) -> tuple[HostNetwork, ...]:
    """The networks of docker-networks.json. Raises SnapshotError."""
    return tuple(map(_network, document.items()))


def _is_running(container: Cursor) -> bool:
    return not container.has("State") or container.at("State").flag("Running")


def _container(container: Cursor) -> HostContainer:
    name = container.text("Name").removeprefix("/")
    if not _NAME.fullmatch(name):
        raise container.at("Name").error("a container's name, of letters, digits, `_`, `.` and `-`")
    config = container.at("HostConfig") if container.has("HostConfig") else None
    mode = config.text("NetworkMode", "bridge") if config is not None else "bridge"
    settings = container.at("NetworkSettings") if container.has("NetworkSettings") else None
    attachments: list[Attachment] = []
    publications: list[Publication] = []
    if settings is not None and settings.has("Networks"):
        attachments = [_attachment(key, member) for key, member in settings.at("Networks").members()]
    if settings is not None and settings.has("Ports"):
        for port, bindings in settings.at("Ports").members():
            publications += _publications(port, bindings)
    exposed = container.at("Config") if container.has("Config") else None
    return HostContainer(
        name,
        container.text("Id", name),
        mode,
        tuple(attachments),
        tuple(dict.fromkeys(publications)),
        tuple(_exposed(exposed)) if exposed is not None else (),
        config is not None and config.flag("Privileged"),
        _capabilities(config) if config is not None else frozenset(),
    )


def _exposed(config: Cursor) -> Iterator[tuple[str, int]]:
    for port, member in config.at("ExposedPorts").members() if config.has("ExposedPorts") else ():
        number, protocol = _port(port, member)
        yield protocol, number


def _capabilities(config: Cursor) -> frozenset[str]:
    """Podman writes CAP_NET_ADMIN, Docker repeats what it was told: NET_ADMIN, net_admin, CAP_NET_ADMIN."""
    if not config.has("CapAdd"):
        return frozenset()
    given = (member.typed(str) for member in config.at("CapAdd").items())
    return frozenset(name.upper().removeprefix("CAP_") for name in given)


def _port(port: str, member: Cursor) -> tuple[int, str]:
    """A key such as 80/tcp."""
    number, _, protocol = port.partition("/")
    if not (number.isascii() and number.isdecimal() and int(number) < 65536):
        raise member.error(f"a port before the slash of its key, and not {quoted(number)}")
    return int(number), protocol or "tcp"


def _attachment(network: str, given: Cursor) -> Attachment:
    addresses, gateways = [], []
    for key, length, gateway in (
        ("IPAddress", "IPPrefixLen", "Gateway"),
        ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway"),
    ):
        if given.has(key):
            addresses.append(given.at(key).interface(given.number(length, 0)))
        if given.has(gateway):
            gateways.append(given.at(gateway).address())
    mac = given.text("MacAddress", "").replace(":", "")
    if not re.fullmatch(r"([0-9a-fA-F]{12})?", mac):
        raise given.at("MacAddress").error("a MAC address")
    return Attachment(network, tuple(addresses), tuple(gateways), int(mac, 16) if mac else None)


def _publications(port: str, bindings: Cursor) -> list[Publication]:
    """The bindings of one port, which are null for a port that is exposed and not published."""
    if bindings.value is None:
        return []
    number, protocol = _port(port, bindings)
    found = []
    everywhere: dict[int, set[int]] = {}
    for binding in bindings.items():
        address = binding.at("HostIp").address() if binding.has("HostIp") else None
        port_of_host = binding.number("HostPort", 0)
        if address is None or address.is_unspecified:
            versions = {4, 6} if address is None else {address.version}
            everywhere.setdefault(port_of_host, set()).update(versions)
        else:
            found.append(Publication(protocol, address, port_of_host, number))
    for port_of_host, versions in everywhere.items():
        version = None if len(versions) == 2 else min(versions)
        found.append(Publication(protocol, None, port_of_host, number, version))
    return found


def _network(network: Cursor) -> HostNetwork:
    if not network.has("Name") and network.has("name"):
        return _podman_network(network)
    name, identity = network.text("Name"), network.text("Id", "")
    driver = network.text("Driver", "bridge")
    options = network.at("Options") if network.has("Options") else Cursor({}, network.file, network.path)
    subnets: list[Network] = []
    if network.has("IPAM") and network.at("IPAM").has("Config"):
        pools = network.at("IPAM").at("Config").items()
        subnets += (pool.at("Subnet").network() for pool in pools if pool.has("Subnet"))
    bridge = None
    if driver == "bridge":  # bridge_linux.go of moby: defaultBridgeName, and "br-" with 12 digits of the id
        default = "docker0" if name == "bridge" else f"br-{identity[:12]}"
        bridge = options.text("com.docker.network.bridge.name", default) or default
    return HostNetwork(
        name,
        identity,
        driver,
        bridge,
        tuple(subnets),
        network.flag("Internal"),
        network.flag("EnableIPv6"),
        network.flag("Ingress"),
        tuple((key, option.typed(str)) for key, option in options.members()),
    )


def _podman_network(network: Cursor) -> HostNetwork:
    """What Podman says: netavark's form (libnetwork/types of containers/common), or CNI's (its SPEC.md)."""
    name, identity = network.text("name"), network.text("id", "")
    plugins = list(network.at("plugins").items()) if network.has("plugins") else []
    if plugins:  # a chain of plugins, of which the first makes the device
        maker = plugins[0]
        driver, bridge = maker.text("type", ""), maker.text("bridge", "")
        subnets = [
            pool.at("subnet").network()
            for pools in (maker.at("ipam").at("ranges").items() if _has_ranges(maker) else ())
            for pool in pools.items()
            if pool.has("subnet")
        ]
        return HostNetwork(
            name,
            identity,
            driver,
            bridge or None if driver == "bridge" else None,
            tuple(subnets),
            maker.has("isGateway") and not maker.flag("isGateway"),
            any(subnet.version == 6 for subnet in subnets),
        )
    driver = network.text("driver", "bridge")
    given = network.at("subnets").items() if network.has("subnets") else ()
    options = network.at("options").members() if network.has("options") else ()
    return HostNetwork(
        name,
        identity,
        driver,
        network.text("network_interface", "") or None if driver == "bridge" else None,
        tuple(pool.at("subnet").network() for pool in given if pool.has("subnet")),
        network.flag("internal"),
        network.flag("ipv6_enabled"),
        options=tuple((key, str(member.value)) for key, member in options),
    )


def _has_ranges(plugin: Cursor) -> bool:
    return plugin.has("ipam") and plugin.at("ipam").has("ranges")
