"""Sets of packets agree with single packets, rule by rule and chain by chain."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Masked, Not, Within
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.targets import Ending, Verdict
from netverify.ruleset import Ruleset
from tests.strategies.dataplane import HOST, filters, packets

SMALL = 1 << 20  # nodes; a manager for large rule sets takes a second to make
FORWARD = "*filter\n:FORWARD {policy} [0:0]\n{rules}COMMIT\n"


def _both_ways(rules: Ruleset, packet: Packet, assume: dict[str, bool]) -> tuple[Ending, Packet, set[Ending]]:
    """The ending and the final packet of one run, and the endings whose set holds that packet."""
    program = compile_rules(rules, HOST)
    one = OnePacket(packet, assume)
    exits = Evaluator(program, one).run("filter", "FORWARD", True)
    (ending,) = exits
    sets = PacketSets.of(program, capacity=SMALL)
    start = _singleton(sets, packet, rules)
    found: Exits = Evaluator(program, sets).run("filter", "FORWARD", start)
    named = {name: one.assume.get(name, one.assumed.get(name, False)) for name in sets.unknowns}
    holding = {each for each, members in found.items() if sets.contains(members, one.packet, named)}
    return ending, one.packet, holding


def _singleton(sets: PacketSets, packet: Packet, rules: Ruleset) -> object:
    """Everything, where no rule writes; else one packet, since an image forgets where it came from."""
    program = compile_rules(rules, HOST)
    if not any(chain.rewrites for chain in program.chains.values()):
        return sets.everything
    condition = sets.everything
    for field in (
        "mark",
        "connmark",
        "state",
        "tracked",
        "protocol",
        "source",
        "destination",
        "sport",
        "dport",
    ):
        value = int(getattr(packet, field))
        condition = sets.both(condition, sets.satisfying(Within(field, ((value, value),))))
    return condition


@settings(max_examples=100)
@given(st.sampled_from([4, 6]).flatmap(lambda v: st.tuples(filters(v), packets(v))), st.booleans())
def test_a_packet_is_in_the_set_of_its_fate_alone(drawn: tuple[Ruleset, Packet], unknown: bool) -> None:
    rules, packet = drawn
    names = {}
    if unknown:
        asked = OnePacket(packet)
        Evaluator(compile_rules(rules, HOST), asked).run("filter", "FORWARD", True)
        names = {name: not value for name, value in asked.assumed.items()}
    ending, _final, holding = _both_ways(rules, packet, names)
    assert holding == {ending}


@settings(max_examples=40)
@given(filters(4, size=14))
def test_summaries_change_nothing(rules: Ruleset) -> None:
    program = compile_rules(rules, HOST)
    sets = PacketSets.of(program, capacity=SMALL)
    halved = Evaluator(program, sets).run("filter", "FORWARD", sets.everything)
    folded = Evaluator(program, sets)
    sets.summarises = False
    assert halved == folded.run("filter", "FORWARD", sets.everything)


@given(filters(4))
@settings(max_examples=40)
def test_the_endings_are_disjoint_and_leave_nobody_out(rules: Ruleset) -> None:
    program = compile_rules(rules, HOST)
    sets = PacketSets.of(program, capacity=SMALL)
    exits = Evaluator(program, sets).run("filter", "FORWARD", sets.everything)
    if program.chains["filter", "FORWARD"].rewrites:
        return
    union = sets.nothing
    for members in exits.values():
        assert sets.is_empty(sets.both(union, members))
        union = sets.either(union, members)
    assert union == sets.everything


@given(filters(4))
@settings(max_examples=40)
def test_an_example_is_a_member(rules: Ruleset) -> None:
    program = compile_rules(rules, HOST)
    sets = PacketSets.of(program, capacity=SMALL)
    for members in Evaluator(program, sets).run("filter", "FORWARD", sets.everything).values():
        packet = sets.example(members)
        assert packet is not None
        assert sets.contains(members, packet, sets.assumptions(members)) or sets.unknowns


@given(
    st.sampled_from(["dport", "protocol", "mark", "destination"]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=4),
    st.integers(0, 300),
)
def test_ranges(field: str, ranges: list[tuple[int, int]], value: int) -> None:
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    condition = Within(field, tuple(ranges))
    packet = Packet.of("10.0.0.1", "10.0.0.2", "tcp").with_(**{field: value % 256})
    assert sets.contains(sets.satisfying(condition), packet) == OnePacket(packet).satisfying(condition)
    assert sets.contains(sets.satisfying(Not(condition)), packet) != OnePacket(packet).satisfying(condition)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_masks(mask: int, value: int, number: int) -> None:
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    condition = Masked("mark", value & mask, mask)
    packet = Packet.of("10.0.0.1", "10.0.0.2", "tcp", mark=number)
    assert sets.contains(sets.satisfying(condition), packet) == OnePacket(packet).satisfying(condition)


def test_boxes_read_a_set_out_field_by_field() -> None:
    rules = (
        "-A FORWARD -p tcp -m multiport --dports 80:90,443 -j ACCEPT\n-A FORWARD -d 10.0.0.0/8 -j ACCEPT\n"
    )
    program = compile_rules(Ruleset.parse(FORWARD.format(policy="DROP", rules=rules)), HOST)
    sets = PacketSets.of(program, capacity=SMALL)
    accepted = Evaluator(program, sets).run("filter", "FORWARD", sets.everything)[Verdict.ACCEPT]
    boxes = [dict(box.fields) for box in sets.boxes(accepted, ("destination", "protocol", "dport"))]
    ten = ((10 << 24, (11 << 24) - 1),)
    assert boxes == [
        {"protocol": ((0, 5), (7, 255)), "destination": ten},
        {
            "protocol": ((6, 6),),
            "destination": ((0, (10 << 24) - 1), (11 << 24, (1 << 32) - 1)),
            "dport": ((80, 90), (443, 443)),
        },
        {"protocol": ((6, 6),), "destination": ten},
    ]


def test_unknowns_are_variables() -> None:
    rules = '-A FORWARD -m string --algo bm --string "x" -j ACCEPT\n-A FORWARD -p tcp -j ACCEPT\n'
    program = compile_rules(Ruleset.parse(FORWARD.format(policy="DROP", rules=rules)), HOST)
    sets = PacketSets.of(program, capacity=SMALL)
    accepted = Evaluator(program, sets).run("filter", "FORWARD", sets.everything)[Verdict.ACCEPT]
    tcp, udp = (Packet.of("10.0.0.1", "10.0.0.2", name) for name in ("tcp", "udp"))
    surely, possibly = sets.surely(accepted), sets.possibly(accepted)
    assert (sets.contains(surely, tcp), sets.contains(possibly, tcp)) == (True, True)
    assert (sets.contains(surely, udp), sets.contains(possibly, udp)) == (False, True)
