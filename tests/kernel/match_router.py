"""A router whose rules count: the kernel's counters against the model's word, packet by packet.

left (10.0.0.2) - eth0 host eth1 - right (10.1.0.2), with routes of every kind, and a device that is down.
Frames go out of raw sockets of the neighbours; what the neighbours' own stacks say is dropped there, so
that nothing but the frames moves a counter.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from netverify.dataplane import HostView, Link, Packet, Route, World
from netverify.dataplane.ipset import IpSet
from netverify.dataplane.trace import Trace
from netverify.kernel.conntrack import Conntrack
from netverify.kernel.firewall import Backend, Firewall
from netverify.ruleset import Chain, RulePlace, Ruleset, Table, Target
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from tests.kernel.small_net import SmallNet, mac, small_net

HOST = "host"
DEVICES = {"left": "eth0", "right": "eth1"}
HOME = {
    "eth0": ("10.0.0.1/24", "fd00::1/64"),
    "eth1": ("10.1.0.1/24", "fd01::1/64"),
    "down0": ("10.7.0.1/24", "fd07::1/64"),
}
FAR = {"left": ("10.0.0.2/24", "fd00::2/64"), "right": ("10.1.0.2/24", "fd01::2/64")}
ROUTES = (
    Route(ip_network("192.0.2.0/25"), kind="blackhole"),
    Route(ip_network("192.0.2.128/25"), kind="unreachable"),
    Route(ip_network("198.51.100.0/24"), kind="prohibit"),
    Route(ip_network("203.0.113.0/24"), via=ip_address("10.1.0.2"), device="eth1"),
    Route(ip_network("2001:db8:1::/48"), kind="unreachable"),
    Route(ip_network("2001:db8:2::/48"), via=ip_address("fd01::2"), device="eth1"),
)
SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
_GROUP_MACS = {1: "ff:ff:ff:ff:ff:ff", 2: "01:00:5e:00:00:05"}  # of packets that are broadcast or multicast

SILENCE = [("raw", "OUTPUT", f"-p {icmp} -j DROP") for icmp in ("icmp", "ipv6-icmp")]
"""Keeps the host from answering with errors, which would count as well; what it counts is not compared."""

Shot = tuple[str, Packet]
"""Where a packet is sent from, a neighbour or the host itself, and the packet."""


@dataclass
class Router:
    """The host under test, in the kernel and as a view, and its two neighbours."""

    net: SmallNet
    macs: Mapping[str, str]
    senders: Mapping[str, socket.socket]
    sets: dict[str, IpSet] = field(default_factory=dict)

    def world(self, rules: Ruleset) -> World:
        """The host as the model knows it, alone."""
        links = [Link.of("lo", "127.0.0.1/8", "::1/128")]
        links += [Link.of(name, *addresses, up=name != "down0") for name, addresses in HOME.items()]
        both = {"ipv4": rules} if rules.family == "ipv4" else {"ipv6": rules}
        view = HostView(HOST, tuple(links), ROUTES, sysctls=SYSCTLS, sets=self.sets, **both)
        return World([view.with_connected_routes()], ())

    def trace(self, world: World, origin: str, packet: Packet) -> Trace:
        """What the model says of a packet from there."""
        if origin == HOST:
            return world.trace(packet, HOST)
        return world.enter(packet, HOST, DEVICES[origin])

    def firewall(self, backend: Backend) -> Firewall:
        """The host's firewall."""
        return Firewall(self.net.namespaces[HOST], self.net.visitor, backend)

    def send(self, origin: str, packet: Packet) -> None:
        """Send a packet from a neighbour, or from the host itself, and wait until it has gone its way."""
        if origin == HOST:
            self._send_own(packet)
        else:
            self.senders[origin].send(frame(packet, self.macs[origin]))
        self.net.settle()

    def _send_own(self, packet: Packet) -> None:
        """By a raw socket of the host that brings the IP header along."""
        kind = socket.AF_INET if packet.version == 4 else socket.AF_INET6
        with self.net.visitor.visit(
            self.net.namespaces[HOST], lambda: socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
        ) as sock:
            target = (str(packet.destination_address), 0)
            sock.sendto(bytes(Ether(frame(packet, _GROUP_MACS[1])).payload), target)


