"""Lint: each kind of finding where it is plain to see, and for random rules only what is true."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane import lint_takers
from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.hooks import Filters
from netverify.dataplane.lint import Lint, lint, sets_of
from netverify.dataplane.lint_takers import EarlyTakers
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView, Link, Route
from netverify.ruleset import Chain, RulePlace, Ruleset, Table
from netverify.ruleset.nft_expressions import AnonymousSet, Pair
from netverify.ruleset.nft_statements import VerdictMap
from tests.dataplane import nft_rules
from tests.strategies.dataplane import HOST, filters, packets

SMALL = 1 << 20
VIEW = HostView(
    "host",
    (
        Link.of("lo", "127.0.0.1/8"),
        Link.of("eth0", "192.0.2.1/24"),
        Link.of("br-a", "172.18.0.1/16", is_bridge=True),
        Link.of("br-b", "172.19.0.1/16", is_bridge=True),
        Link("veth1", master="br-a"),
        Link("eth9", up=False),
    ),
    (Route(ip_network("0.0.0.0/0"), ip_address("192.0.2.2"), "eth0"),),
).with_connected_routes()


def _lint(text: str, view: HostView = VIEW) -> list[Lint]:
    return lint(compile_rules(Ruleset.parse(text), view), capacity=SMALL)


def _filter(*rules: str, policy: str = "ACCEPT") -> str:
    lines = "\n".join(rule if rule.startswith("-A") else f"-A FORWARD {rule}" for rule in rules)
    chains = (
        f":INPUT ACCEPT [0:0]\n:FORWARD {policy} [0:0]\n:OUTPUT ACCEPT [0:0]\n:OWN - [0:0]\n:DEEP - [0:0]"
        "\n:LATE - [0:0]"
    )
    return f"*filter\n{chains}\n{lines}\nCOMMIT\n"


def _places(found: Lint) -> list[str]:
    return [str(place) for place in found.by]


def test_it_names_what_shadows_and_nothing_more() -> None:
    spared, found = _lint(
        _filter(
            "-p tcp -j LOG",
            "-p tcp -m tcp --dport 1:40000 -j DROP",
            "-p tcp -m tcp --dport 30000:65535 -j ACCEPT",
            "-i br-a -p tcp -m tcp --dport 100:200 -j ACCEPT",
            "-p tcp -m tcp --dport 90:60000 -j DROP",
        )
    )
    assert (spared.place.number, _places(spared)) == (4, ["filter:FORWARD:rule:2"])
    assert (found.kind, found.place.number) == ("shadowed", 5)
    assert _places(found) == ["filter:FORWARD:rule:2", "filter:FORWARD:rule:3"]
    assert found.remedy


def test_a_taker_that_others_make_needless_is_not_named() -> None:
    (found,) = _lint(
        _filter(
            "-p tcp -m tcp --dport 80:90 -j DROP",
            "-p tcp -m tcp --dport 1:65535 -j DROP",
            "-p tcp -m tcp --dport 85 -s 10.0.0.0/8 -j ACCEPT",
            "-p udp -m udp --dport 1 -j DROP",
        )
    )
    assert _places(found) in (["filter:FORWARD:rule:1"], ["filter:FORWARD:rule:2"])


def test_rules_behind_one_that_takes_everything_are_one_finding() -> None:
    (found,) = _lint(_filter("-p tcp -j ACCEPT", "-j DROP", "-p udp -j ACCEPT", "-s 10.0.0.1/32 -j ACCEPT"))
    assert (found.kind, found.place.number) == ("behind-everything", 3)
    assert "rules 3 to 4 of chain FORWARD" in str(found)
    assert _places(found) == ["filter:FORWARD:rule:2"]


def test_a_called_chain_shadows() -> None:
    (found,) = _lint(_filter("-p tcp -j OWN", "-p tcp -m tcp --dport 80 -j ACCEPT", "-A OWN -j DROP"))
    assert (found.kind, _places(found)) == ("shadowed", ["filter:OWN:rule:1"])


def test_rules_of_the_caller_shadow() -> None:
    (found,) = _lint(
        _filter(
            "-p tcp -j DROP", "-j OWN", "-A OWN -p tcp -m tcp --dport 80 -j ACCEPT", "-A OWN -p udp -j DROP"
        )
    )
    assert (found.kind, _places(found)) == ("shadowed", ["filter:FORWARD:rule:1"])
    assert "before its chain is called" in found.text


def test_a_goto_does_not_come_back() -> None:
    (found,) = _lint(_filter("-p tcp -g OWN", "-p tcp -j DROP", "-A OWN -p tcp -m tcp --dport 80 -j ACCEPT"))
    assert (found.place.number, _places(found)) == (2, ["filter:FORWARD:rule:1"])


def test_rules_of_two_chains_are_each_told_who_took_their_packets() -> None:
    taken = "-p udp -m udp --dport 53 -j ACCEPT"
    found = _lint(
        _filter(
            "-s 10.1.0.0/16 -j DROP",
            "-p tcp -m tcp --dport 80 -j ACCEPT",
            "-j OWN",
            "-p udp -j ACCEPT",
            "-j DEEP",
            *("-A OWN -s 10.1.2.3/32 -j ACCEPT", "-A OWN -p tcp -m tcp --dport 80 -s 10.2.0.0/16 -j DROP"),
            *("-A OWN -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -j DROP", f"-A OWN {taken}"),
            *("-A DEEP -s 10.1.9.9/32 -p udp -j DROP", f"-A DEEP {taken}", "-A DEEP -p tcp -j DROP"),
        )
    )
    assert {str(each.place): _places(each) for each in found} == {
        "filter:DEEP:rule:1": ["filter:FORWARD:rule:1"],
        "filter:DEEP:rule:2": ["filter:FORWARD:rule:1", "filter:OWN:rule:4"],
        "filter:OWN:rule:1": ["filter:FORWARD:rule:1"],
        "filter:OWN:rule:2": ["filter:FORWARD:rule:2"],
        "filter:OWN:rule:3": ["filter:FORWARD:rule:1"],
    }


def test_what_an_earlier_chain_took_a_later_one_did_not_take() -> None:
    found = _lint(
        _filter(
            *("-j OWN", "-j DEEP", "-j LATE", "-A OWN -s 10.0.0.0/30 -j DROP"),
            *("-A DEEP -s 10.0.0.0/30 -j ACCEPT", "-A DEEP -p tcp -j DROP", "-A LATE -p tcp -j ACCEPT"),
        )
    )
    assert {str(each.place): _places(each) for each in found} == {
        "filter:DEEP:rule:1": ["filter:OWN:rule:1"],
        "filter:LATE:rule:1": ["filter:OWN:rule:1", "filter:DEEP:rule:2"],
    }


_TAKEN = st.builds(
    str.format,
    st.sampled_from(
        ["-s 10.0.0.{0}/30", "-d 10.0.1.{0}/31", "-p tcp -m tcp --dport {0}", "-p tcp", "-i eth{0}", ""]
    ),
    st.integers(0, 3),
)
_CALLS = {"INPUT": ("A", "C"), "FORWARD": ("A", "B"), "A": ("B", "C"), "B": (), "C": ("B",)}


@st.composite
def _overtaken(draw: st.DrawFn) -> Ruleset:
    """Chains that are called late, and often again, after rules about the same few things."""
    chains = []
    for name, called in _CALLS.items():
        targets = ["-j ACCEPT", "-j DROP", "-j RETURN", "-j LOG", *(f"-j {callee}" for callee in called)]
        ending = st.sampled_from([*targets, *(f"-g {callee}" for callee in called[1:])])
        lines = draw(st.lists(st.builds("{} {}".format, _TAKEN, ending), max_size=8))
        last = ["-j A", "-j B", "-j C"] if name == "FORWARD" else []
        chains.append(Chain.of(name, *lines, *last, policy=None if name in "ABC" else "ACCEPT"))
    return Ruleset("ipv4", (Table("filter", tuple(chains)),))


@settings(max_examples=60, deadline=None)
@given(_overtaken(), st.sampled_from([1, 2, 64]))
def test_one_walk_for_many_rules_finds_what_following_each_finds(rules: Ruleset, together: int) -> None:
    program = compile_rules(rules, VIEW)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lint_takers, "TOGETHER", together)
        at_once = lint(program, capacity=SMALL)
        patched.setattr(EarlyTakers, "_takes_once", lambda *_: False)
        assert at_once == lint(program, capacity=SMALL)


def test_lint_goes_on_over_sets_that_have_been_asked() -> None:
    program = compile_rules(Ruleset.parse(_filter("-p tcp -j OWN", "-p tcp -j DROP", "-A OWN -j DROP")), VIEW)
    sets = sets_of(program, SMALL)
    Evaluator(program, sets).run("filter", "FORWARD", sets.entering("FORWARD"))
    found = lint(program, sets=sets)
    assert found == lint(program, capacity=SMALL)
    assert found
    for others in (
        PacketSets(4, ["eth0"], others=False, capacity=SMALL),
        PacketSets.of(program, capacity=SMALL),
    ):
        with pytest.raises(DataplaneError, match="packet sets of this host"):
            lint(program, sets=others)


def test_what_a_map_lets_go_on_comes_to_the_next_rule() -> None:
    choice = VerdictMap(
        nft_rules.TCP_PORT, AnonymousSet((Pair(80, nft_rules.CONTINUE), Pair(443, nft_rules.ACCEPT)))
    )
    for port, kinds in ((80, []), (443, ["shadowed"])):
        rules = (
            nft_rules.rule(choice),
            nft_rules.rule(nft_rules.equal(nft_rules.TCP_PORT, port), nft_rules.DROP),
        )
        view = nft_rules.host(nft_rules.table(nft_rules.base("forward", "forward", 0, *rules)))
        found = lint(Filters.of(view, 4).nft, capacity=SMALL)
        assert [each.kind for each in found] == kinds


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("-i gone0 -j ACCEPT", "no device gone0"),
        ("-i gone+ -j ACCEPT", "no device gone+"),
        ("-i veth1 -j ACCEPT", "veth1 is a port of br-a"),
        ("-o eth9 -j ACCEPT", "eth9 is down"),
        ("-d 192.0.2.1/32 -j ACCEPT", "packets to the host itself go to INPUT"),
        ("-d 127.0.0.1/32 -j ACCEPT", "packets to the host itself go to INPUT"),
        ("-d 172.18.0.0/16 -o br-b -j ACCEPT", "passes all of its tests"),
        ("-A INPUT -d 8.8.8.8/32 -j ACCEPT", "nothing that is delivered here passes -d 8.8.8.8/32"),
        ("-p tcp -m tcp --dport 90:80 -j DROP", "--dport 90:80"),
        ("-s 10.0.0.0/8 -m iprange --src-range 192.0.2.1-192.0.2.9 -j DROP", "contradict each other"),
    ],
)
def test_what_never_comes_on_this_host(rule: str, said: str) -> None:
    (found,) = _lint(_filter(rule))
    assert (found.kind, found.by) == ("impossible", ())
    assert said in found.text
    assert found.remedy


def test_an_outgoing_device_before_routing() -> None:
    text = "*filter\n:INPUT ACCEPT [0:0]\n:OWN - [0:0]\n-A INPUT -j OWN\n-A OWN -o eth0 -j DROP\nCOMMIT\n"
    (found,) = _lint(text)
    assert "packets of INPUT do not have a device to leave by yet" in found.text


def test_the_nat_table_sees_no_established_connection() -> None:
    rule = "-A PREROUTING -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    (found,) = _lint(f"*nat\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n")
    assert found.kind == "impossible"


def test_what_a_bridge_forwards_may_have_any_address() -> None:
    text = _filter("-i br-a -o br-a -d 10.9.9.9/32 -j DROP")
    assert [found.kind for found in _lint(text)] == ["impossible"]
    shown = replace(VIEW, sysctls={"net.bridge.bridge-nf-call-iptables": "1"})
    assert not _lint(text, shown)


def test_of_an_unknown_host_nothing_is_said() -> None:
    text = _filter("-i gone0 -d 192.0.2.1/32 -j ACCEPT")
    assert not _lint(text, HostView("host", (Link.of("lo", "127.0.0.1/8"),)))


def test_chains_that_nobody_reaches() -> None:
    found = _lint(_filter("-i gone0 -j OWN", "-A OWN -j DROP", "-A DEEP -j DROP", "-j NOWHERE"))
    assert [(each.kind, each.place.chain) for each in found] == [
        ("unreached-chain", "DEEP"),
        ("impossible", "FORWARD"),
        ("jump-to-nothing", "FORWARD"),
        ("unreached-chain", "OWN"),
    ]
    assert "no rule jumps to it" in found[0].text
    assert _places(found[3]) == ["filter:FORWARD:rule:1"]


def test_docker_user_sees_translated_ports() -> None:
    text = """*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i br-a -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -p tcp -m tcp --dport 8080 -j DROP
