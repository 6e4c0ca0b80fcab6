"""Hypothesis strategies of the topology room: address pools, parts, and whole topologies that are valid."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network

from hypothesis import strategies as st

from netverify.topology.devices import ROUTE_KINDS
from netverify.topology.model import (
    Address,
    Cable,
    CableEnd,
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    InterfaceAddress,
    Network,
    NetworkDriver,
    PortMapping,
    Role,
    Route,
    Segment,
    Topology,
)
from netverify.topology.networks import GATEWAY_MODES

LAN = "lan"
printable = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
lines = st.text(printable, max_size=30)
texts = st.lists(st.text(st.one_of(printable, st.just("\t")), max_size=12), max_size=4).map("\n".join)
# YAML has an opinion of its own about many of these.
names = st.one_of(
    st.sampled_from(
        ["a", "on", "No", "null", "1", "0x1F", "1e3", "2024-01-30", "c1.example", "True", "_".join("xy")]
    ),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True),
)
devices = st.from_regex(r"[!-$&-.0-9;-~]{1,15}", fullmatch=True).filter(
    lambda name: name not in (".", "..", "all", "default", "lo")
)
macs = st.binary(min_size=5, max_size=5).map(lambda rest: "06:" + rest.hex(":"))
ports = st.integers(1, 65535)
mtus = st.one_of(st.none(), st.integers(1280, 9000))
settings_ = st.dictionaries(
    st.sampled_from(["net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/rp_filter", "net.core.somaxconn"]),
    st.one_of(st.integers(0, 2).map(str), lines),
    max_size=2,
)
services = st.lists(st.tuples(st.sampled_from(["tcp", "udp"]), ports), max_size=2, unique=True).map(tuple)
small_pools: st.SearchStrategy[IPv4Network | IPv6Network] = st.one_of(
    st.integers(26, 32).map(lambda length: IPv4Network(f"10.7.3.64/{length}")),
    st.integers(122, 128).map(lambda length: IPv6Network(f"fd00:7::40/{length}")),
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Any route by itself, whether or not somebody could use it."""
    version = draw(st.sampled_from([4, 6]))
    everything = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    near = ip_address("10.1.2.3" if version == 4 else "fd00::3")
    destination = draw(
        st.sampled_from(
            [everything, ip_network(near), ip_network("10.0.0.0/8" if version == 4 else "fd00::/48")]
        )
    )
    kind = draw(st.sampled_from(ROUTE_KINDS))
    if kind != "unicast":
        return Route(destination, kind=kind)
    via = draw(st.sampled_from([None, near]))
    device = draw(devices if via is None else st.one_of(st.none(), devices))
    source = draw(st.sampled_from([None, near]))
    onlink = via is not None and device is not None and draw(st.booleans())
    return Route(destination, via, device, source, kind, onlink)


@st.composite
def port_mappings(draw: st.DrawFn) -> PortMapping:
    """Any published port by itself."""
    addresses = ["127.0.0.1", "0.0.0.0", "::", "::1", "203.0.113.9", "2001:db8::9"]
    address = draw(st.one_of(st.none(), st.sampled_from(addresses).map(ip_address)))
    return PortMapping(draw(ports), draw(ports), draw(st.sampled_from(["tcp", "udp", "sctp"])), address)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """A valid topology: hosts on a LAN, networks of every driver, containers in every mode, cables."""
    drawn = draw(st.lists(names, min_size=4, max_size=9, unique=True))
    host_names = drawn[: draw(st.integers(1, min(3, len(drawn) - 1)))]
    hosts = [draw(_hosts(name, number)) for number, name in enumerate(host_names)]
    networks = _networks(draw, host_names)
    containers = _containers(draw, drawn[len(hosts) :], host_names, networks)
    owners = [*host_names, *(container.name for container in containers if container.has_namespace)]
    return Topology(
        draw(names),
        draw(lines),
        tuple(draw(st.lists(lines, max_size=2))),
        tuple(hosts),
        (
            Segment(LAN, tuple(map(ip_network, draw(st.sampled_from([(), ("192.168.0.0/16",)]))))),
            Segment("empty"),
        ),
        tuple(networks),
        tuple(containers),
        tuple(_cables(draw, owners)),
        draw(st.dictionaries(names, texts, max_size=2)),
    )


@st.composite
def _hosts(draw: st.DrawFn, name: str, number: int) -> Host:
    docker = draw(
        st.one_of(
            st.none(),
            st.builds(
                DockerDaemon,
                st.sampled_from(["18.05", "24.0.7", "27.0", "28.10"]),
                st.booleans(),
                st.booleans(),
                st.sampled_from(["ACCEPT", "DROP"]),
                forward_policy6=st.sampled_from(["ACCEPT", "DROP"]),
                backend=st.sampled_from(["iptables", "nftables"]),
                raw_rules=st.booleans(),
                accept_fwmark=st.sampled_from([None, "0x1", "1/3"]),
            ),
        )
    )
    addresses: list[InterfaceAddress] = [ip_interface(f"192.168.0.{number + 1}/16")]
    if draw(st.booleans()):
        addresses.append(ip_interface(f"2001:db8::{number + 1}/64"))
    spare = Interface(
        "spare0", mtu=draw(mtus), up=draw(st.booleans()), master=draw(st.sampled_from([None, "bare0"]))
    )
    gateway = ip_address("192.168.255.254")
    return Host(
        name,
        draw(st.sampled_from(Role)),
        draw(st.frozensets(st.sampled_from(["ipv4", "ipv6"]))),
        (Interface("eth0", tuple(addresses), LAN, mac=f"06:00:00:00:01:{number:02x}"), spare),
        (Interface("bare0", tuple(map(ip_interface, draw(st.sampled_from([(), ("10.99.0.1/24",)]))))),),
        draw(st.sampled_from([(), (Route(ip_network("0.0.0.0/0"), via=gateway),)])),
        draw(settings_),
        draw(st.booleans()),
        docker,
        None if docker else draw(st.one_of(st.none(), texts)),
        None if docker else draw(st.one_of(st.none(), texts)),
        draw(services),
    )


