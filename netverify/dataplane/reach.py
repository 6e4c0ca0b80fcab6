"""Who can send what to whom, for all packets at once, with an example for each pair.

`passages` asks one ruleset, without routes and neighbours: between which devices its FORWARD chain lets
something pass, as packets arrive, that is before nat PREROUTING translates them. `pairs` asks a world of
hosts, from socket to socket, with everything on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oxidd.util import BooleanOperator

from netverify.dataplane import readout
from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.bundles import BUNDLE, MAPPING, Bundler, simple_endings
from netverify.dataplane.calls import Caller
from netverify.dataplane.condition import Condition, Named, equals
from netverify.dataplane.connections import DESTINATION
from netverify.dataplane.encoding import with_room
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet
from netverify.dataplane.pairs import ModelsDisagree, Pair, Reach, pairs
from netverify.dataplane.pieces import Known, Lens, Piece
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program
from netverify.dataplane.readout import only as alone
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.support import Support
from netverify.dataplane.targets import Nat, NatKind, Verdict
from netverify.dataplane.tracking import Tracker, inverse
from netverify.ruleset import RulePlace

__all__ = [
    "ModelsDisagree",
    "Pair",
    "Passage",
    "Reach",
    "accepted",
    "arriving",
    "deciding_rule",
    "pairs",
    "passages",
]

_NEW = equals("state", 1)


@dataclass(frozen=True, slots=True)
class Passage:
    """Some packet can go from one device to another: such a packet, and the rule that lets it pass.

    `packet` is as it arrives; the rule sees it after destination translation. `surely` says that it passes
    whatever the unknowns say; else `assumed` holds values with which it does.
    """

    in_interface: str
    out_interface: str
    packet: Packet
    place: Place
    surely: bool = True
    assumed: tuple[tuple[str, bool], ...] = ()


def accepted(program: Program, sets: PacketSets, chain: str = "FORWARD", table: str = "filter") -> Set:
    """The packets that a chain of the kernel's own lets pass."""
    exits = Caller(program, sets).run(table, chain, sets.entering(chain))
    return exits.get(Verdict.ACCEPT, sets.nothing)


def arriving(program: Program, sets: PacketSets) -> Set:
    """The new packets that FORWARD lets pass, as they arrive, with the device that they leave by."""
    return sets.union([part.packets(sets) for part in _arriving(program, sets, Lens(sets))])


def passages(
    program: Program,
    devices: list[str] | None = None,
    *,
    only: Condition | None = None,
    sets: PacketSets | None = None,
) -> list[Passage]:
    """Every pair of devices between which some packet that begins a connection can be forwarded.

    `devices` are the host's, but for bridge ports and lo, unless given; `only` narrows the packets down, as
    they arrive, to a service for instance. Pairs that nothing passes are not in the answer. Raises
    DataplaneError where the sets take more room than there is.
    """
    if sets is not None:
        return _passages(program, devices, only, sets)
    return with_room(lambda room: _passages(program, devices, only, PacketSets.of(program, capacity=room)))


def _passages(
    program: Program, devices: list[str] | None, only: Condition | None, sets: PacketSets
) -> list[Passage]:
    host, lens = program.host, Lens(sets)
    named = devices or [link.name for link in host.links if link.master is None and link.name != "lo"]
    parts = list(_arriving(program, sets, lens))
    packets = sets.union([part.packets(sets) for part in parts])
    if only is not None:
        packets = packets & sets.satisfying(only)
    held = {pair[:2] for pair in readout.by_devices(sets, packets.exists(sets.cube("state")))}
    found = []
    for source in named:
        entering = packets & sets.satisfying(Named("in_interface", source))
        for target in named:
            if (source, target) in held:
                passing = entering & sets.satisfying(Named("out_interface", target))
                found.append(_passage(program, lens, parts, passing, source, target))
    return found


@dataclass(frozen=True)
class _Part:
    """Packets that nat PREROUTING treats alike, as they arrive, and those of them that then may `pass`."""

    piece: Piece
    passing: Set

    def packets(self, sets: PacketSets) -> Set:
        """The packets that pass."""
        arriving = self.piece.packets
        if self.piece.rows is None:
            return arriving & self.passing
        others = sets.cube(*sorted(set(sets.fields) - {MAPPING}))
        return _by_rows(sets, arriving, self.passing, others, sets.bits("out_interface"))


