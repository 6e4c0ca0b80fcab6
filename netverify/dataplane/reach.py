"""Who can send what through a host's FORWARD chain: for all packets at once, with an example for each pair.

This asks the filter tables at one hook, for packets as they look there (after destination translation); the
way of one packet through everything is `world.World.trace`.
"""

from __future__ import annotations

from dataclasses import dataclass

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Condition, Named, equals
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Verdict
from netverify.ruleset import RulePlace


@dataclass(frozen=True, slots=True)
class Passage:
    """Some packet can go from one device to another: such a packet, and the rule that lets it pass.

    `surely` says that it passes whatever the unknowns say; else `assumed` holds values with which it does.
    """

    in_interface: str
    out_interface: str
    packet: Packet
    place: RulePlace
    surely: bool = True
    assumed: tuple[tuple[str, bool], ...] = ()


def accepted(program: Program, sets: PacketSets, chain: str = "FORWARD", table: str = "filter") -> Set:
    """The packets that a chain of the kernel's own lets pass."""
    exits = Evaluator(program, sets).run(table, chain, sets.entering(chain))
    return exits.get(Verdict.ACCEPT, sets.nothing)


def passages(
    program: Program,
    devices: list[str] | None = None,
    *,
    only: Condition | None = None,
    sets: PacketSets | None = None,
) -> list[Passage]:
    """Every pair of devices between which some packet that begins a connection can be forwarded.

    `devices` are the host's, but for bridge ports and lo, unless given; `only` narrows the packets down, to a
    service for instance. Pairs that nothing passes are not in the answer.
    """
    sets = sets or PacketSets.of(program)
    host = program.host
    named = devices or [link.name for link in host.links if link.master is None and link.name != "lo"]
    packets = accepted(program, sets) & sets.satisfying(equals("state", 1))
    if only is not None:
        packets = packets & sets.satisfying(only)
    found = []
    for source in named:
        entering = packets & sets.satisfying(Named("in_interface", source))
        if sets.is_empty(entering):
            continue
        for target in named:
            passing = entering & sets.satisfying(Named("out_interface", target))
            if not sets.is_empty(passing):
                found.append(_passage(program, sets, passing, source, target))
    return found


def _passage(program: Program, sets: PacketSets, passing: Set, source: str, target: str) -> Passage:
    surely = sets.surely(passing)
    is_sure = not sets.is_empty(surely)
    chosen = surely if is_sure else passing
    packet = sets.example(chosen)
    if packet is None:
        raise ValueError("an empty set has no passage")
    inside = _holding(sets, chosen, packet)
    assumed = {} if is_sure else sets.assumptions(inside)
    place = deciding_rule(program, packet, "filter", "FORWARD", assumed)
    return Passage(source, target, packet, place, is_sure, tuple(sorted(assumed.items())))


def _holding(sets: PacketSets, packets: Set, packet: Packet) -> Set:
    """The part of a set that is one packet, so that only unknowns are left open."""
    return packets & sets.singleton(packet)


def deciding_rule(
    program: Program, packet: Packet, table: str, chain: str, assume: dict[str, bool] | None = None
) -> RulePlace:
    """The rule or policy that ends a packet's walk through one chain of the kernel's own."""
    last = _Last(RulePlace(table, chain, 0))
    Evaluator(program, OnePacket(packet, assume), last).run(table, chain, True)
    return last.place


class _Last:
    """Remembers the last rule that matched, or the policy."""

    def __init__(self, place: RulePlace) -> None:
        self.place = place

    def tested(self, rule: CompiledRule, failed: int, _matched: bool, /) -> None:
        if failed < 0:
            self.place = rule.place

    def reached_policy(self, chain: CompiledChain, _packets: bool, /) -> None:
        self.place = chain.policy_place
