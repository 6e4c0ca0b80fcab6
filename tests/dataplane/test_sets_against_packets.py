"""For random rulesets, a packet is in the set of its own fate and in no other: in every table and chain.

Chains that write into packets show their packets as they leave. There the image of a single packet must be
the single packet that the boolean run ends with, bit by bit, and lie in the image of all packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Unknown
from netverify.dataplane.entry import forget
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import CompiledChain, Program, compile_rules
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending
from netverify.ruleset import Ruleset
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from tests.strategies.dataplane import HOST, packets, rulesets

Drawn = tuple[int, str, list[Packet]]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
ENTERED = tuple(f"entry_{field.name}" for field in fields(Packet))  # what packets were like as they came
SMALL = 1 << 20  # nodes; a manager for large rule sets takes a second to make


def _drawn(version: int) -> st.SearchStrategy[Drawn]:
    """As text, which is what people read of a failure."""
    rules = rulesets(version, size=4).map(Ruleset.render)
    return st.tuples(st.just(version), rules, st.lists(packets(version), min_size=1, max_size=6))


def _program(version: int, text: str) -> Program:
    return compile_rules(Ruleset.parse(text, family="ipv4" if version == 4 else "ipv6"), HOST)


def _chains(program: Program) -> list[CompiledChain]:
    """The kernel's own chains of every table that there is."""
    return [chain for (table, name), chain in program.chains.items() if name in BUILTIN_CHAINS[table]]


def _walk(
    program: Program, chain: CompiledChain, packet: Packet, turned: bool
) -> tuple[Ending, Packet, dict[str, bool]]:
    """One packet's ending, what became of it, and the values of the unknowns that were asked."""
    assume: dict[str, bool] = {}
    while True:  # an unknown that is turned around may lead to others
        one = OnePacket(packet, assume)
        (ending,) = Evaluator(program, one).run(chain.table, chain.name, True)
        unasked = {name: not value for name, value in one.assumed.items() if name not in assume}
        if not turned or not unasked:
            return ending, one.packet, dict(one.assumed)
        assume |= unasked


@settings(PATIENT, max_examples=60)
@given(st.sampled_from([4, 6]).flatmap(_drawn), st.booleans())
def test_every_chain_of_every_table(drawn: Drawn, turned: bool) -> None:
    version, text, probes = drawn
    program = _program(version, text)
    sets = PacketSets.of(program, capacity=SMALL)
    for chain in _chains(program):
        evaluator = Evaluator(program, sets)
        exits = evaluator.run(chain.table, chain.name, sets.everything)
        event(f"{chain.table} {'writes' if chain.rewrites else 'reads'}")
        for packet in probes:
            ending, final, asked = _walk(program, chain, packet, turned)
            if chain.rewrites:
                _image(sets, exits, evaluator, chain, (packet, final, ending), asked)
            else:
                assert _holding(sets, exits, packet, asked) == {ending}


def _holding(sets: PacketSets, exits: Exits[Set], packet: Packet, asked: Mapping[str, bool]) -> set[Ending]:
    return {ending for ending, members in exits.items() if sets.contains(members, packet, dict(asked))}


def _image(
    sets: PacketSets,
    exits: Exits[Set],
    evaluator: Evaluator[Set],
    chain: CompiledChain,
    run: tuple[Packet, Packet, Ending],
    asked: Mapping[str, bool],
) -> None:
    """The image of one packet is the packet that it becomes, under exactly these values of the unknowns."""
    packet, final, ending = run
    assert sets.contains(exits[ending], final, dict(asked))
    evaluator.run(chain.table, chain.name, sets.singleton(packet))
    # Every field and unknown has been asked for by now, so that a singleton is a single packet.
    alone = evaluator.run(chain.table, chain.name, sets.singleton(packet))
    world = _world(sets, {name: asked.get(name, False) for name in sets.unknowns})
    left = {each: forget(sets, sets.both(members, world), ENTERED) for each, members in alone.items()}
    assert {each for each, members in left.items() if not sets.is_empty(members)} == {ending}
    assert left[ending] == forget(sets, sets.both(sets.singleton(final), world), ENTERED)


def _world(sets: PacketSets, values: Mapping[str, bool]) -> Set:
    """The unknowns with these values."""
    made = sets.everything
    for name, value in values.items():
        variable = sets.satisfying(Unknown(name))
        made = sets.both(made, variable) if value else sets.without(made, variable)
    return made


@settings(PATIENT, max_examples=40)
@given(st.sampled_from([4, 6]).flatmap(_drawn))
def test_what_is_surely_and_what_is_possibly_so(drawn: Drawn) -> None:
    """Surely is under every value of the unknowns, possibly is under some."""
    version, text, probes = drawn
    program = _program(version, text)
    sets = PacketSets.of(program, capacity=SMALL)
    for chain in _chains(program):
        exits = Evaluator(program, sets).run(chain.table, chain.name, sets.everything)
        if chain.rewrites:
            continue
        for packet in probes:
            fates = {_walk(program, chain, packet, turned)[0] for turned in (False, True)}
            for ending, members in exits.items():
                if sets.contains(sets.surely(members), packet):
                    assert fates == {ending}
                if ending in fates:
                    assert sets.contains(sets.possibly(members), packet)
