"""Packets for the judged host at the edges of what a ruleset asks, many and quickly.

They are drawn from a seeded random generator and not one by one from Hypothesis, which takes a millisecond
for each; the seed is what Hypothesis draws. Each next packet may follow from what the model says came of the
ones before: a reply, an ICMP error about it, the same flow once more. What the packets are is fixed before
the kernel sees the first.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network

from netverify.dataplane.packet import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    PSH,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    Address,
    Packet,
    Tuple,
    address,
)
from netverify.errors import InputError
from netverify.kernel.judge import site, wire
from netverify.kernel.judge.case import Shot
from netverify.kernel.judge.foretell import ByChance, Foretelling
from netverify.kernel.judge.stand import DELIVERED, Sighting
from netverify.kernel.judge.taps import GENERIC
from netverify.ruleset import Ruleset

FLAGS = (
    SYN,
    SYN,
    SYN,
    SYN,
    SYN,
    ACK,
    SYN | ACK,
    RST,
    FIN | ACK,
    PSH | ACK,
    RST | ACK,
    FIN,
    0,
    SYN | RST,
    SYN | FIN,
)
_ICMP_KINDS = {
    4: ((8, 0), (8, 0), (8, 0), (0, 0), (13, 0), (14, 0), (17, 0), (9, 0), (40, 0)),
    6: ((128, 0), (128, 0), (128, 0), (129, 0), (135, 0), (139, 0), (144, 0), (200, 0)),
}
_ERROR_KINDS = {
    4: ((3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (12, 0)),
    6: ((1, 0), (1, 4), (3, 0), (4, 1)),
}
_FAR = {
    4: ("10.11.0.9", "10.11.4.1", "10.11.7.255", "10.11.8.0", "10.12.0.1", "10.12.7.9", "10.12.7.8",
        "10.12.127.255", "10.12.128.0", "10.13.0.1"),
    6: ("fd00:11::9", "fd00:11:4::1", "fd00:11:8::", "fd00:12::1", "fd00:12:7::9", "fd00:12:8000::",
        "fd00:12:7fff::1", "fd00:13::1"),
}  # fmt: skip
_ODD = {
    4: ("127.0.0.1", "127.0.0.2", "224.0.0.9", "255.255.255.255", "10.1.0.255", "10.3.0.255", "0.0.0.0",
        "240.0.0.1", "10.8.1.1", "10.8.2.1", "10.8.3.1", "172.16.0.1"),
    6: ("::1", "ff02::9", "fe80::9", "::", "fd00:8:1::1", "fd00:8:2::1", "fd00:8:3::1", "fd77::1", "ff0e::9"),
}  # fmt: skip
_LOOPBACK_BROADCAST = ip_address("127.255.255.255")
_SHORT_DATAGRAM = 40 + 76
"""Longer ones to the host itself are lost where a rule writes into IPv6's header: see docs/fidelity.md."""
_ADDRESS = re.compile(r"[0-9a-f:.]*[:.][0-9a-f:.]*(?:/[0-9a-f:.]+)?(?:-[0-9a-f:.]+)?")


def edges(rules: Ruleset) -> tuple[list[Address], list[int]]:
    """The addresses and numbers at which some rule changes its mind: each value, one below, one above."""
    text = " ".join(str(rule) for _, rule in rules.rules())
    addresses: set[Address] = set()
    numbers: set[int] = set()
    for word in text.replace("[", " ").replace("]", " ").replace(",", " ").split():
        if _ADDRESS.fullmatch(word):
            addresses |= set(_addresses_of(word, rules.family == "ipv6"))
        elif re.fullmatch(r"[0-9]+([:-][0-9]+)?", word):
            numbers |= {int(n) + by for n in re.split("[:-]", word) for by in (-1, 0, 1)}
    addresses.discard(_LOOPBACK_BROADCAST)
    if rules.family == "ipv6":  # none that hold an IPv4 address, but ::1
        addresses = {each for each in addresses if int(each) == 1 or int(each) >> 32}
    return sorted(addresses, key=int), sorted(n for n in numbers if 0 <= n <= 65535)


