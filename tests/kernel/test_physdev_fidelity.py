"""physdev on packets over a bridge that br_netfilter shows to iptables, judged by the kernel.

one (10.2.0.2) and two (10.2.0.3) are on br0 of the host, right (10.1.0.2) is behind its eth1.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import pytest

from netverify.dataplane import HostView, Link, Packet, Route, Wire, World
from netverify.dataplane.trace import Trace
from netverify.kernel.firewall import Backend, Firewall
from netverify.ruleset import Ruleset
from tests.kernel.match_router import HOST, SILENCE, Router, Shot, compare, ruleset
from tests.kernel.small_net import mac, small_net

pytestmark = pytest.mark.needs("veth", "bridge", "AF_PACKET", "iptables", "br_netfilter")
GATEWAYS = {"one": "10.2.0.1", "two": "10.2.0.1", "right": "10.1.0.1"}
ADDRESSES = {"one": "10.2.0.2/24", "two": "10.2.0.3/24", "right": "10.1.0.2/24"}
STATION = 0x02420A020002
SYSCTLS = {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"}


@dataclass
class Bridge(Router):
    """A host with a bridge, and its three neighbours."""

    to_host: dict[str, str] = field(default_factory=dict)
    over: dict[tuple[str, str], str] = field(default_factory=dict)
    """The MAC address to send to: the host's, by neighbour; that of a neighbour on the same bridge."""

    def world(self, rules: Ruleset) -> World:
        """Four hosts with their wires."""
        links = (
            Link.of("lo", "127.0.0.1/8"),
            Link.of("br0", "10.2.0.1/24", is_bridge=True),
            Link("port1", master="br0"),
            Link("port2", master="br0"),
            Link.of("eth1", "10.1.0.1/24"),
        )
        views = [HostView(HOST, links, sysctls=SYSCTLS, ipv4=rules).with_connected_routes()]
        for name, address in ADDRESSES.items():
            way = Route(ip_network("0.0.0.0/0"), via=ip_address(GATEWAYS[name]), device="eth0")
            own = (Link.of("lo", "127.0.0.1/8"), Link.of("eth0", address))
            views.append(HostView(name, own, (way,)).with_connected_routes())
        cables = {"one": "port1", "two": "port2", "right": "eth1"}
        return World(
            views, [Wire(frozenset({(HOST, device), (name, "eth0")})) for name, device in cables.items()]
        )

    def trace(self, world: World, origin: str, packet: Packet) -> Trace:
        """From a socket of the neighbour, or the host."""
        return world.trace(packet, origin)

    def send(self, origin: str, packet: Packet) -> None:
        """To the neighbour itself where it is on the same bridge, else to the host."""
        bridged = (origin, str(packet.destination_address))
        self.macs = {origin: self.over.get(bridged, self.to_host[origin])}
        super().send(origin, packet)


@pytest.fixture(scope="module")
def router() -> Iterator[Bridge]:
    """one and two on the bridge, right beyond it."""
    with small_net(HOST, *ADDRESSES) as net:
        for name in net.namespaces:
            net.sysctl(name, "ipv6.conf.default.disable_ipv6", 1)
        net.bridge(HOST, "br0", 10)
        net.address(HOST, 10, "10.2.0.1/24")
        far = {
            "one": net.cable(HOST, "port1", "one", "eth0", bridge=10),
            "two": net.cable(HOST, "port2", "two", "eth0", bridge=10),
            "right": net.cable(HOST, "eth1", "right", "eth0"),
        }
        net.address(HOST, far["right"] - 1, "10.1.0.1/24")
        for name, index in far.items():
            net.address(name, index, ADDRESSES[name])
            net.introduce(HOST, 10 if name != "right" else index - 1, index, ADDRESSES[name])
        for name in SYSCTLS:
            net.sysctl(HOST, name.removeprefix("net."), 1)
        net.ready()
        senders = {}
        silent = ruleset(4, [("filter", "OUTPUT", "-j DROP")]).render()
        for name in ADDRESSES:
            Firewall(net.namespaces[name], net.visitor, Backend.NFT).restore(silent)
            senders[name] = net.socket(name, socket.AF_PACKET, socket.SOCK_RAW)
            senders[name].bind(("eth0", 0))
        to_host = {"one": mac(10), "two": mac(10), "right": mac(far["right"] - 1)}
        over = {("one", "10.2.0.3"): mac(far["two"]), ("two", "10.2.0.2"): mac(far["one"])}
        yield Bridge(net, {}, senders, to_host=to_host, over=over)


EITHER = ("", "! ")
NAMES = ("port1", "port+", "port2", "+")
MATCHES = [
    *(f"-m physdev {not_}--physdev-in {port}" for not_ in EITHER for port in NAMES),
    *(f"-m physdev {not_}--physdev-{what}" for not_ in EITHER for what in ("is-in", "is-out", "is-bridged")),
    "-i br0", "-i port1", "-i br+", "-m physdev --physdev-in port1 ! --physdev-is-bridged",
    "-m physdev --physdev-is-bridged ! --physdev-in port1",
]  # fmt: skip
OUT = [
    *(f"-m physdev {not_}--physdev-out {port}" for not_ in EITHER for port in NAMES),
    "-m physdev --physdev-in port1 --physdev-out port2",
    "-m physdev --physdev-in port1 ! --physdev-out port1",
]  # fmt: skip


@pytest.mark.parametrize("backend", list(Backend))
def test_ports_of_a_bridge(router: Bridge, backend: Backend) -> None:
    rules = [("mangle", chain, text) for chain in ("PREROUTING", "FORWARD", "INPUT") for text in MATCHES]
    rules += [("mangle", chain, text) for chain in ("FORWARD", "POSTROUTING") for text in OUT]
    addresses = {**{name: text.partition("/")[0] for name, text in ADDRESSES.items()}, HOST: "10.2.0.1"}
    ways = [
        ("one", "two"),
        ("two", "one"),
        ("one", HOST),
        ("one", "right"),
        ("right", "one"),
        ("right", HOST),
    ]
    shots: list[Shot] = []
    for number, (source, target) in enumerate(ways):
        there = "10.1.0.1" if (source, target) == ("right", HOST) else addresses[target]
        ports = {"sport": 5000 + number, "dport": 80}
        shots.append((source, Packet.of(addresses[source], there, "udp", **ports, length=120, mac=STATION)))
    compare(router, backend, ruleset(4, [*rules, *SILENCE]), shots)
