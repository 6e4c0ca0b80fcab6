"""What targets end with, write and translate, in every form; and what the kernel alone chooses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import All, Condition, Unknown, equals, unknowns
from netverify.dataplane.entry import EntrySets
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.ipset import IpSet
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import compile_rules
from netverify.dataplane.rewrite import Add, Bits, CopyBits, Rewrite, Then, Untrack
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.targets import Nat, NatKind, Reject, Verdict, changed_sets, compile_target
from netverify.dataplane.translation import choose
from netverify.dataplane.view import HostView
from netverify.ruleset import Chain, Rule, Ruleset, Table
from tests.strategies.dataplane import HOST

V4 = ("192.0.2.7", "10.0.0.2")
SMALL = 1 << 16


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("DNAT --to-destination 10.0.0.2:80", Nat(NatKind.DNAT, (0x0A000002, 0x0A000002), (80, 80))),
        ("DNAT --to-destination 10.0.0.2-10.0.0.4", Nat(NatKind.DNAT, (0x0A000002, 0x0A000004))),
        ("SNAT --to-source :1024-65535", Nat(NatKind.SNAT, None, (1024, 65535))),
        ("MASQUERADE --to-ports 1024-2048", Nat(NatKind.MASQUERADE, None, (1024, 2048))),
        ("REDIRECT", Nat(NatKind.REDIRECT)),
        ("NETMAP --to 10.0.0.0/8", Nat(NatKind.NETMAP, network=(10 << 24, 0xFF000000))),
        ("REJECT --reject-with icmp-host-prohibited", Reject(3, 10, words="icmp-host-prohibited")),
        ("REJECT --reject-with tcp-reset", Reject(0, 0, reset=True, words="tcp-reset")),
        ("REJECT --reject-with icmp-port-unreach", Reject(3, 3, words="icmp-port-unreach")),
        ("REJECT --reject-with port-unreach", Reject(3, 3, words="port-unreach")),
        ("REJECT", Reject(3, 3, words="icmp-port-unreachable")),
        ("NFQUEUE --queue-num 1 --queue-bypass", Verdict.QUEUE),
        ("DNAT --to-destination :80-90/8000", Nat(NatKind.DNAT, None, (80, 90), base=8000)),
        (
            "SNAT --to-source 10.0.0.2 --random-fully",
            Nat(NatKind.SNAT, (0x0A000002, 0x0A000002), random=True),
        ),
        ("SNAT --to-source 10.0.0.2 --persistent", Nat(NatKind.SNAT, (0x0A000002,) * 2, persistent=True)),
        ("TCPMSS --clamp-mss-to-pmtu", None),
    ],
)
def test_target(text: str, ending: object) -> None:
    target = Rule.parse(f"-j {text}", chain="X").target
    assert target is not None
    assert compile_target(target, 4).ending == ending


@pytest.mark.parametrize(
    ("text", "mark", "connmark"),
    [
        ("MARK --set-xmark 0x5/0xff", 0xA05, 0x30),
        ("MARK --set-mark 0x5/0x1", 0xA0F, 0x30),
        ("MARK --or-mark 0x10", 0xA1F, 0x30),
        ("MARK --and-mark 0xf0", 0x00, 0x30),
        ("MARK --xor-mark 0xff", 0xAF0, 0x30),
        ("CONNMARK --save-mark", 0xA0F, 0xA0F),
        ("CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xff", 0xA3F, 0x30),
        ("CONNMARK --set-xmark 0x1/0xf", 0xA0F, 0x31),
    ],
)
def test_marks(text: str, mark: int, connmark: int) -> None:
    chain = Chain.of("FORWARD", f"-j {text}", policy="ACCEPT")
    one = OnePacket(Packet.of(*V4, mark=0xA0F, connmark=0x30, tracked=1))
    program = compile_rules(Ruleset("ipv4", (Table("mangle", (chain,)),)), HOST)
    Evaluator(program, one).run("mangle", "FORWARD", True)
    assert (one.packet.mark, one.packet.connmark) == (mark, connmark)


@pytest.mark.parametrize(
    ("words", "code"),
    [("port-unreach", 4), ("no-route", 0), ("icmp6-adm-prohib", 1), ("icmp6-policy-fail", 5)],
)
def test_the_same_words_reject_otherwise_in_ipv6(words: str, code: int) -> None:
    target = Rule.parse(f"-j REJECT --reject-with {words}", chain="X").target
    assert target is not None
    assert compile_target(target, 6).ending == Reject(1, code, words=words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CT --zone 5", "--zone 5"),
        ("CT --helper ftp", "--helper ftp"),
        ("TEE --gateway 10.0.0.9", "copy"),
        ("HMARK --hmark-tuple src", "mark"),
        ("TPROXY --on-port 80", "socket"),
        ("SYNPROXY --mss 1460", "handshake"),
        ("CLUSTERIP --new", "node"),
        ("SET --map-set x src", "--map-set"),
        ("TOS --set-tos strange", "TOS"),
        ("CONNMARK --set-mark strange", "CONNMARK"),
    ],
)
def test_what_is_not_modelled_is_said(text: str, words: str) -> None:
    target = Rule.parse(f"-j {text}", chain="X").target
    assert target is not None
    effect = compile_target(target, 4)
    assert words in effect.not_modelled
    assert effect.ending is None
    assert effect.rewrite is None


WHOLE = 0xFFFFFFFF
REWRITES: list[Rewrite] = [
    Bits("tos", 0xFC, 0xB8),
    Bits("tcp_flags", 0xC0, 0),
    Bits("mark", 0xFF, 0x105),
    Bits("connmark", 0, 0xFFFF),
    CopyBits("mark", "connmark", 0xFF0, 0xF0F),
    CopyBits("connmark", "mark", WHOLE, 0xFF, 4),
    CopyBits("mark", "connmark", 0xFF, 0xFF00, -6),
    CopyBits("mark", "connmark", 0, 0xF, 31),
    CopyBits("connmark", "connmark", WHOLE, WHOLE, 3),
    CopyBits("connmark", "connmark", WHOLE, WHOLE, -3),
    *(Add("ttl", amount) for amount in (-255, -1, 0, 1, 60, 255)),
    Untrack(),
    Then((Bits("tos", 3, 1), Add("ttl", -3), CopyBits("mark", "connmark", 0xFF, 0xFF))),
]
WRITTEN = ("tos", "tcp_flags", "mark", "connmark", "ttl", "tracked", "state")


def _exactly(packet: Packet) -> Condition:
    return All(tuple(equals(name, getattr(packet, name)) for name in WRITTEN))


@pytest.mark.parametrize("rewrite", REWRITES, ids=repr)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_sets_are_written_as_packets_are(rewrite: Rewrite, data: st.DataObject) -> None:
    """Whatever is written, the one packet in a set becomes what the packet alone becomes."""
    marks = st.integers(0, 0xFFFFFFFF)
    draw = data.draw
    packet = Packet.of(
        *V4, "tcp", mark=draw(marks), connmark=draw(marks), ttl=draw(st.integers(0, 255)),
        tos=draw(st.integers(0, 255)), tcp_flags=draw(st.integers(0, 255)), tracked=draw(st.integers(0, 1)),
        state=draw(st.sampled_from(list(State))),
    )  # fmt: skip
    sets = PacketSets(4, ["eth0"], capacity=SMALL)
    before, after = sets.satisfying(_exactly(packet)), sets.satisfying(_exactly(rewrite.applied(packet)))
    assert sets.rewritten(before, rewrite) == after
    entered = EntrySets(sets)
    assert entered.rewritten(before, rewrite) == before
    assert sets.is_empty(before & ~entered.satisfying(_exactly(rewrite.applied(packet))))


@given(st.integers(-255, 255), st.integers(0, 255))
def test_cases_of_an_addition_are_all_values(amount: int, value: int) -> None:
    packet = Packet.of(*V4, ttl=value)
    add = Add("ttl", amount)
    taken = [bits for these, bits in add.cases() if OnePacket(packet).satisfying(these)]
    assert [bits.applied(packet) for bits in taken] == [add.applied(packet)]


RANGE = (0x0A000002, 0x0A000004)


@pytest.mark.parametrize(
    ("nat", "of_source", "old", "port", "addresses", "ports"),
    [
        (Nat(NatKind.DNAT, RANGE), False, 0x0A000003, 80, RANGE, (80, 80)),
        (Nat(NatKind.SNAT, RANGE), True, 0x0A000003, 80, (0x0A000003,) * 2, (80, 80)),
        (Nat(NatKind.SNAT, RANGE, (100, 200)), True, 0x0A000003, 80, RANGE, (100, 200)),
        (Nat(NatKind.SNAT, None, (100, 200)), True, 9, 150, (9, 9), (150, 150)),
        (Nat(NatKind.SNAT, None, (100, 200), random=True), True, 9, 150, (9, 9), (100, 200)),
        (Nat(NatKind.SNAT, (7, 7), random=True), True, 9, 511, (7, 7), (1, 511)),
        (Nat(NatKind.SNAT, (7, 7), random=True), True, 9, 512, (7, 7), (600, 1023)),
        (Nat(NatKind.MASQUERADE, random=True), True, 9, 1024, (5, 5), (1024, 65535)),
        (Nat(NatKind.DNAT, (7, 7), random=True), False, 9, 80, (7, 7), (80, 80)),
        (Nat(NatKind.DNAT, (7, 7), (100, 200)), False, 9, 80, (7, 7), (100, 100)),
        (Nat(NatKind.DNAT, (7, 7), (100, 200)), False, 9, 150, (7, 7), (150, 150)),
        (Nat(NatKind.DNAT, (7, 7), (100, 109), base=1000), False, 9, 1013, (7, 7), (103, 103)),
        (Nat(NatKind.NETMAP, network=(0xA00, 0xFF00)), True, 0xB09, 1, (0xA09, 0xA09), (1, 1)),
    ],
)  # fmt: skip
def test_what_the_kernel_may_choose(
    nat: Nat, of_source: bool, old: int, port: int, addresses: tuple[int, int], ports: tuple[int, int]
) -> None:
    to = 5 if nat.kind is NatKind.MASQUERADE else None
    choice = choose(nat, of_source=of_source, protocol=17, old=old, port=port, to=to)
    assert (choice.addresses, choice.ports) == (addresses, ports)
    assert choice.exact == (addresses[0] == addresses[1] and ports[0] == ports[1])


def test_protocols_without_ports_keep_what_stands_there() -> None:
    choice = choose(Nat(NatKind.DNAT, (7, 7), (100, 200)), of_source=False, protocol=47, old=9, port=0)
    assert choice.exact
    assert choice.first == (7, 0)


def test_a_set_that_rules_write_into_is_unknown_to_each_of_its_rules() -> None:
    host = HostView(
        HOST.name, HOST.links, sets={"busy": IpSet.of("hash:ip", V4[0]), "calm": IpSet.of("hash:ip")}
    )
    chain = Chain.of(
        "FORWARD",
        "-m set --match-set busy src -j DROP",
        "-p udp -j SET --add-set busy src",
        "-m set --match-set busy src -j DROP",
        "-m set --match-set calm src -j DROP",
        policy="ACCEPT",
    )
    rules = Ruleset("ipv4", (Table("filter", (chain,)),))
    assert changed_sets(rules) == {"busy"}
    compiled = compile_rules(rules, host).chains["filter", "FORWARD"]
    found = [unknowns(test.condition) for rule in compiled.rules for test in rule.tests if "set" in test.text]
    assert [len(each) for each in found] == [1, 1, 0]
    assert found[0] != found[1]
    assert all(isinstance(each, Unknown) for each in found[0] | found[1])
