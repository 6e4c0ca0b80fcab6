"""The hosts over which engines are compared: between them, every option in every value that a version has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import product

from netverify.docker import Attachment, BridgeNetwork, DockerHost, Link, PublishedPort, Version
from netverify.docker.version import (
    DIRECT_ROUTING,
    FORWARD_POLICY_ON_DEMAND,
    HOST_IPV6,
    IP6TABLES,
    RAW_OPT_OUT,
    ROUTED_MODE,
    UNPROTECTED_AND_ISOLATED_MODES,
)

DEFAULT = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True)


def hosts(version: str, *, sctp: bool = True) -> dict[str, DockerHost]:
    """The hosts for an engine of this version, by name; `sctp` says whether the kernel has that protocol."""
    engine = Version.parse(version)
    found: dict[str, DockerHost] = {}
    for proxy in (True, False):
        base = DockerHost(version, userland_proxy=proxy, ip6tables=engine.has(IP6TABLES))
        name = f"proxy={'on' if proxy else 'off'}"
        found[f"options,{name}"] = replace(base, networks=(DEFAULT, *_option_networks(engine)))
        found[f"containers,{name}"] = _with_containers(base, engine)
        found[f"ports,{name}"] = _with_ports(base, sctp=sctp)
        if engine.has(ROUTED_MODE):
            found[f"modes,{name}"] = _with_modes(base, engine)
    plain = DockerHost(version)
    closed = replace(DEFAULT, icc=False)
    found["default bridge,icc=false"] = _with_link(replace(plain, networks=(closed,)))
    found["default bridge,masquerade=false"] = replace(plain, networks=(replace(DEFAULT, masquerade=False),))
    dual = replace(DEFAULT, subnet6=IPv6Network("fd00:17::/64"))
    # There the engine gives out the addresses itself; until 27 the IPv6 one is made of the MAC address.
    number = 2 if engine >= Version(28, 0) else 0x0242_AC11_0002
    six = Attachment("bridge", dual.subnet[2], IPv6Address(int(dual.subnet6.network_address) + number))
    found["default bridge,ipv6"] = replace(
        plain, networks=(dual,), ip6tables=engine.has(IP6TABLES), published=(_port(six, "8080:80"),)
    )
    found["no networks"] = plain
    found["ip6tables off"] = replace(
        plain,
        networks=(DEFAULT, _network("six", 18, dual=True)),
        ip6tables=False if engine.has(IP6TABLES) else None,
    )
    forwarding = {"forward_policy": "ACCEPT", "forward_policy6": "ACCEPT"}
    pair = (DEFAULT, _network("six", 18, dual=True))
    found["host forwards"] = replace(plain, networks=pair, ip6tables=engine.has(IP6TABLES), **forwarding)
    if engine.has(FORWARD_POLICY_ON_DEMAND):
        found["no drop"] = replace(plain, networks=pair, ip_forward_no_drop=True)
        found["ipv4 alone"] = replace(plain, networks=(DEFAULT, _network("four", 18)))
    if engine.has(RAW_OPT_OUT):
        found["no raw rules"] = replace(found["ports,proxy=on"], raw_rules=False)
    if engine.has(DIRECT_ROUTING):
        direct = found["containers,proxy=on"]
        found["direct routing"] = replace(direct, allow_direct_routing=True)
        trusting = _network("trusting", 30, dual=True, trusted=("eth0", "wg0"))
        found["trusted"] = replace(
            plain,
            networks=(DEFAULT, trusting),
            published=_ports(trusting, 2, "8080:80"),
            attached=(_at(trusting, 3),),
        )
    return found


def _network(name: str, number: int, *, dual: bool = False, **options: object) -> BridgeNetwork:
    subnet6 = IPv6Network(f"fd00:{number}::/64") if dual else None
    return BridgeNetwork(
        name,
        f"br-{name}",
        IPv4Network(f"172.{number}.0.0/16"),
        subnet6,
        **options,  # type: ignore[arg-type]
    )


def _option_networks(engine: Version) -> Iterator[BridgeNetwork]:
    """Networks over the product of the options that give a network its rules."""
    switches = product((False, True), repeat=4)
    for number, (internal, icc, masquerade, dual) in enumerate(switches, 18):
        yield _network(f"n{number}", number, dual=dual, internal=internal, icc=icc, masquerade=masquerade)
    if engine.has(IP6TABLES):
        yield _network("snat4", 40, host_ipv4=IPv4Address("192.0.2.1"))
    if engine.has(HOST_IPV6):
        yield _network("snat6", 41, dual=True, host_ipv6=IPv6Address("2001:db8::1"))


def _at(network: BridgeNetwork, number: int, container: str = "") -> Attachment:
    six = None if network.subnet6 is None else network.subnet6[number]
    return Attachment(network.name, network.subnet[number], six, container)


def _ports(network: BridgeNetwork, number: int, *texts: str) -> tuple[PublishedPort, ...]:
    """Ports of the network's container of that number, as `address@host port:container port/protocol`."""
    place = _at(network, number)
    return tuple(_port(place, text) for text in texts)


