"""What native rules do, each kind once; tests/kernel/test_nft_fidelity.py has the kernel's word on it."""

from __future__ import annotations

import pytest

from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.nft import compile_nft
from netverify.dataplane.packet import Packet
from netverify.dataplane.stack import Delivered, Fate, Sent, Stack, Stopped
from netverify.ruleset import NftPlace, NftSet
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Concatenation,
    Ct,
    Fib,
    Flags,
    MapLookup,
    Meta,
    Operation,
    Pair,
    Payload,
    Prefix,
    Presence,
    Range,
    SetReference,
    Verbatim,
    Verdict,
)
from netverify.ruleset.nft_statements import Assignment, Comparison, Nat, NoTrack, Reject, VerdictMap, Xt
from tests.dataplane.nft_rules import (
    ACCEPT,
    CONTINUE,
    COUNTER,
    DROP,
    MARK,
    RETURN,
    SOURCE,
    STATE,
    TCP_PORT,
    base,
    equal,
    host,
    jump,
    rule,
    table,
    user,
)

WEB = Packet.of("10.1.0.2", "10.2.0.2", "tcp", dport=80)


def forwarded(*rules, packet: Packet = WEB, policy: str = "accept", chains=(), sets=(), assume=None) -> Fate:
    """What becomes of a packet that meets these rules in FORWARD."""
    native = table(*chains, base("forward", "forward", 0, *rules, policy=policy), sets=tuple(sets))
    stack = Stack(host(native))
    stack.assume = assume or {}
    return stack.receive(packet, "eth0")


def passes(*rules, **more) -> bool:
    return isinstance(forwarded(*rules, **more), Sent)


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        (equal(TCP_PORT, 80), True),
        (Comparison("!=", TCP_PORT, 80), False),
        (Comparison("<", TCP_PORT, 80), False),
        (Comparison("<=", TCP_PORT, 80), True),
        (equal(TCP_PORT, AnonymousSet((22, Range(79, 81)))), True),
        (equal(SOURCE, Prefix("10.1.0.0", 24)), True),
        (equal(SOURCE, "10.1.0.3"), False),
        (Comparison("!=", Payload("udp", "dport"), 53), False),  # TCP: the rule does not get so far
        (Comparison("!=", Payload("ip6", "saddr"), "fd00::1"), False),
        (equal(Meta("iifname"), "eth*"), True),
        (equal(Meta("iifname"), "eth"), False),
        (equal(Meta("nfproto"), "ipv4"), True),
        (Comparison("in", STATE, Flags(("established", "new"))), True),
        (Comparison("!", STATE, Flags(("established", "related"))), True),
        (equal(STATE, AnonymousSet(("established", "related"))), False),
        (Comparison("in", Payload("tcp", "flags"), "syn"), True),
        (equal(Operation("&", (Payload("tcp", "flags"), Flags(("syn", "ack")))), "syn"), True),
        (equal(Operation("&", (MARK, 0xFF)), 0), True),
        (Comparison("!=", Operation("&", (MARK, 0xFF)), 0), False),
        (equal(Operation("^", (Operation("&", (MARK, 0xF)), 3)), 3), True),
        (equal(Concatenation((SOURCE, TCP_PORT)), AnonymousSet((Concatenation(("10.1.0.2", 80)),))), True),
        (equal(Fib("type", ("daddr",)), "local"), False),
        (equal(Fib("oif", ("saddr", "iif")), Presence(False)), False),
        (equal(Payload("ip", "dscp"), "cs0"), True),
        (Comparison("in", Ct("status"), "dnat"), False),
        (equal(Meta("skuid"), 0), False),
        (Comparison("!=", Meta("skuid"), 0), False),  # nobody's socket: no value to compare
    ],
    ids=str,
)
def test_comparisons(test: Comparison, holds: bool) -> None:
    assert passes(rule(test, DROP)) is not holds


def test_accept_ends_only_its_own_base_chain() -> None:
    both = table(
        base("early", "forward", -10, rule(ACCEPT)),
        base("late", "forward", 10, rule(DROP)),
    )
    fate = Stack(host(both)).receive(WEB, "eth0")
    assert isinstance(fate, Stopped)
    assert fate.place == NftPlace("inet", "t", "late", 1)


def test_policies_returns_and_gotos() -> None:
    assert not passes(rule(RETURN), policy="drop")
    inner = user("inner", rule(RETURN), rule(DROP))
    assert passes(rule(jump("inner")), rule(ACCEPT), chains=[inner], policy="drop")
    # What comes back from a goto has done with the chain that went there.
    assert not passes(rule(Verdict("goto", "inner")), rule(ACCEPT), chains=[inner], policy="drop")


