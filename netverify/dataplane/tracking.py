"""Connection tracking and address translation of pieces: what `connections` does to one packet.

A piece of packets that all begin a connection has one entry for all of them: its tuples are functions of the
packet that entered, as every other field that was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from netverify.dataplane.bundles import Column, Rows
from netverify.dataplane.condition import All, AnyOf, Condition, Not, Within, equals
from netverify.dataplane.connections import DESTINATION, SOURCE, Connections
from netverify.dataplane.diagrams import Set
from netverify.dataplane.packet import ICMP, ICMPV6, TCP, WITH_PORTS, Packet, State
from netverify.dataplane.pieces import Bits, Known, Lens, Now, Piece
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.translation import Nat


@cache
def begins(version: int) -> Condition:
    """The packets that can be the first of a connection: what `Connections` says of each kind of packet."""
    echo = ICMP if version == 4 else ICMPV6
    flags = [each for each in range(256) if _state(Packet(version, 1, 2, TCP, 3, 4, tcp_flags=each))]
    kinds = [each for each in range(256) if _state(Packet(version, 1, 2, echo, 3, icmp_type=each))]
    other = ICMPV6 if version == 4 else ICMP
    foreign = [each for each in range(256) if _state(Packet(version, 1, 2, other, 3, icmp_type=each))]
    return AnyOf(
        (
            All((equals("protocol", TCP), equals("tcp_flags", *flags))),
            All((equals("protocol", echo), equals("icmp_type", *kinds))),
            All((equals("protocol", other), equals("icmp_type", *foreign))),
            Not(equals("protocol", TCP, ICMP, ICMPV6)),
        )
    )


def _state(packet: Packet) -> bool:
    return Connections().enter(packet)[0].state == State.NEW


@cache
def answered(version: int) -> Condition:
    """The packets that begin a connection, and of whose answer conntrack then says that it belongs there."""
    echo = ICMP if version == 4 else ICMPV6
    flags = [each for each in range(256) if _answered(Packet(version, 1, 2, TCP, 3, 4, tcp_flags=each))]
    kinds = [each for each in range(256) if _answered(Packet(version, 1, 2, echo, 3, icmp_type=each))]
    coded = [each for each in kinds if _answered(Packet(version, 1, 2, echo, 3, icmp_type=each, icmp_code=1))]
    return AnyOf(
        (
            Not(equals("protocol", TCP, ICMP, ICMPV6)),
            All((equals("protocol", TCP), equals("tcp_flags", *flags))),
            All((equals("protocol", echo), equals("icmp_code", 0), equals("icmp_type", *kinds))),
            All((equals("protocol", echo), equals("icmp_type", *coded))),
        )
    )


def _answered(packet: Packet) -> bool:
    table = Connections()
    entered, connection = table.enter(packet)
    table.confirm(entered, connection)
    return connection is not None and table.enter(packet.reply())[0].state == State.ESTABLISHED


UNSEEN: Condition = All((equals("protocol", ICMPV6), Within("icmp_type", ((130, 137),))))
"""Neighbour discovery and its like, which conntrack leaves alone."""
WITHOUT_PORTS: Condition = equals("protocol", ICMP, ICMPV6)
PORTED: Condition = equals("protocol", *sorted(WITH_PORTS))
TUPLE = ("source", "sport", "destination", "dport")
_INVERSE = {"source": "destination", "sport": "dport", "destination": "source", "dport": "sport"}
_SHOWN = {
    "ct_source": ("original", "source"), "ct_sport": ("original", "sport"),
    "ct_destination": ("original", "destination"), "ct_dport": ("original", "dport"),
    "reply_source": ("reply", "source"), "reply_sport": ("reply", "sport"),
    "reply_destination": ("reply", "destination"), "reply_dport": ("reply", "dport"),
}  # fmt: skip


def inverse(found: Now) -> dict[str, Bits]:
    """The other direction of a tuple."""
    return {_INVERSE[name]: bits for name, bits in found.items()}


class Tracker:
    """What conntrack says of pieces. `tested` are the fields that some rule asks for."""

    def __init__(self, lens: Lens, tested: frozenset[str]) -> None:
        self.lens = lens
        self.sets = lens.sets
        self.tested = tested

    def enter(self, piece: Piece) -> Iterator[Piece]:
        """The parts of a piece by what conntrack says of them."""
        lens = self.lens
        left = piece.packets
        untracked = left & (lens.of(piece, self._is(equals("state", int(State.UNTRACKED)))))
        left = left & ~untracked
        unseen = left & lens.of(piece, self._is(UNSEEN))
        left = left & ~unseen
        for part in (untracked | unseen,):
            if part.satisfiable():
                yield self._said(piece.with_(packets=part, known=None), State.UNTRACKED)
        for known in piece.expected:
            for direction, held in ((1, known.reply), (0, known.original)):
                matching = self._equal(piece, left, held)
                left = left & ~matching
                part = matching & known.answers if direction else matching
                if direction and (matching & ~part).satisfiable():
                    senseless = piece.with_(packets=matching & ~part, known=None)
                    yield self._said(senseless, State.INVALID)
                if part.satisfiable():
                    found = piece.with_(packets=part, known=known.with_(direction=direction))
                    yield self._said(found, State.ESTABLISHED if direction else State.NEW)
        fresh = left & lens.of(piece, self._is(begins(self.sets.version)))
        if fresh.satisfiable():
            begun = piece.with_(packets=fresh)
            original = self.tuple_of(begun)
            answers = lens.of(piece, self._is(answered(self.sets.version)))
            known = Known(original, inverse(original), answers=answers)
            yield self._said(begun.with_(known=known), State.NEW)
        left = left & ~fresh
        if left.satisfiable():
            yield self._said(piece.with_(packets=left, known=None), State.INVALID)

    def tuple_of(self, piece: Piece) -> dict[str, Bits]:
        """What conntrack knows the packets by; an echo's identifier stands for both of its ports."""
        found = {name: self.lens.bits(piece, name) for name in TUPLE}
        echo = piece.packets & self.lens.of(piece, self._is(WITHOUT_PORTS))
        if echo.satisfiable():
            where = self.lens.of(piece, self._is(WITHOUT_PORTS))
            found["dport"] = self.lens.chosen(where, found["sport"], found["dport"])
        return found

    def _equal(self, piece: Piece, packets: Set, held: Now) -> Set:
        """The packets of a set whose tuple is one that is held. (The protocol never changes.)

        They are narrowed down bit by bit: two addresses that are free to differ would make a large diagram.
        """
        own = self.tuple_of(piece)
        for name in TUPLE:
            if own[name] is held[name]:
                continue
            for one, other in zip(own[name], held[name], strict=True):
                if not packets.satisfiable():
                    return packets
                if one != other:
                    packets = packets & ~(one ^ other)
        return packets

    def _said(self, piece: Piece, state: State) -> Piece:
        known = piece.known
        fields: dict[str, Sequence[Set]] = {"state": self.sets.fixed("state", int(state))}
        fields["tracked"] = self.sets.fixed("tracked", int(known is not None))
        if known is not None:
            fields |= self._described(piece, known)
        return piece.written(**fields)

    def _described(self, piece: Piece, known: Known) -> dict[str, Sequence[Set]]:
        """Everything that rules can ask about the connection, as far as some rule does."""
        seen_reply = int(known.direction == 1)
        fields: dict[str, Sequence[Set]] = {
            "ct_direction": self.sets.fixed("ct_direction", known.direction),
            "ct_seen_reply": self.sets.fixed("ct_seen_reply", seen_reply),
            "ct_protocol": self.sets.bits("protocol"),
        }
        if known.connmark:
            fields["connmark"] = known.connmark
        fields = {name: bits for name, bits in fields.items() if name in self.tested}
        return fields | self.of_tuples(piece, known)

    def of_tuples(self, piece: Piece, known: Known) -> dict[str, Sequence[Set]]:
        """The fields that show a connection's tuples, as far as some rule asks for them."""
        fields: dict[str, Sequence[Set]] = {
            name: getattr(known, which)[part] for name, (which, part) in _SHOWN.items() if name in self.tested
        }
        if "ct_nat" in self.tested:
            halves = [
                ~(
                    self.lens.same(known.reply[_INVERSE[name]], known.original[name])
                    & self.lens.same(known.reply[_INVERSE[port]], known.original[port])
                )
                for name, port in (("destination", "dport"), ("source", "sport"))
            ]
            fields["ct_nat"] = [self._settled(piece.packets, half) for half in halves]
        return fields

    def _settled(self, packets: Set, where: Set) -> Set:
        """A function as a constant, if it is one for all packets of a set."""
        if not (packets & where).satisfiable():
            return self.sets.nothing
        return self.sets.true if not (packets & ~where).satisfiable() else where

    def _is(self, condition: Condition) -> Set:
        return self.sets.satisfying(condition)

    # --- translation ----------------------------------------------------------------------------------------

    def translated(self, piece: Piece, half: int) -> Piece:
        """A piece after one half of its connection's translation."""
        known = piece.known
        if known is None:
            return piece
        target = inverse(known.original if known.direction else known.reply)
        names = ("destination", "dport") if half == DESTINATION else ("source", "sport")
        fields: dict[str, Sequence[Set]] = {}
        address = self.lens.bits(piece, names[0])
        if target[names[0]] is not address and target[names[0]] != address:
            fields[names[0]] = target[names[0]]
        port = self.lens.bits(piece, names[1])
        if target[names[1]] != port:
            echo = self.lens.of(piece, self._is(WITHOUT_PORTS))
            if not (piece.packets & echo).satisfiable():
                fields[names[1]] = target[names[1]]
            elif (piece.packets & ~echo).satisfiable():
                fields[names[1]] = self.lens.chosen(echo, port, target[names[1]])
        if not fields:
            return piece
        return piece.written(**fields, **self.of_tuples(piece, known))

    def decided(self, piece: Piece, nat: Nat, half: int, to: Sequence[Set] | None) -> Piece:
        """A new connection gets a translation: it shows in the reply that is expected.

        `to` is the address that the rule leaves to be found, as bits. Where the kernel chooses one of
        several, the first is taken, as `translation.Choice.first` says.
        """
        known = piece.known
        if known is None:
            return piece
        name, port_name = ("destination", "dport") if half == DESTINATION else ("source", "sport")
        old = self.lens.bits(piece, name)
        ported = self._settled(piece.packets, self.lens.of(piece, self._is(PORTED)))
        address, new_port = self._address(nat, name, old, to), self._port(nat, half, piece, port_name)
        kept = self.sets.nothing
        if half == SOURCE and not nat.random and nat.network is None:
            kept = self._kept(piece, nat, to, name, port_name, ported)
        kept = self._settled(piece.packets, kept)
        address = self.lens.chosen(kept, old, address)
        new_port = self.lens.chosen(ported & ~kept, new_port, _port_of(known, half))
        reply = {**known.reply, _INVERSE[name]: address, _INVERSE[port_name]: new_port}
        return piece.with_(known=known.with_(reply=reply))

    def bundled(self, piece: Piece, endings: Sequence[Nat]) -> Piece:
        """New connections get the translation of their number (`bundles`), of the destination."""
        known = piece.known
        if known is None:
            return piece
        addresses = [(nat.addresses or (0, 0))[0] for nat in endings]
        ports = [0 if nat.ports is None else nat.ports[0] for nat in endings]
        address = Column.of(self.sets, "destination", addresses)
        port = Column.of(self.sets, "dport", ports)
        reply = {**known.reply, "source": address.bits, "sport": port.bits}
        return piece.with_(known=known.with_(reply=reply), rows=Rows((address, port)))

    def _kept(
        self, piece: Piece, nat: Nat, to: Sequence[Set] | None, name: str, port_name: str, ported: Set
    ) -> Set:
        """The packets whose source is one of the range already, with its port."""
        if to is not None:
            kept = self.lens.same(self.lens.bits(piece, name), to)
        elif nat.addresses is None:
            kept = self.sets.true
        else:
            kept = self.lens.of(piece, self._is(Within(name, (nat.addresses,))))
        if nat.ports is not None:
            ports = self.lens.of(piece, self._is(Within(port_name, (nat.ports,))))
            kept = kept & (~ported | ports)
        return kept

    def _address(self, nat: Nat, name: str, old: Sequence[Set], to: Sequence[Set] | None) -> Sequence[Set]:
        if to is not None:
            return to
        if nat.network is not None:
            base, mask = (self.sets.fixed(name, number) for number in nat.network)
            return [
                one if fixed.satisfiable() else bit for one, fixed, bit in zip(base, mask, old, strict=True)
            ]
        return old if nat.addresses is None else self.sets.fixed(name, nat.addresses[0])

    def _port(self, nat: Nat, half: int, piece: Piece, name: str) -> Sequence[Set]:
        old = self.lens.bits(piece, name)
        if nat.ports is None:
            return old if not nat.random or half == DESTINATION else self._by_class(piece, name)
        low, high = min(nat.ports), max(nat.ports)
        if nat.base is not None:
            return self._shifted(piece, name, low, high, nat.base)
        first = self.sets.fixed(name, low)
        if nat.random or low == high:
            return first
        return self.lens.chosen(self.lens.of(piece, self._is(Within(name, ((low, high),)))), old, first)

    def _by_class(self, piece: Piece, name: str) -> Sequence[Set]:
        made: Sequence[Set] = self.sets.fixed(name, 1024)
        for top, value in ((1023, 600), (511, 1)):
            where = self.lens.of(piece, self._is(Within(name, ((0, top),))))
            made = self.lens.chosen(where, self.sets.fixed(name, value), made)
        return made

    def _shifted(self, piece: Piece, name: str, low: int, high: int, base: int) -> Sequence[Set]:
        """Ports that are counted from a base, by the ports that come to each."""
        size = high - low + 1
        bits = [self.sets.nothing] * 16
        for offset in range(size):
            ports = [(base + each) & 0xFFFF for each in range(offset, 0x10000, size)]
            where = self.lens.of(piece, self._is(equals(name, *ports)))
            value = self.sets.fixed(name, low + offset)
            bits = [bit | where if one.satisfiable() else bit for bit, one in zip(bits, value, strict=True)]
        return bits