@contextmanager
def match_router() -> Iterator[Router]:
    """The router, in namespaces of its own."""
    with small_net(HOST, *DEVICES) as net:
        for name in net.namespaces:
            net.sysctl(name, "ipv6.conf.default.addr_gen_mode", 1)
            net.sysctl(name, "ipv6.conf.default.router_solicitations", 0)
        macs = {}
        for side, name in DEVICES.items():
            far = net.cable(HOST, name, side, "eth0")
            net.address(HOST, far - 1, *HOME[name])
            net.address(side, far, *FAR[side])
            net.introduce(HOST, far - 1, far, *FAR[side])
            macs[side] = mac(far - 1)
        net.run(HOST, "ip link add down0 type veth peer name down1")
        for address in HOME["down0"]:
            net.run(HOST, f"ip addr add {address} dev down0")
        for route in ROUTES:
            kind = "" if route.kind == "unicast" else route.kind
            via = f"via {route.via}" if route.via else ""
            net.run(HOST, f"ip route add {kind} {route.destination} {via}")
        for name in SYSCTLS:
            net.sysctl(HOST, name.removeprefix("net."), 1)
        net.ready()
        silent = ruleset(4, [("filter", "OUTPUT", "-j DROP")]).render()
        senders = {}
        for side in DEVICES:
            for version in (4, 6):
                Firewall(net.namespaces[side], net.visitor, Backend.NFT).restore(silent, version=version)
            senders[side] = net.socket(side, socket.AF_PACKET, socket.SOCK_RAW)
            senders[side].bind(("eth0", 0))
        yield Router(net, macs, senders)


# --- frames ----------------------------------------------------------------------------------------------


def frame(packet: Packet, to: str) -> bytes:
    """A packet of the model as an Ethernet frame, of the length that the packet says."""
    header = _header(packet)
    size = packet.length - len(bytes(header))
    whole = header / _payload(packet, size)
    padding = packet.length - len(bytes(whole))
    if padding:
        whole = whole / Raw(bytes(padding))
    sender = ":".join(f"{byte:02x}" for byte in (packet.mac or 0).to_bytes(6, "big"))
    return bytes(Ether(src=sender, dst=_GROUP_MACS.get(packet.pkttype, to)) / whole)


def _header(packet: Packet) -> Any:
    ends = {"src": str(packet.source_address), "dst": str(packet.destination_address)}
    if packet.version == 6:
        return IPv6(**ends, nh=packet.protocol, hlim=packet.ttl, tc=packet.tos)
    fragment = 8 if packet.fragment else 0
    return IP(**ends, proto=packet.protocol, ttl=packet.ttl, tos=packet.tos, frag=fragment)


def _payload(packet: Packet, size: int) -> Any:
    """What follows the IP header; where padding would have a meaning, all `size` bytes of it."""
    if packet.fragment:
        return Raw(bytes(size))
    ports = {"sport": packet.sport, "dport": packet.dport}
    if packet.protocol == socket.IPPROTO_TCP:
        return TCP(**ports, flags=packet.tcp_flags)
    if packet.protocol == socket.IPPROTO_UDP:
        return UDP(**ports) / Raw(bytes(size - 8))
    if packet.protocol == socket.IPPROTO_SCTP:  # one INIT chunk: padding would be another
        chunk = struct.pack("!BBHIIHHI", 1, 0, size - 12, 7, 1500, 1, 1, 1)
        return SCTP(**ports, tag=0) / Raw(chunk.ljust(size - 12, b"\0"))
    if packet.protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
        return _icmp(packet, size)
    return Raw(bytes(size))


