"""What a host does with all packets that enter it: how each ends, and whether its answer comes back.

`Passing` asks one host without its neighbours. A request enters by a device or is sent by a socket of the
host; who is sent it, or gets it, answers as `Packet.reply` says, and the answer comes by the device that the
request left by. Every set here is of packets as they entered.

What `stack` knows and the sets do not: that a connection loses its masquerade when a later packet of it
leaves by another device (asked here are first packets and their answers), and that a program may have joined
an IPv6 group (taken to be joined by none: of packets to such groups, what is said here is no certainty).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netverify.dataplane.condition import All, Condition, Masked, Named, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.encoding import CAPACITY
from netverify.dataplane.ends import End
from netverify.dataplane.found_sets import named
from netverify.dataplane.hooks import Filters
from netverify.dataplane.host_sets import HEADER, HostSets
from netverify.dataplane.ordering import order_for
from netverify.dataplane.packet import ACK, ICMP, ICMPV6, SYN, TCP, Packet
from netverify.dataplane.pieces import DERIVED, Lens, Piece
from netverify.dataplane.sets import PacketSets, named_devices
from netverify.dataplane.view import LOOPBACK, HostView
from netverify.dataplane.well_formed import QUESTIONS, WELL_FORMED


def sets_for(
    views: Iterable[HostView], filters: Iterable[Filters], *, capacity: int = CAPACITY
) -> PacketSets:
    """Sets that know every device of some hosts, and every one that their rules name."""
    filters = tuple(filters)
    devices = {link.name for view in views for link in view.links}
    devices |= {name for each in filters for program in each.programs for name in named_devices(program)}
    order = order_for(program for each in filters for program in each.programs)
    return PacketSets(filters[0].version, devices, capacity=capacity, order=order)


@dataclass(frozen=True)
class Crossing:
    """The packets that go through a host from device to device, and those whose answer comes back."""

    source: str
    target: str
    packets: Set
    answered: Set


class Passing:
    """All packets of one IP version on one host."""

    def __init__(
        self,
        view: HostView,
        version: int = 4,
        *,
        only: Condition | None = None,
        filters: Filters | None = None,
        sets: PacketSets | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self.view = view
        self.filters = filters or Filters.of(view, version)
        self.sets = sets or sets_for([view], [self.filters], capacity=capacity)
        self.lens = Lens(self.sets)
        self.host = HostSets(view, self.filters, self.lens)
        self.some = self.sets.satisfying(WELL_FORMED if only is None else All((WELL_FORMED, only)))

    @property
    def devices(self) -> list[str]:
        """The devices by which packets enter: those that are up and no ports of a bridge."""
        return [d.name for d in self.view.links if d.up and d.master is None and d.name != LOOPBACK]

    def entering(self, devices: Sequence[str] | None = None) -> list[End]:
        """How the packets end that enter by any of some devices, all of the host's unless given."""
        chosen = self.sets.satisfying(named("in_interface", self.devices if devices is None else devices))
        return self.host.receive([Piece(self.some & chosen, {})])

    def sending(self) -> list[End]:
        """How the packets end that sockets of the host send, with whatever source."""
        none = self.sets.satisfying(Named("in_interface", ""))
        return self.host.send([Piece(self.some & none, {})])

    def answering(self, ends: Iterable[End]) -> list[End]:
        """How the answers end: of what was sent by a device, and of what was delivered to the host.

        The sets are of the requests, as far as somebody answers such (`QUESTIONS`). An answer that a device
        brings comes in where the request went out.
        """
        brought: list[Piece] = []
        own: list[Piece] = []
        questions = self.sets.satisfying(QUESTIONS[self.sets.version])
        for end in ends:
            if end.fate not in ("sent", "delivered"):
                continue
            piece = end.piece.cut(questions)
            if not piece.packets.satisfiable():
                continue
            answer = self.reply(piece)
            if piece.known is not None:
                # What is asked for all of them, once more, need not be asked of a large set.
                answers = piece.known.answers | ~questions
                answer = answer.with_(expected=(piece.known.with_(answers=answers),))
            else:
                answer = answer.with_(expected=())
            if end.fate == "sent":
                brought.append(answer.written(in_interface=self.lens.bits(piece, "out_interface")))
            else:
                own.append(answer)
        return [*self.host.receive(brought), *self.host.send(own)]

    def crossings(self, *, answers: bool = True) -> list[Crossing]:
        """Every pair of devices between which some packet goes, translated or not, with what comes back.

        Without `answers` nobody answers, which takes half the time.
        """
        sets = self.sets
        sent = [end.piece for end in self.entering() if end.fate == "sent"]
        back = self.answering([End("sent", piece) for piece in sent]) if answers else []
        returned = sets.union([end.piece.packets for end in back if end.fate == "sent"])
        derived = sets.cube(*DERIVED)
        found = []
        for target in self.devices:
            leaves = sets.satisfying(Named("out_interface", target))
            seen = self.lens.seen(leaves, sent, frozenset({"out_interface"}))
            there = sets.union([piece.packets & some for piece, some in zip(sent, seen, strict=True)])
            answered, packets = (there & returned).exists(derived), there.exists(derived)
            for source in self.devices:
                entered = sets.satisfying(Named("in_interface", source))
                some = packets & entered
                if some.satisfiable():
                    found.append(Crossing(source, target, some, answered & entered))
        return found

    def holding(
        self, ends: Iterable[End], packet: Packet, assume: Mapping[str, bool] | None = None
    ) -> list[tuple[End, Packet]]:
        """The ends in whose sets a packet is, as it entered, and what it is there."""
        found = []
        for end in ends:
            entered = self.lens.entered(end.piece.packets, packet, assume)
            if entered is not None:
                found.append((end, self.lens.became(end.piece, packet, entered)))
        return found

    def reply(self, piece: Piece) -> Piece:
        """The answers to the packets of a piece (`Packet.reply`)."""
        return reply(self.lens, piece)


def reply(lens: Lens, piece: Piece) -> Piece:
    """The answers to the packets of a piece, with no devices and no marks (`Packet.reply`)."""
    sets = lens.sets
    blank = Packet(sets.version, 0, 0, 0)
    fields: dict[str, Sequence[Set]] = {
        field: sets.fixed(field, getattr(blank, field)) for field in HEADER if field in set(sets.fields)
    }
    echo = lens.of(piece, sets.satisfying(equals("protocol", ICMP, ICMPV6)))
    no_echo = not (piece.packets & echo).satisfiable()
    sport, dport = lens.bits(piece, "sport"), lens.bits(piece, "dport")
    fields |= {
        "protocol": sets.bits("protocol"),
        "source": lens.bits(piece, "destination"),
        "destination": lens.bits(piece, "source"),
        "sport": dport if no_echo else lens.chosen(echo, sport, dport),
        "dport": sport if no_echo else lens.chosen(echo, dport, sport),
    }
    if "length" in fields:
        fields["length"] = lens.bits(piece, "length")
    tcp = sets.satisfying(equals("protocol", TCP))
    fields["tcp_flags"] = [tcp if bit.satisfiable() else bit for bit in sets.fixed("tcp_flags", SYN | ACK)]
    question = sets.satisfying(Masked("icmp_type", 128, 0xFF))
    fields["icmp_type"] = [question if bit.satisfiable() else bit for bit in sets.fixed("icmp_type", 129)]
    return piece.with_(now={}).written(**fields)
