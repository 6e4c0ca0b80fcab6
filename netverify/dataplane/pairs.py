"""Who can send what to whom in a world of hosts: for every pair all packets, exactly, and one as an example.

Each example is sent through the same world as a single packet. Where that run says something else than the
sets, one of the two is wrong, and `ModelsDisagree` says where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netverify.dataplane.condition import All, Condition, Named, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.encoding import CAPACITY, LARGEST, with_room
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.flood import Arrival, Flood, own_sources
from netverify.dataplane.packet import Packet
from netverify.dataplane.passing import reply, sets_for
from netverify.dataplane.pieces import Piece
from netverify.dataplane.program import Place
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.trace import PolicyStep, RuleStep, Trace
from netverify.dataplane.well_formed import QUESTIONS, WELL_FORMED
from netverify.dataplane.world import World


class ModelsDisagree(DataplaneError):
    """The packet sets and the run of a single packet say different things of one packet."""


@dataclass(frozen=True)
class Example:
    """One packet as it is sent, and the trace that confirms it; `answer` is its answer's.

    `assumed` are values of unknowns with which it gets there; none where it does whatever they say. `place`
    is the last rule or policy of a filter that let it pass, with its host.
    """

    packet: Packet
    trace: Trace
    answer: Trace | None = None
    assumed: tuple[tuple[str, bool], ...] = ()
    place: tuple[str, Place] | None = None


@dataclass(frozen=True)
class Pair:
    """All packets that a source can send and that end at a receiver's sockets.

    `possible` arrive for some values of the unknowns, `sure` whatever they say; of these sets the answers
    come back for `answered` and `surely_answered`. `example` is one of `sure` if there is one, `exchange` one
    whose answer comes back; None where there is none.
    """

    source: str
    receiver: str
    possible: Set
    sure: Set
    answered: Set
    surely_answered: Set
    example: Example | None
    exchange: Example | None


@dataclass(frozen=True)
class Reach:
    """The pairs of which some packet arrives, and the sets that they are in."""

    world: World
    sets: PacketSets
    pairs: tuple[Pair, ...]

    def pair(self, source: str, receiver: str) -> Pair | None:
        """One pair; None where nothing arrives."""
        return next((p for p in self.pairs if (p.source, p.receiver) == (source, receiver)), None)


def pairs(
    world: World,
    sources: Iterable[str] | None = None,
    receivers: Iterable[str] | None = None,
    *,
    version: int = 4,
    only: Condition | None = None,
    spoofed: bool = False,
    answers: bool = True,
    capacity: int = CAPACITY,
    largest: int = LARGEST,
) -> Reach:
    """Every pair of hosts, or of some of them, between which some packet arrives.

    A packet has one of its sender's own addresses as source, or with `spoofed` any. `only` narrows packets
    down, as they are sent. Without `answers`, nobody answers. `capacity` and `largest` are `with_room`'s.

    Raises DataplaneError for a host that the world does not have or if there are too many packets to keep
    apart, ModelsDisagree if an example does not fare as the sets say.
    """
    chosen = list(world.stacks) if sources is None else list(sources)
    wanted = list(world.stacks) if receivers is None else list(receivers)
    for name in (*chosen, *wanted):
        if name not in world.stacks:
            raise DataplaneError(f"no host {name!r} in this world: it has {', '.join(world.stacks)}")

    def work(room: int) -> Reach:
        stacks = world.stacks.values()
        filters = [stack.filters[version] for stack in stacks]
        sets = sets_for([stack.view for stack in stacks], filters, capacity=room)
        asked = _Asked(world, sets, only, spoofed=spoofed, answers=answers)
        return Reach(world, sets, tuple(pair for source in chosen for pair in asked.of(source, wanted)))

    return with_room(work, capacity=capacity, largest=largest)


class _Asked:
    """One question to one world."""

    def __init__(
        self, world: World, sets: PacketSets, only: Condition | None, *, spoofed: bool, answers: bool
    ) -> None:
        self.world, self.sets, self.spoofed, self.answers = world, sets, spoofed, answers
        self.flood = Flood(world, sets)
        self.lens = self.flood.lens
        self.only = [WELL_FORMED] if only is None else [WELL_FORMED, only]

    def of(self, source: str, receivers: Sequence[str]) -> list[Pair]:
        """The pairs of one source."""
        parts = [*self.only, Named("in_interface", ""), equals("pkttype", 0)]
        if not self.spoofed:
            parts.append(own_sources(self.world, source, self.sets.version))
        sent = Piece(self.sets.satisfying(All(tuple(parts))), {})
        arrived: dict[str, list[Arrival]] = {}
        for arrival in self.flood.send(source, sent):
            if arrival.end.fate == "delivered":
                arrived.setdefault(arrival.host, []).append(arrival)
        return [self._pair(source, each, arrived[each]) for each in receivers if each in arrived]

    def _pair(self, source: str, receiver: str, arrived: Sequence[Arrival]) -> Pair:
        sets = self.sets
        nowhere = sets.satisfying(Named("out_interface", ""))  # as it is where a packet begins
        packets = nowhere & sets.union([arrival.end.piece.packets for arrival in arrived])
        returned = nowhere & self._returned(source, receiver, arrived) if self.answers else sets.nothing
        return Pair(
            source,
            receiver,
            sets.possibly(packets),
            sets.surely(packets),
            sets.possibly(returned),
            sets.surely(returned),
            self._example(source, receiver, packets, back=False),
            self._example(source, receiver, returned, back=True),
        )

    def _returned(self, source: str, receiver: str, arrived: Sequence[Arrival]) -> Set:
        """The packets whose answer comes back to who sent them."""
        found: list[Set] = []
        for arrival in arrived:
            asking = arrival.end.piece.cut(self.sets.satisfying(QUESTIONS[self.sets.version]))
            if not asking.packets.satisfiable():
                continue
            answer = reply(self.lens, asking)
            found += [
                back.end.piece.packets
                for back in self.flood.send(receiver, answer, arrival.held)
                if back.end.fate == "delivered" and back.host == source
            ]
        return self.sets.union(found)

    def _example(self, source: str, receiver: str, packets: Set, *, back: bool) -> Example | None:
        sets = self.sets
        sure = sets.surely(packets)
        is_sure = not sets.is_empty(sure)
        packet = sets.example(sure if is_sure else packets)
        if packet is None:
            return None
        assumed = {} if is_sure else sets.assumptions(packets & sets.singleton(packet))
        self.world.forget()
        there = self.world.trace(packet, source, assume=assumed)
        self._agree(packet, there, source, receiver, assumed)
        answer = None
        if back:
            answer = self.world.trace(there.final.reply(), receiver, assume=assumed)
            self._agree(packet, answer, receiver, source, assumed)
        self.world.forget()
        return Example(packet, there, answer, tuple(sorted(assumed.items())), _deciding(there))

    def _agree(
        self, packet: Packet, trace: Trace, sender: str, receiver: str, assumed: dict[str, bool]
    ) -> None:
        if trace.verdict == "delivered" and trace.host == receiver:
            return
        words = "" if not assumed else f", with {assumed}"
        what = "it" if trace.packet == packet else f"its answer {trace.packet}"
        raise ModelsDisagree(
            f"{packet}: by the packet sets {what} gets from {sender} to {receiver}{words}; as a single "
            f"packet it is {trace.verdict} at {trace.host}: {trace.reason}. One of the two models is wrong: "
            "please report this, with the rules of the hosts on the way"
        )


def _deciding(trace: Trace) -> tuple[str, Place] | None:
    """The last rule or policy of a filter table that ended the packet's walk through a chain."""
    for step in reversed(trace.steps):
        if isinstance(step, PolicyStep) and step.chain.table == "filter":
            return step.host, step.place
        ends = isinstance(step, RuleStep) and step.matched and step.rule.ending is not None
        if ends and isinstance(step, RuleStep) and step.rule.place.table == "filter":
            return step.host, step.place
    return None