-A DOCKER-USER -p udp -m udp --dport 8080 -j DROP
-A DOCKER-USER -p tcp -m tcp --dport 80 -j DROP
COMMIT
"""
    (found,) = _lint(text)
    assert (found.kind, found.place.number) == ("pre-dnat-port", 1)
    assert "--ctorigdstport 8080" in found.remedy


@settings(max_examples=40, deadline=None)
@given(filters(4, size=5), packets(4))
def test_a_rule_that_a_packet_matches_is_not_called_dead(rules: Ruleset, packet: Packet) -> None:
    host = HOST.with_connected_routes()
    program = compile_rules(rules, host)
    sets = PacketSets.of(program, others=True, capacity=SMALL)
    if not sets.contains(Arrivals(host, sets, lenient=True).at("filter", "FORWARD"), packet):
        packet = packet.with_(
            in_interface="eth0", out_interface="br0", destination=int(ip_address("10.0.0.2"))
        )
    dead = {each.place for each in lint(program, capacity=SMALL) if each.kind != "pre-dnat-port"}
    seen: set[object] = set()

    class Watching:
        def tested(self, rule: object, failed: int, _matched: bool, /) -> None:
            if failed < 0:
                seen.add(rule.place)  # type: ignore[attr-defined]

        def reached_policy(self, _chain: object, _packets: bool, /) -> None: ...

    Evaluator(program, OnePacket(packet), Watching()).run("filter", "FORWARD", True)
    assert not seen & dead


@settings(max_examples=40, deadline=None)
@given(filters(4, size=8))
def test_culprits_are_enough_and_none_is_too_many(rules: Ruleset) -> None:
    program = compile_rules(rules, HOST.with_connected_routes())
    for found in lint(program, capacity=SMALL):
        local = all((place.table, place.chain) == ("filter", "FORWARD") for place in found.by)
        jumps = any(rules.rule(place).target.goto for place in found.by)  # type: ignore[union-attr]
        if found.kind == "shadowed" and found.place.chain == "FORWARD" and found.by and local and not jumps:
            assert _is_dead(rules, found.place, found.by)
            for spared in found.by:
                assert not _is_dead(rules, found.place, tuple(set(found.by) - {spared}))


def _is_dead(rules: Ruleset, place: RulePlace, kept: tuple[RulePlace, ...]) -> bool:
    """Whether a rule is dead in FORWARD with no other rules before it than these."""
    chain = rules.chain("filter", "FORWARD")
    numbers = [each.number for each in sorted(kept)] + [place.number]
    alone = rules.with_chain("filter", replace(chain, rules=tuple(chain.rule(n) for n in numbers)))
    last = RulePlace("filter", "FORWARD", len(numbers))
    found = lint(_compiled(alone), capacity=SMALL)
    return any(each.place == last and each.kind in ("shadowed", "behind-everything") for each in found)


def _compiled(rules: Ruleset) -> Program:
    return compile_rules(rules, HOST.with_connected_routes())