def _by_rows(sets: PacketSets, arriving: Set, passing: Set, others: Set, devices: Sequence[Set]) -> Set:
    """The packets that arrive and pass, where a table's row, which is left out, tells which these are.

    By halves of the outgoing devices, which stand high in the diagrams, and for each half with the rows alone
    that lead there: else each device would ask of every arriving packet which row it belongs to. `others` are
    all variables but the row's number.
    """
    if not passing.satisfiable():
        return passing
    arriving = arriving & passing.exists(others)
    if not devices:
        return arriving.apply_exists(BooleanOperator.AND, passing, sets.cube(MAPPING))
    bit, *rest = devices
    one = _by_rows(sets, arriving, passing & bit, others, rest)
    return one | _by_rows(sets, arriving, passing & ~bit, others, rest)


def _arriving(program: Program, sets: PacketSets, lens: Lens) -> Iterator[_Part]:
    """The new packets that FORWARD lets pass, as they arrive, by what nat PREROUTING makes of them."""
    new = sets.satisfying(_NEW)
    passing = accepted(program, sets) & new
    chain = program.chain("nat", "PREROUTING")
    endings = simple_endings(program, "nat")
    if chain is None or chain.rewrites:
        yield _Part(Piece(passing, {}), passing)
        return
    arriving = sets.entering("PREROUTING") & new
    none = sets.satisfying(Named("out_interface", ""))
    tracker = Tracker(lens, Support([program]).tested)
    for ending, packets in Bundler(program, sets, endings).run("nat", "PREROUTING", arriving).items():
        came = packets.exists(sets.cube("out_interface")) & ~none  # by whatever device it will leave
        if ending in (Verdict.ACCEPT, Verdict.QUEUE):
            yield _Part(Piece(came, {}), passing)
        elif isinstance(ending, Nat) and ending.kind is not NatKind.REDIRECT:
            piece = _translated(tracker, Piece(came, {}), ending, endings)
            devices = alone(sets, came, "in_interface")
            yield _Part(piece, lens.of(piece, passing & devices))


def _translated(tracker: Tracker, piece: Piece, ending: Nat, endings: Sequence[Nat]) -> Piece:
    original = tracker.tuple_of(piece)
    known = Known(original, inverse(original), tracker.sets.true)
    begun = piece.with_(known=known)
    if ending is BUNDLE:
        begun = tracker.bundled(begun, endings)
    else:
        begun = tracker.decided(begun, ending, DESTINATION, None)
    return tracker.translated(begun, DESTINATION)


def _passage(
    program: Program, lens: Lens, parts: Sequence[_Part], passing: Set, source: str, target: str
) -> Passage:
    sets = lens.sets
    surely = sets.surely(passing)
    is_sure = not sets.is_empty(surely)
    chosen = surely if is_sure else passing
    packet = sets.example(chosen)
    if packet is None:
        raise ValueError("an empty set has no passage")
    assumed = {} if is_sure else sets.assumptions(chosen & sets.singleton(packet))
    seen = packet
    for part in parts:
        entered = lens.entered(part.passing & passing & part.piece.packets, packet, assumed)
        if entered is not None:
            seen = lens.became(part.piece, packet, entered).with_(out_interface=target)
            break
    place = deciding_rule(program, seen, "filter", "FORWARD", assumed)
    return Passage(source, target, packet, place, is_sure, tuple(sorted(assumed.items())))


def deciding_rule(
    program: Program, packet: Packet, table: str, chain: str, assume: dict[str, bool] | None = None
) -> Place:
    """The rule or policy that ends a packet's walk through one chain of the kernel's own."""
    last = _Last(RulePlace(table, chain, 0))
    Evaluator(program, OnePacket(packet, assume), last).run(table, chain, True)
    return last.place


class _Last:
    """Remembers the last rule that matched, or the policy."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def tested(self, rule: CompiledRule, failed: int, _matched: bool, /) -> None:
        if failed < 0:
            self.place = rule.place

    def reached_policy(self, chain: CompiledChain, _packets: bool, /) -> None:
        self.place = chain.policy_place