def _icmp(packet: Packet, size: int) -> Any:
    if packet.embedded is not None:
        about = packet.embedded
        inner = Packet(
            packet.version,
            about.source,
            about.destination,
            about.protocol,
            about.sport,
            about.dport,
            length=60,
        )
        rest = bytes(4) + bytes(_header(inner) / _payload(inner, 40))
    else:
        rest = struct.pack("!HH", packet.sport, 0)
    if packet.version == 4:
        data = bytes([packet.icmp_type, packet.icmp_code, 0, 0]) + rest
        data = data.ljust(size, b"\0")
        return Raw(data[:2] + struct.pack("!H", _checksum(data)) + data[4:])
    data = (bytes([packet.icmp_type, packet.icmp_code, 0, 0]) + rest).ljust(size, b"\0")
    checksum = in6_chksum(socket.IPPROTO_ICMPV6, _header(packet), data)
    return Raw(data[:2] + struct.pack("!H", checksum) + data[4:])


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- comparing -------------------------------------------------------------------------------------------


def ruleset(version: int, rules: Iterable[tuple[str, str, str]]) -> Ruleset:
    """Tables of rules, given as (table, chain, text), with every chain of the kernel's own in them."""
    chains: dict[str, dict[str, list[str]]] = {}
    for table, chain, text in rules:
        held = chains.setdefault(table, {name: [] for name in BUILTIN_CHAINS[table]})
        held.setdefault(chain, []).append(text)
    tables = []
    for name, held in chains.items():
        own = BUILTIN_CHAINS[name]
        made = (Chain.of(c, *texts, policy="ACCEPT" if c in own else None) for c, texts in held.items())
        tables.append(Table(name, tuple(made)))
    return Ruleset("ipv4" if version == 4 else "ipv6", tuple(tables))


def compare(router: Router, backend: Backend, rules: Ruleset, shots: Sequence[Shot]) -> list[Trace]:
    """Send the packets one by one; after each, the counters that moved are those that the model says.

    Returns what the model said. Fails with every disagreement.
    """
    version = 4 if rules.family == "ipv4" else 6
    firewall = router.firewall(backend)
    firewall.restore(rules.render(), version=version)
    with Conntrack(router.net.visitor, router.net.namespaces[HOST]) as conntrack:
        conntrack.flush()
    try:
        return _compared(router, firewall, version, shots)
    finally:
        firewall.flush(version=version)


def _compared(router: Router, firewall: Firewall, version: int, shots: Sequence[Shot]) -> list[Trace]:
    before = firewall.rules(version=version)
    world = router.world(before)
    silencing = {p for p, rule in before.rules() if p.chain == "OUTPUT" and rule.target == Target("DROP")}
    silencing |= {RulePlace(t.name, chain.name, 0) for t in before.tables for chain in t.chains}
    wrong, traces = [], []
    for origin, packet in shots:
        trace = router.trace(world, origin, packet)
        router.send(origin, packet)
        after = firewall.rules(version=version)
        seen = {place: moved.packets for place, moved in after.counters_since(before).items()}
        told = {place: count for (host, place), count in trace.hits().items() if host == HOST}
        for place in sorted(place for place in seen.keys() | told.keys() if place not in silencing):
            if seen.get(place, 0) != told.get(place, 0):
                counted = f"kernel {seen.get(place, 0)}, model {told.get(place, 0)}"
                wrong.append(f"{origin}: {packet} {_unusual(packet)}: {counted}: {place} {after.rule(place)}")
        before = after
        traces.append(trace)
    assert not wrong, f"{len(wrong)} disagreements:\n" + "\n".join(wrong)
    return traces


def _unusual(packet: Packet) -> str:
    """The fields of a packet that are not as `Packet.of` makes them."""
    plain = Packet.of(packet.source_address, packet.destination_address, packet.protocol)
    names = ("tcp_flags", "tos", "ttl", "length", "mac", "pkttype", "icmp_type", "icmp_code", "fragment")
    found = ((name, getattr(packet, name), getattr(plain, name)) for name in names)
    return ", ".join(f"{name}={value:#x}" for name, value, usual in found if value not in (None, usual))
