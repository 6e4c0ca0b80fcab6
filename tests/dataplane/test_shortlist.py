"""Long chains are answered by the rules that a packet may match, and by no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import compile_rules
from netverify.dataplane.shortlist import LONG, Shortlist
from netverify.dataplane.view import HostView
from netverify.ruleset import Ruleset

ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
TESTS = st.sampled_from(
    [
        "",
        *(f"-s {address}/32" for address in ADDRESSES),
        *(f"-d {address}/32" for address in ADDRESSES),
        "! -d 10.0.0.1/32",
        "-d 10.0.0.0/31",
        "-i br-a",
        "! -i br-a",
        "-i br-+",
        "-o br-b",
        "-p tcp -m tcp --dport 80",
        "-p udp -m udp --dport 80",
        "-p tcp -m tcp --dport 80:90",
        "-p tcp -m tcp ! --dport 80",
        "-p tcp -m multiport --dports 22,80",
        "-m mark --mark 0x1",
    ]
)
TARGETS = st.sampled_from(["-j ACCEPT", "-j DROP", "-j RETURN", "-j USER", "-g USER", ""])
PACKETS = st.builds(
    lambda source, destination, protocol, port, came, left, mark: Packet.of(
        source,
        destination,
        protocol,
        dport=port if protocol != "icmp" else 0,
        in_interface=came,
        out_interface=left,
        mark=mark,
    ),
    st.sampled_from(ADDRESSES),
    st.sampled_from(ADDRESSES),
    st.sampled_from(["tcp", "udp", "icmp"]),
    st.sampled_from([0, 22, 80, 85]),
    st.sampled_from(["br-a", "br-b", "eth0"]),
    st.sampled_from(["br-a", "br-b", "eth0"]),
    st.sampled_from([0, 1]),
)


def chain(name: str, rules: list[tuple[str, str]]) -> str:
    return "".join(f"-A {name} {test} {target}".rstrip() + "\n" for test, target in rules)


RULES = st.lists(st.tuples(TESTS, TARGETS), min_size=LONG, max_size=3 * LONG)
USERS = st.lists(st.tuples(TESTS, TARGETS.filter(lambda word: "USER" not in word)), max_size=2 * LONG)


@given(RULES, USERS, PACKETS)
def test_it_says_what_asking_every_rule_says(
    rules: list[tuple[str, str]], user: list[tuple[str, str]], packet: Packet
) -> None:
    text = "*filter\n:FORWARD DROP [0:0]\n:USER - [0:0]\n" + chain("FORWARD", rules) + chain("USER", user)
    program = compile_rules(Ruleset.parse(text + "COMMIT\n"), HostView("host"))
    lists = {name: Shortlist(each) for name, each in program.chains.items()}

    def matched(*, short: bool) -> tuple[object, list[str]]:
        algebra, seen = OnePacket(packet), Heard()
        shortlist = (lambda each: lists[each.table, each.name].of(algebra.packet)) if short else None
        exits = Evaluator(program, algebra, seen, shortlist=shortlist).run("filter", "FORWARD", True)
        return exits, seen.matched

    assert matched(short=True) == matched(short=False)


class Heard:
    """The rules that matched, and the policies that were reached."""

    def __init__(self) -> None:
        self.matched: list[str] = []

    def tested(self, rule, failed, _matched, /) -> None:  # type: ignore[no-untyped-def]
        if failed < 0:
            self.matched.append(str(rule.place))

    def reached_policy(self, chain, _packets, /) -> None:  # type: ignore[no-untyped-def]
        self.matched.append(str(chain.policy_place))


def test_it_leaves_out_nearly_everything() -> None:
    rules = "".join(f"-A FORWARD -d 10.0.{n >> 8}.{n & 255}/32 -j ACCEPT\n" for n in range(1000))
    text = f"*filter\n:FORWARD DROP [0:0]\n{rules}COMMIT\n"
    program = compile_rules(Ruleset.parse(text), HostView("host"))
    found = list(Shortlist(program.chains["filter", "FORWARD"]).of(Packet.of("10.9.9.9", "10.0.1.7", "tcp")))
    assert [rule.place.number for rule in found] == [264]