def test_a_verdict_map_does_what_it_finds() -> None:
    jumps = NftSet("jumps", ("ifname",), "verdict", elements=(Pair("eth0", jump("in")), Pair("eth1", DROP)))
    by_map = rule(VerdictMap(Meta("iifname"), SetReference("jumps")))
    assert not passes(by_map, chains=[user("in", rule(DROP))], sets=[jumps])
    assert passes(by_map, chains=[user("in", rule(RETURN))], sets=[jumps])
    empty = NftSet("jumps", ("ifname",), "verdict")
    assert passes(by_map, sets=[empty])


def test_continue_goes_on_in_the_rule_and_a_miss_does_not() -> None:
    choice = VerdictMap(TCP_PORT, AnonymousSet((Pair(80, CONTINUE), Pair(443, ACCEPT))))
    assert not passes(rule(choice, DROP))
    other = Packet.of("10.1.0.2", "10.2.0.2", "tcp", dport=22)
    assert passes(rule(choice, DROP), packet=other)


def test_what_is_written_is_what_is_tested_next() -> None:
    """The tests before a write are not asked again, those after it see what was written."""
    written = rule(equal(MARK, 0), Assignment(MARK, 5), equal(MARK, 5), DROP)
    assert not passes(written)
    unseen = rule(equal(MARK, 0), Assignment(MARK, 5), equal(MARK, 0), DROP)
    assert passes(unseen)


def test_a_jump_from_a_map_sees_no_other_element() -> None:
    """The chain that is called writes the key of another element: the lookup was made before."""
    rewriting = user("rewriting", rule(Assignment(MARK, 1)))
    by_mark = VerdictMap(MARK, AnonymousSet((Pair(0, jump("rewriting")), Pair(1, DROP))))
    assert passes(rule(by_mark), chains=[rewriting])
    assert not passes(rule(by_mark), rule(by_mark), chains=[rewriting])


def test_return_after_a_write_leaves_the_chain() -> None:
    inner = user("inner", rule(Assignment(MARK, 7), RETURN), rule(DROP))
    assert passes(rule(jump("inner")), chains=[inner])


def test_counters_count_what_comes_to_them() -> None:
    native = table(
        base(
            "forward", "forward", 0,
            rule(COUNTER, equal(TCP_PORT, 22), DROP),
            rule(equal(TCP_PORT, 22), COUNTER),
            rule(equal(TCP_PORT, 80), COUNTER, Assignment(MARK, 1), equal(MARK, 2), ACCEPT),
            rule(equal(TCP_PORT, 80), ACCEPT),
        )
    )  # fmt: skip
    stack = Stack(host(native))
    stack.receive(WEB, "eth0")
    counted = {step.place.number for step in stack.recorder.steps if getattr(step, "counted", False)}
    assert counted == {1, 3}


def test_translation_by_a_map() -> None:
    published = AnonymousSet((Pair(Concatenation(("10.1.0.1", 8080)), Concatenation(("10.2.0.9", 80))),))
    key = Concatenation((Payload("ip", "daddr"), TCP_PORT))
    nat = rule(Nat("dnat", MapLookup(key, published), family="ip"))
    native = table(base("to", "prerouting", -100, nat, kind="nat"))
    asked = Packet.of("10.1.0.2", "10.1.0.1", "tcp", dport=8080)
    fate = Stack(host(native)).receive(asked, "eth0")
    assert isinstance(fate, Sent)
    assert (str(fate.packet.destination_address), fate.packet.dport) == ("10.2.0.9", 80)
    missed = Stack(host(native)).receive(asked.with_(dport=8081), "eth0")
    assert isinstance(missed, Delivered)


@pytest.mark.parametrize(("port", "target"), [(80, "10.2.0.3"), (22, "10.2.0.4"), (53, "10.2.0.2")])
def test_the_nat_chain_of_lowest_priority_that_gives_a_mapping_wins(port: int, target: str) -> None:
    first = base("first", "prerouting", -110, rule(equal(TCP_PORT, 80), Nat("dnat", "10.2.0.3")), kind="nat")
    either = equal(TCP_PORT, AnonymousSet((22, 80)))
    second = base("second", "prerouting", -90, rule(either, Nat("dnat", "10.2.0.4")), kind="nat")
    for chains in ((first, second), (second, first)):
        fate = Stack(host(table(*chains, family="ip"))).receive(WEB.with_(dport=port), "eth0")
        assert isinstance(fate, Sent)
        assert str(fate.packet.destination_address) == target