def _port(place: Attachment, text: str) -> PublishedPort:
    address, _, mapping = text.rpartition("@")
    numbers, _, protocol = mapping.partition("/")
    host, container = map(int, numbers.split(":"))
    return PublishedPort(
        place.network,
        place.address,
        container,
        host,
        protocol or "tcp",  # type: ignore[arg-type]
        ip_address(address) if address else None,
        place.address6,
    )


def _with_containers(base: DockerHost, engine: Version) -> DockerHost:
    """Containers that publish and that do not, of one network and of several, on networks of every kind."""
    a, b = _network("a", 18), _network("b", 19, dual=True)
    inside, closed = (
        _network("inside", 20, dual=True, internal=True),
        _network("closed", 21, dual=True, icc=False),
    )
    attached = (
        _at(a, 2),
        _at(b, 3, "both"),
        _at(a, 3, "both"),
        _at(inside, 2),
        _at(b, 4, "inward"),
        _at(inside, 3, "inward"),
        _at(closed, 2),
    )
    published = (
        *_ports(b, 3, "8003:80"),
        *_ports(b, 4, "8004:80", "8005:80", "1053:53/udp"),
        *_ports(closed, 2, "127.0.0.1@8006:80"),
    )
    return replace(base, networks=(DEFAULT, a, b, inside, closed), attached=attached, published=published)


def _with_ports(base: DockerHost, *, sctp: bool) -> DockerHost:
    """Every kind of publication, to containers with and without IPv6, of networks with and without a default.

    None on port 53: the engine's own programs would ask there for names.
    """
    more = ("36412:36412/sctp", "36413:36412/sctp") if sctp else ()
    four, six = _network("four", 18), _network("six", 19, dual=True)
    local = _network("local", 20, dual=True, host_binding=IPv4Address("127.0.0.1"))
    published = (
        *_ports(four, 2, "8080:80", "5300:53/udp", *more[:1]),
        *_ports(four, 3, "192.0.2.1@8081:80", "127.0.0.1@8082:80", "0.0.0.0@8083:90"),
        *_ports(four, 4, *(f"{port}:{port - 1000}" for port in range(9000, 9004))),
        *_ports(six, 2, "8090:80", "1053:53/udp", *more[1:]),
        *_ports(
            six,
            3,
            "2001:db8::1@8091:80",
            "::1@8092:80",
            "::@8093:80",
            "192.0.2.1@8094:80",
            "127.0.0.1@8095:80",
        ),
        *_ports(local, 2, "8100:80", "0.0.0.0@8101:81"),
    )
    return replace(base, networks=(DEFAULT, four, six, local), published=published)


def _with_modes(base: DockerHost, engine: Version) -> DockerHost:
    """Gateway modes, of both families in all pairs, with containers that publish and that do not."""
    modes = ["nat", "routed"]
    networks: list[BridgeNetwork] = []
    if engine.has(UNPROTECTED_AND_ISOLATED_MODES):
        modes.append("nat-unprotected")
        networks.append(
            _network("alone", 40, dual=True, internal=True, gateway_mode="isolated", gateway_mode6="isolated")
        )
    for number, (mode, mode6) in enumerate(product(modes, repeat=2), 18):
        options = {"gateway_mode": mode, "gateway_mode6": mode6, "icc": number % 2 == 0}
        networks.append(_network(f"m{number}", number, dual=True, **options))
    published = [
        port
        for number, network in enumerate(networks)
        if not network.internal
        for port in _ports(network, 2, f"{8000 + number}:80", f"{9000 + number}:81/udp")
    ]
    places = [_at(network, 3) for network in networks]
    return replace(base, networks=(DEFAULT, *networks), published=tuple(published), attached=tuple(places))


def _with_link(base: DockerHost) -> DockerHost:
    """A container that is linked to another, on a bridge with icc=false."""
    places = (_at(DEFAULT, 2, "server"), _at(DEFAULT, 3, "client"))
    link = Link("bridge", places[1].address, places[0].address, 80)
    return replace(base, attached=places, links=(link,))
