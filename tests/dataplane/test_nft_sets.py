"""Native rules over all packets at once: the sets say of each packet what its own run says."""

from __future__ import annotations

import random

import pytest

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.hooks import Filters
from netverify.dataplane.packet import SYN, Packet, State
from netverify.dataplane.sets import PacketSets
from netverify.ruleset import NftSet
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Concatenation,
    Meta,
    Operation,
    Pair,
    Prefix,
    Range,
    SetReference,
    Verbatim,
)
from netverify.ruleset.nft_statements import Assignment, Comparison, VerdictMap
from tests.dataplane.nft_rules import (
    ACCEPT,
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

JUMPS = NftSet(
    "jumps", ("ifname",), "verdict",
    elements=(*(Pair(f"br{number}", jump("inner")) for number in range(40)), Pair("eth0", jump("marking"))),
)  # fmt: skip
PAIRS = AnonymousSet(
    (Concatenation((Prefix("10.1.0.0", 30), 80)), Concatenation(("10.1.0.9", Range(20, 25))))
)
NATIVE = table(
    user("inner", rule(equal(TCP_PORT, 22), RETURN), rule(DROP)),
    user(
        "marking",
        rule(equal(Operation("&", (MARK, 1)), 1), Assignment(MARK, 6), equal(TCP_PORT, 80), ACCEPT),
        rule(equal(MARK, 6), COUNTER, DROP),
        rule(Assignment(MARK, Operation("|", (MARK, 8)))),
    ),
    base(
        "forward", "forward", 0,
        rule(Comparison("in", STATE, "established"), ACCEPT),
        rule(VerdictMap(Meta("iifname"), SetReference("jumps"))),
        rule(equal(Concatenation((SOURCE, TCP_PORT)), PAIRS), COUNTER, ACCEPT),
        rule(VerdictMap(MARK, AnonymousSet((Pair(8, ACCEPT), Pair(Range(9, 12), jump("inner")))))),
        rule(Verbatim("limit", '{"limit":{"rate":1,"per":"second"}}'), ACCEPT),
        policy="drop",
    ),
    sets=(JUMPS,),
)  # fmt: skip


def packets(count: int) -> list[Packet]:
    draw = random.Random(7)
    return [
        Packet.of(
            f"10.1.0.{draw.randrange(1, 12)}", "10.2.0.2", draw.choice(("tcp", "tcp", "udp")),
            dport=draw.choice((19, 20, 22, 25, 26, 79, 80)), mark=draw.randrange(14), tcp_flags=SYN,
            in_interface=draw.choice(("eth0", "br3", "br39", "br40")), out_interface="eth1",
            state=draw.choice((State.NEW, State.ESTABLISHED)), tracked=1,
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("limited", [False, True])
def test_sets_and_single_packets_agree(limited: bool) -> None:
    program = Filters.of(host(NATIVE), 4).nft
    devices = {"eth0", "eth1", "lo", *program.devices()}
    sets = PacketSets(4, devices)
    (unknown,) = _assumed(program)
    exits = Evaluator(program, sets).run("inet t", "forward", sets.everything)
    for packet in packets(400):
        one = OnePacket(packet, {unknown: limited})
        (ending,) = Evaluator(program, one).run("inet t", "forward", True)
        assert sets.contains(exits[ending], one.packet, {unknown: limited}), (packet, ending)


def _assumed(program) -> dict[str, bool]:
    one = OnePacket(Packet.of("10.9.0.1", "10.2.0.2", "udp", in_interface="eth1", out_interface="eth0"))
    Evaluator(program, one).run("inet t", "forward", True)
    return one.assumed


def test_a_program_names_the_devices_that_its_rules_ask_for() -> None:
    assert {"br0", "br39", "eth0"} <= Filters.of(host(NATIVE), 4).nft.devices()