def test_masquerade_sees_where_a_packet_came_in() -> None:
    leaving = rule(
        Comparison("!=", Meta("oifname"), "eth0"), equal(Meta("iifname"), "eth0"), Nat("masquerade")
    )
    fate = Stack(host(table(base("from", "postrouting", 100, leaving, kind="nat")))).receive(WEB, "eth0")
    assert isinstance(fate, Sent)
    assert str(fate.packet.source_address) == "10.2.0.1"


def test_notrack_leaves_what_is_tracked() -> None:
    early = table(
        base("raw", "prerouting", -300, rule(NoTrack())),
        base("f", "forward", 0, rule(equal(STATE, "untracked"), DROP)),
    )
    late = table(
        base("raw", "prerouting", -150, rule(NoTrack())),
        base("f", "forward", 0, rule(equal(STATE, "untracked"), DROP)),
    )
    assert isinstance(Stack(host(early)).receive(WEB, "eth0"), Stopped)
    assert isinstance(Stack(host(late)).receive(WEB, "eth0"), Sent)


@pytest.mark.parametrize(
    ("reject", "expected"),
    [
        (Reject("icmpx", "admin-prohibited"), (3, 13)),
        (Reject("icmpx", "no-route"), (3, 0)),
        (Reject("icmp", "host-unreachable"), (3, 1)),
        (Reject(), (3, 3)),
    ],
)
def test_rejections(reject: Reject, expected: tuple[int, int]) -> None:
    fate = forwarded(rule(reject))
    assert isinstance(fate, Stopped)
    assert fate.answer is not None
    assert (fate.answer.icmp_type, fate.answer.icmp_code) == expected


def test_a_rejection_for_the_other_family_does_nothing() -> None:
    assert passes(rule(Reject("icmpv6", "no-route")))
    assert passes(rule(Reject("tcp reset")), packet=Packet.of("10.1.0.2", "10.2.0.2", "udp", dport=80))


def test_chains_in_a_circle() -> None:
    native = table(user("a", rule(jump("b"))), user("b", rule(jump("a"))))
    with pytest.raises(DataplaneError, match="a -> b -> a"):
        compile_nft(host(native).nft, host(), 4)


@pytest.mark.parametrize(
    ("strange", "usually"),
    [
        (Verbatim("limit", '{"limit":{"rate":5,"per":"second"}}'), True),
        (Verbatim("limit", '{"limit":{"rate":5,"per":"second","inv":true}}'), False),
        (Verbatim("ct count", '{"ct count":{"val":3,"inv":true}}'), False),
        (equal(Verbatim("jhash", '{"jhash":{}}'), 0), False),
        (equal(Payload("tcp", "window"), 5), False),
        (Xt("match", "string"), False),
        (Verbatim("novelty", '{"novelty":1}'), True),
    ],
    ids=str,
)
def test_what_is_not_understood_is_an_unknown(strange, usually: bool) -> None:
    """The rule is kept, its usual reading has a name, and the other reading can be had."""
    native = table(base("forward", "forward", 0, rule(strange, DROP)))
    stack = Stack(host(native))
    stopped = isinstance(stack.receive(WEB, "eth0"), Stopped)
    ((name, value),) = stack.recorder.assumed.items()
    assert (stopped, value) == (usually, usually)
    assert passes(rule(strange, DROP), assume={name: not usually}) is usually


def test_a_set_that_rules_write_into_is_not_known() -> None:
    listed = NftSet("seen", ("ipv4_addr",), flags=("timeout",), elements=("10.1.0.9",))
    adding = rule(
        Verbatim(
            "set", '{"set":{"op":"add","elem":{"payload":{"protocol":"ip","field":"saddr"}},"set":"@seen"}}'
        )
    )
    banned = rule(equal(SOURCE, SetReference("seen")), DROP)
    is_in = {"the packet is in @seen, which rules change as packets pass": True}
    assert passes(adding, banned, sets=[listed])
    assert passes(banned, sets=[listed], assume=is_in)
    assert not passes(adding, banned, sets=[listed], assume=is_in)


def test_dormant_tables_and_other_families_are_left_out() -> None:
    asleep = table(base("forward", "forward", 0, policy="drop"), family="ip")
    awake = Stack(host(asleep)).receive(WEB, "eth0")
    assert isinstance(awake, Stopped)
    view = host(type(asleep)("ip", "t", asleep.chains, flags=("dormant",)))
    assert isinstance(Stack(view).receive(WEB, "eth0"), Sent)
    assert isinstance(Stack(host(table(*asleep.chains, family="ip6"))).receive(WEB, "eth0"), Sent)