@cache
def _addresses_of(word: str, ipv6: bool) -> tuple[Address, ...]:
    found: list[int] = []
    for part in word.split("-"):
        try:
            network = ip_network(part, strict=False)
        except ValueError:
            continue  # a dotted mask with gaps, or an address with a port
        if (network.version == 6) == ipv6:
            first, last = int(network.network_address), int(network.broadcast_address)
            found += [first - 1, first, first + 1, last - 1, last, last + 1]
    top = (1 << (128 if ipv6 else 32)) - 1
    return tuple(address(6 if ipv6 else 4, n) for n in found if 0 <= n <= top)


class PacketMaker:
    """Draws packets for a ruleset, one after the other, and keeps what the model says of each."""

    def __init__(self, rules: Ruleset, told: Foretelling, seed: int) -> None:
        self.version = 4 if rules.family == "ipv4" else 6
        self.told = told
        self.random = random.Random(seed)
        self.addresses, numbers = edges(rules)
        self.addresses = [each for each in self.addresses if not site.is_silent(each)]
        self.ports = numbers or [80]
        self.small = [n for n in numbers if n <= 255] or [64]
        self.lengths = [n for n in numbers if 60 <= n <= 1400] or [84]
        self._accepts_local = bool(told.stack.view.sysctl("ipv4.conf.all.accept_local"))
        self.shots: list[Shot] = []
        self.sightings: list[tuple[Sighting, ...]] = []
        self._fresh = self.random.randrange(20000, 30000)
        self.by_chance = 0

    def make(self, count: int) -> None:
        """Draw `count` packets; fewer where chance would decide over too many of them."""
        for _ in range(3 * count):
            if len(self.shots) == count:
                return
            try:
                shot = self._shot()
            except InputError:
                continue
            try:
                seen = self.told.fire(shot)
            except ByChance as reason:
                self.by_chance += 1
                if reason.began:
                    return
                continue
            self.shots.append(shot)
            self.sightings.append(seen)

    def _shot(self) -> Shot:
        if self.shots and self.random.random() < 0.45:
            number = self.random.randrange(len(self.shots))
            following = self._following(self.shots[number], self.sightings[number])
            if following is not None:
                return following
        return self._new()

    # --- a packet of its own --------------------------------------------------------------------------------

    def _new(self) -> Shot:
        device = self.random.choice(("eth0", "eth0", "eth0", "eth1", "p1", "p1", "p2", "p1>", "p2>", ""))
        bridged = device.endswith(">")
        device = device.rstrip(">")
        source, mac = self._source(device)
        destination = self._destination(device, bridged)
        if not device and self._is_for_many(destination):
            destination = site.own_address("eth1", self.version)
        if device and (bridged or self._accepts_local) and self._is_for_many(source):
            source = site.neighbour("eth0", self._behind("eth0"), self.version)
        packet = self._headers(source, destination).with_(mac=mac)
        if device in ("eth0", "eth1") and (self._is_for_many(destination) or self.random.random() < 0.02):
            packet = packet.with_(pkttype=1)
        to_port = None
        if bridged:
            to_port = next(port for port in site.PORTS if port != device)
        return Shot.of(packet, device, to_port)

    def _source(self, device: str) -> tuple[Address, int | None]:
        if not device:
            own = [site.own_address(card, self.version) for card in site.CARDS]
            return self.random.choice(own), None
        card = site.BRIDGE if device in site.PORTS else device
        number = self._behind(device)
        mac = site.neighbour_mac(card, number)
        drawn = self.random.random()
        if drawn < 0.6:
            return site.neighbour(card, number, self.version), mac
        if drawn < 0.7 and card == "eth0" and self.version == 4:
            return address(4, self.random.choice(site.ONCE)), site.neighbour_mac(card, 2)
        if drawn < 0.8:
            return ip_address(self.random.choice(_FAR[self.version])), mac
        if drawn < 0.95 and self.addresses:
            return self.random.choice(self.addresses), mac
        return self._allowed(ip_address(self.random.choice(_ODD[self.version]))), mac

    def _behind(self, device: str) -> int:
        """A neighbour behind a cable."""
        if device in site.PORTS:
            return self.random.choice([n for n in site.NEIGHBOURS if site.port_of(n) == device])
        return self.random.choice((2, 3, 4, 5, 6, 7, 8))

    def _destination(self, device: str, bridged: bool) -> Address:
        drawn = self.random.random()
        if bridged:
            if drawn < 0.8:
                other = next(port for port in site.PORTS if port != device)
                return site.neighbour(site.BRIDGE, self._behind(other), self.version)
            return ip_address(self.random.choice(_FAR[self.version]))
        if drawn < 0.4:
            card = self.random.choice(tuple(site.CARDS))
            return site.neighbour(card, self.random.choice(site.NEIGHBOURS), self.version)
        if drawn < 0.6:
            return site.own_address(self.random.choice(tuple(site.CARDS)), self.version)
        if drawn < 0.75 and self.addresses:
            return self._allowed(self.random.choice(self.addresses))
        if drawn < 0.92:
            return ip_address(self.random.choice(_FAR[self.version]))
        return self._allowed(ip_address(self.random.choice(_ODD[self.version])))

    def _is_for_many(self, wanted: Address) -> bool:
        """Whether it stands for everybody, or nobody: what the host says to such an address is not judged."""
        kind = self.told.stack.routing.lookup(self.version, int(wanted)).kind
        return (
            kind == "broadcast"
            or wanted == _LOOPBACK_BROADCAST
            or wanted.is_multicast
            or wanted.is_unspecified
        )

    def _allowed(self, wanted: Address) -> Address:
        """Not what the model says nothing about: groups, and addresses of one link."""
        if wanted.is_multicast or wanted.is_link_local or wanted.is_unspecified:
            return site.own_address("eth0", self.version)
        return wanted

    def _headers(self, source: Address, destination: Address) -> Packet:
        icmp = ICMP if self.version == 4 else ICMPV6
        # What has no checksum of its own but the one over IPv6's addresses would lose it to translation.
        generic = GENERIC if self.version == 4 else GENERIC[:1]
        protocol = self.random.choice((TCP, TCP, TCP, UDP, UDP, icmp, icmp, SCTP, *generic))
        fields: dict[str, int] = {"ttl": self._ttl(), "tos": self._tos()}
        if protocol in (TCP, UDP, SCTP):
            fields["dport"] = self._port()
            fields["sport"] = self._port() if self.random.random() < 0.2 else self._fresh_port()
        if protocol == TCP:
            fields["tcp_flags"] = self.random.choice(FLAGS)
        if protocol == icmp:
            kind, code = self.random.choice(_ICMP_KINDS[self.version])
            fields |= {"icmp_type": kind, "icmp_code": code}
            if kind in wire.WITH_IDENTIFIER[icmp]:
                fields["sport"] = self._fresh_port()
        packet = Packet(self.version, int(source), int(destination), protocol, **fields)
        return packet.with_(length=self._length(packet))

    def _ttl(self) -> int:
        drawn = self.random.random()
        return (
            64
            if drawn < 0.8
            else self.random.choice((1, 2, 3, 63, 255))
            if drawn < 0.9
            else max(1, self.random.choice(self.small))
        )

    def _tos(self) -> int:
        return 0 if self.random.random() < 0.8 else self.random.choice((0x08, 0x10, 0x14, 0xB8, 0x20, 0x02))

    def _port(self) -> int:
        return (
            self.random.choice(self.ports)
            if self.random.random() < 0.8
            else self.random.choice((22, 80, 443, 5001))
        )

    def _fresh_port(self) -> int:
        self._fresh += 1
        return self._fresh

    def _length(self, packet: Packet) -> int:
        least = wire.smallest(packet)
        if self.random.random() < 0.8 or packet.tcp_flags & SYN:  # what a SYN+ACK acknowledges: wire.py
            return least
        length = max(least, self.random.choice(self.lengths))
        if self.version == 6 and packet.protocol == UDP:
            return min(length, _SHORT_DATAGRAM)
        return length

    # --- what follows from another --------------------------------------------------------------------------

    def _following(self, shot: Shot, sightings: tuple[Sighting, ...]) -> Shot | None:
        drawn = self.random.random()
        if drawn < 0.3 or not sightings:
            return self._again(shot)
        where, packet = self.random.choice(sightings)
        if drawn < 0.75:
            answer = self._reply(packet)
        else:
            answer = self._error_about(packet)
        if answer is None or self._is_for_many(answer.destination_address):
            return None
        if self._is_for_many(answer.source_address):
            return None
        if where == DELIVERED and self.version == 6 and answer.source_address.is_loopback:
            return None  # a reset back to ::1 finds no way there: see docs/fidelity.md
        away = answer.source_address.is_loopback and not answer.destination_address.is_loopback
        if where == DELIVERED and away:
            return None  # a raw socket may write that source, others may not have it: see docs/fidelity.md
        if where == DELIVERED:
            return Shot.of(answer.with_(mac=None))
        return self._back(where, packet, answer)

    def _back(self, where: str, packet: Packet, answer: Packet) -> Shot | None:
        """An answer enters where the packet came out; over the bridge, if that is where it came from."""
        if site.is_silent(answer.destination_address) or site.is_silent(answer.source_address):
            return None
        answer = answer.with_(mac=packet.mac)
        found = site.card_of(packet.source_address)
        if where in site.PORTS and found is not None and found[0] == site.BRIDGE and found[1] != 1:
            to_port = site.port_of(found[1])
            return None if to_port == where else Shot.of(answer, where, to_port)
        return Shot.of(answer, where)

    def _again(self, shot: Shot) -> Shot:
        packet = shot.packet
        if packet.protocol == TCP:
            packet = packet.with_(tcp_flags=self.random.choice(FLAGS))
            packet = packet.with_(length=self._length(packet) if packet.tcp_flags & SYN else packet.length)
        return Shot.of(packet, shot.device, shot.to_port)

    def _reply(self, packet: Packet) -> Packet | None:
        if packet.embedded is not None:
            return None
        fields: dict[str, int] = {"ttl": self._ttl(), "tos": self._tos()}
        if packet.protocol == TCP:
            fields["tcp_flags"] = self._answering_flags(packet)
        if packet.protocol in (ICMP, ICMPV6):
            kind = {8: 0, 128: 129, 13: 14, 17: 18}.get(packet.icmp_type)
            if kind is None:
                return None
            fields |= {"icmp_type": kind, "sport": packet.sport}
        else:
            fields |= {"sport": packet.dport, "dport": packet.sport}
        answer = Packet(self.version, packet.destination, packet.source, packet.protocol, **fields)
        return answer.with_(length=self._length(answer))

    def _answering_flags(self, packet: Packet) -> int:
        if self.random.random() < 0.3:
            return self.random.choice(FLAGS)
        if packet.tcp_flags & SYN:
            return ACK if packet.tcp_flags & ACK else SYN | ACK
        return self.random.choice((ACK, PSH | ACK, FIN | ACK, RST))

    def _error_about(self, packet: Packet) -> Packet | None:
        """What a router on the way, or the receiver, might say of it."""
        if packet.embedded is not None or (
            packet.protocol in (ICMP, ICMPV6) and packet.icmp_type not in (8, 128)
        ):
            return None
        kind, code = self.random.choice(_ERROR_KINDS[self.version])
        speaker = (
            packet.destination_address if self.random.random() < 0.7 else ip_address(_FAR[self.version][0])
        )
        about = packet.tuple
        if packet.protocol in (TCP, UDP, SCTP) and self.random.random() < 0.1:
            about = replace(about, sport=self._port())
        return Packet(
            self.version,
            int(speaker),
            packet.source,
            ICMP if self.version == 4 else ICMPV6,
            icmp_type=kind,
            icmp_code=code,
            embedded=about,
            length=0,
        ).with_(length=self._length_of_error(about))

    def _length_of_error(self, about: Tuple) -> int:
        del about
        return 2 * (20 if self.version == 4 else 40) + 8 + wire.QUOTED + wire.TAG_LENGTH