def _port_of(known: Known, half: int) -> Sequence[Set]:
    """The port that a connection has in a half so far."""
    return known.reply["sport" if half == DESTINATION else "dport"]


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses that translation finds by itself: who gets one, and for each of its bits who has a one there.

    The sets are of packets as they are then.
    """

    some: Set
    ones: tuple[Set, ...]

    @classmethod
    def of(cls, sets: PacketSets, by_address: Mapping[int, Set]) -> Found:
        """Join who gets which address."""
        size = 32 if sets.version == 4 else 128
        ones = (
            sets.union([packets for address, packets in by_address.items() if address >> index & 1])
            for index in reversed(range(size))
        )
        return cls(sets.union(list(by_address.values())), tuple(ones))

    def bits(self, lens: Lens, piece: Piece, fields: frozenset[str]) -> tuple[Set, list[Set]]:
        """The packets of a piece that get an address at all, and its bits."""
        (some,) = lens.seen(self.some, [piece], fields)
        packets, bits = piece.packets & some, []
        for ones in self.ones:
            (one,) = lens.seen(ones, [piece], fields)
            if one.node_var() is not None:  # constant for these packets, perhaps
                if not (packets & one).satisfiable():
                    one = lens.sets.nothing
                elif not (packets & ~one).satisfiable():
                    one = lens.sets.true
            bits.append(one)
        return some, bits