def _networks(draw: st.DrawFn, host_names: Sequence[str]) -> list[Network]:
    """Subnets by number, so that none overlap; one macvlan at most has the LAN's card for its parent."""
    networks = []
    for number, name in enumerate(draw(st.lists(names, max_size=4, unique=True))):
        driver = draw(st.sampled_from(NetworkDriver))
        overlay, divided = (
            driver is NetworkDriver.OVERLAY,
            driver in (NetworkDriver.MACVLAN, NetworkDriver.IPVLAN),
        )
        if (overlay and len(host_names) < 2) or (divided and any(not other.has_bridge for other in networks)):
            driver, overlay, divided = NetworkDriver.BRIDGE, False, False
        bridge = driver is NetworkDriver.BRIDGE
        subnets = [ip_network(f"10.{number}.0.0/24"), ip_network(f"fd00:{number}::/64")]
        wanted = draw(st.sampled_from([subnets, subnets[:1], subnets[1:], subnets[::-1]]))
        first = draw(st.booleans())
        modes = {NetworkDriver.MACVLAN: [None, "bridge", "vepa"], NetworkDriver.IPVLAN: [None, "l2", "l3"]}
        networks.append(
            Network(
                name,
                driver,
                tuple(host_names) if overlay else (draw(st.sampled_from(host_names)),),
                tuple(wanted),
                tuple(subnet.network_address + 5 for subnet in wanted) if first else (),
                "eth0" if divided else draw(st.sampled_from([None, f"br{number}"])),
                default_bridge=bridge and number == 0,
                default_route=draw(st.booleans()),
                internal=draw(st.booleans()),
                icc=not bridge or draw(st.booleans()),
                masquerade=not bridge or draw(st.booleans()),
                gateway_mode=draw(st.sampled_from(GATEWAY_MODES)) if bridge else "nat",
                gateway_mode6=draw(st.sampled_from(GATEWAY_MODES)) if bridge else "nat",
                host_binding=ip_address("127.0.0.1") if bridge and draw(st.booleans()) else None,
                trusted=("eth0", "wg0") if bridge and draw(st.booleans()) else (),
                mode=draw(st.sampled_from(modes.get(driver, [None]))),
                vni=4097 + number if overlay else None,
                mtu=draw(mtus),
            )
        )
    return networks


def _containers(
    draw: st.DrawFn, container_names: Sequence[str], host_names: Sequence[str], networks: Sequence[Network]
) -> list[Container]:
    containers: list[Container] = []
    for number, name in enumerate(container_names):
        host = draw(st.sampled_from(host_names))
        reachable = [network for network in networks if host in network.hosts]
        partners = [other.name for other in containers if other.host == host]
        modes = [
            "none",
            "host",
            *(["networks"] * 3 if reachable else []),
            *(f"container:{p}" for p in partners),
        ]
        mode = draw(st.sampled_from(modes))
        # Services get a port of their own: they may meet in one namespace.
        listens = ((draw(st.sampled_from(["tcp", "udp"])), 50000 + number),) if number % 2 else ()
        if mode != "networks":
            containers.append(
                Container(
                    name, host, mode=mode, sysctls=draw(settings_) if mode == "none" else {}, listens=listens
                )
            )
            continue
        chosen = draw(st.lists(st.sampled_from(reachable), min_size=1, max_size=3, unique=True))
        publish = [
            PortMapping(8000 + number, draw(ports), (address and "udp") or "tcp", address)
            for address in draw(
                st.sampled_from([(), (None,), (ip_address("127.0.0.1"),), (ip_address("::"),)])
            )
        ]
        containers.append(
            Container(
                name,
                host,
                tuple(_endpoint(draw, network, number, place) for place, network in enumerate(chosen)),
                publish=tuple(publish),
                listens=listens,
                routes=draw(st.sampled_from([(), (Route(ip_network("10.200.0.0/16"), kind="blackhole"),)])),
                sysctls=draw(settings_),
            )
        )
    return containers


def _endpoint(draw: st.DrawFn, network: Network, number: int, place: int) -> Endpoint:
    addresses: tuple[Address, ...] = tuple(
        subnet.network_address + 100 + number for subnet in network.subnets
    )
    return Endpoint(
        network.name,
        draw(st.sampled_from([(), addresses, addresses[:1], addresses[-1:]])),
        draw(st.sampled_from([None, f"net{place}"])),
        None
        if network.driver is NetworkDriver.IPVLAN
        else draw(st.sampled_from([None, f"06:00:00:00:{place:02x}:{number + 16:02x}"])),
        f"port{number}.{place}" if network.has_bridge and draw(st.booleans()) else None,
    )


def _cables(draw: st.DrawFn, owners: Sequence[str]) -> list[Cable]:
    cables = []
    for number in range(draw(st.integers(0, 2))):
        ends = []
        for place in (1, 2):
            addresses = (ip_interface(f"172.30.{number}.{place}/24"),) if draw(st.booleans()) else ()
            interface = Interface(
                f"cable{number}.{place}",
                addresses,
                mac=draw(st.sampled_from([None, f"06:00:00:01:{number:02x}:{place:02x}"])),
                mtu=draw(mtus),
                up=draw(st.booleans()),
            )
            ends.append(CableEnd(draw(st.sampled_from(owners)), interface))
        cables.append(Cable((ends[0], ends[1])))
    return cables
