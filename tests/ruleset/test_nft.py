"""nftables from JSON: real dumps, everything that is modelled, and what is not and must stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given

from netverify.ruleset import (
    Counters,
    CountersNotComparable,
    Hook,
    NftChain,
    NftPlace,
    NftRule,
    NftRuleset,
    NftTable,
    NoSuchPlace,
    RulesetError,
)
from netverify.ruleset.nft_decode import expression, statement
from netverify.ruleset.nft_expressions import (
    AnonymousSet,
    Ct,
    Element,
    Flags,
    Meta,
    Pair,
    Payload,
    Prefix,
    Presence,
    Range,
    SetReference,
    Verbatim,
    Verdict,
    encode,
)
from netverify.ruleset.nft_statements import Comparison, Count, Nat, Reject, VerdictMap, Xt
from tests.strategies.ruleset_nft import JSON, expressions, nft_rulesets, statements

SAMPLES = Path(__file__).parent / "nft_samples"
DOCKER = NftRuleset.parse((SAMPLES / "docker_bridges.json").read_text())
BRIDGES = DOCKER.table("ip", "docker-bridges")


def shown(chain: str) -> list[str]:
    return [str(rule) for rule in BRIDGES.chain(chain).rules]


def test_dockers_table():
    """The nftables backend of Docker 29: vmaps that lead from the bridge to its chains."""
    assert DOCKER.version == "1.0.6"
    assert [chain.name for chain in BRIDGES.chains if chain.hook][:2] == ["filter-FORWARD", "nat-OUTPUT"]
    assert BRIDGES.chain("filter-FORWARD").hook == Hook("filter", "forward", 0, "accept")
    assert BRIDGES.chain("raw-PREROUTING").hook.priority == -300
    assert shown("filter-FORWARD") == [
        "oifname vmap @filter-forward-in-jumps",
        "iifname vmap @filter-forward-out-jumps",
    ]
    assert shown("filter-forward-in__docker0") == [
        "ct state established,related counter accept",
        'iifname "docker0" counter accept comment "ICC"',
        "meta mark & 255 == 1 accept",
        "ip daddr 172.17.0.2 tcp dport 80 counter accept",
        "icmp type { echo-reply, echo-request } accept",
        'counter drop comment "UNPUBLISHED PORT DROP"',
    ]
    assert shown("nat-prerouting-and-output") == [
        'iifname != "docker0" tcp dport 8080 counter dnat to 172.17.0.2:80 comment "DNAT"',
        'iifname != "docker0" ip daddr 127.0.0.1 udp dport 53 counter dnat to 172.17.0.2:53',
    ]
    assert shown("raw-PREROUTING")[1] == 'ip daddr 172.17.0.3 iifname != { "eth1", "docker0" } counter drop'
    assert shown("nat-OUTPUT") == [
        "ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output"
    ]
    assert shown("nat-postrouting-out__docker0") == [
        'oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade comment "MASQUERADE"'
    ]


def test_a_verdict_map():
    jumps = BRIDGES.set("filter-forward-in-jumps")
    assert jumps.is_map
    assert (jumps.key_types, jumps.value_type) == (("ifname",), "verdict")
    assert jumps.elements == (
        Pair("br-a", Verdict("jump", "filter-forward-in__br-a")),
        Pair("docker0", Verdict("jump", "filter-forward-in__docker0")),
    )
    assert BRIDGES.chain("filter-FORWARD").rule(1) == NftRule(
        (VerdictMap(Meta("oifname"), SetReference("filter-forward-in-jumps")),)
    )


def test_base_chains_come_in_the_order_of_their_hooks():
    everything = NftRuleset.parse((SAMPLES / "firewalld.json").read_text())
    both = NftRuleset((*everything.tables, *DOCKER.tables))
    prerouting = [(c.name, h.priority) for _, c, h in both.base_chains() if h.hook == "prerouting"]
    assert prerouting == [
        ("raw-PREROUTING", -300),
        ("mangle_PREROUTING", -140),
        ("nat-PREROUTING", -100),
        ("filter_PREROUTING", 10),
    ]


def test_firewalld():
    table = NftRuleset.parse((SAMPLES / "firewalld.json").read_text()).table("inet", "firewalld")
    assert [str(rule) for rule in table.chain("filter_INPUT").rules] == [
        "ct state { established, related } accept",
        "ct status dnat accept",
        'iifname "lo" accept',
        "ct state invalid drop",
        "jump filter_INPUT_ZONES",
        "reject with icmpx admin-prohibited",
    ]
    assert str(table.chain("filter_PREROUTING").rule(2)) == (
        "meta nfproto ipv6 fib saddr . mark . iif oif missing drop"
    )
    assert all(rule.is_known for chain in table.chains for rule in chain.rules)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_nothing_of_a_dump_is_lost(sample):
    """Every object is written as it was read, but for handles of rules and flags that stand alone."""

    def told(text: str) -> list[str]:
        objects = []
        for entry in json.loads(text)["nftables"]:
            [(kind, members)] = entry.items()
            if kind != "metainfo":
                if kind == "rule":
                    members.pop("handle", None)
                if isinstance(members.get("flags"), str):
                    members["flags"] = [members["flags"]]
                objects.append(json.dumps(entry, sort_keys=True))
        return sorted(objects)

    text = sample.read_text()
    ruleset = NftRuleset.parse(text)
    assert told(ruleset.render()) == told(text)
    assert NftRuleset.parse(ruleset.render()) == ruleset


@given(nft_rulesets())
def test_reading_what_was_written_gives_the_ruleset(ruleset):
    assert NftRuleset.parse(ruleset.render()) == ruleset


@given(expressions())
def test_every_expression_survives_and_prints(made):
    assert expression(json.loads(json.dumps(encode(made)))) == made
    assert str(made) or made == ""


@given(statements())
def test_every_statement_survives_and_prints(made):
    assert statement(json.loads(json.dumps(made.to_json()))) == made
    assert str(made)


def leaves(value: object) -> list[str]:
    """Every scalar and every key of a JSON value."""
    if isinstance(value, dict):
        return [leaf for key, member in value.items() for leaf in (repr(key), *leaves(member))]
    if isinstance(value, list):
        return [leaf for member in value for leaf in leaves(member)]
    return [repr(value)]


@given(JSON)
def test_any_json_stays_whole(value):
    """Whatever stands in a rule, modelled or not, comes out with every key and every value that went in."""
    for read in (statement(value).to_json(), encode(expression(value))):
        assert sorted(leaves(read)) == sorted(leaves(value))


def test_numbers_and_truth_values_are_different():
    left = {"fib": {"result": "oif", "flags": ["saddr"]}}
    missing = statement({"match": {"op": "==", "left": left, "right": False}})
    assert missing.right == Presence(exists=False)
    assert missing != statement({"match": {"op": "==", "left": left, "right": 0}})


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
         Comparison("in", Ct("state"), Flags(("established", "related")))),
        ({"match": {"op": "==", "left": {"ct": {"key": "ip saddr", "dir": "original"}}, "right": "1.2.3.4"}},
         Comparison("==", Ct("ip saddr", "original"), "1.2.3.4")),
        ({"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                    "right": {"set": [22, {"range": [80, 90]}]}}},
         Comparison("!=", Payload("tcp", "dport"), AnonymousSet((22, Range(80, 90))))),
        ({"counter": None}, Count()),
        ({"counter": {"packets": 3, "bytes": 252}}, Count(Counters(3, 252))),
        ({"counter": "web"}, Count(name="web")),
        ({"masquerade": None}, Nat("masquerade")),
        ({"dnat": {"family": "ip", "addr": "10.0.0.1", "port": 80, "flags": ["random", "persistent"]}},
         Nat("dnat", "10.0.0.1", 80, "ip", ("random", "persistent"))),
        ({"snat": {"addr": {"prefix": {"addr": "1.2.3.0", "len": 24}}, "flags": "netmap",
                   "type_flags": "prefix"}},
         Nat("snat", Prefix("1.2.3.0", 24), None, None, ("netmap",), ("prefix",))),
        ({"reject": {"type": "tcp reset"}}, Reject("tcp reset")),
        ({"xt": {"type": "match", "name": "conntrack"}}, Xt("match", "conntrack")),
        ({"xt": {"type": "match", "name": "conntrack", "new": 1}},
         Verbatim("xt", '{"xt":{"name":"conntrack","new":1,"type":"match"}}')),
        ({"match": {"op": "~", "left": 1, "right": 1}},
         Verbatim("match", '{"match":{"left":1,"op":"~","right":1}}')),
        ({"accept": {}}, Verbatim("accept", '{"accept":{}}')),
        ({"jump": {"target": None}}, Verbatim("jump", '{"jump":{"target":null}}')),
        ({"log": {"prefix": "x"}}, Verbatim("log", '{"log":{"prefix":"x"}}')),
        ("what", Verbatim("", '"what"')),
        ({"counter": {"packets": True, "bytes": 1}},
         Verbatim("counter", '{"counter":{"bytes":1,"packets":true}}')),
        ({"reject": {"type": None}}, Verbatim("reject", '{"reject":{"type":null}}')),
    ],
)  # fmt: skip
def test_statements(value, read):
    assert statement(value) == read


@pytest.mark.parametrize(
    "value",
    [
        {"prefix": {"addr": "1.2.3.4", "len": True}},
        {"ct": {"key": "state", "dir": None}},
        {"fib": {"result": "type", "flags": []}},
        {"payload": {"base": "nh", "offset": "x", "len": 1}},
        {"range": [1, 2, 3]},
        {"elem": {"timeout": 5}},
        {"numgen": {"mod": 2}},
        {"meta": {"key": "mark"}, "ct": {"key": "mark"}},
        None,
        {},
    ],
)
def test_an_expression_that_is_not_quite_known_is_kept_word_for_word(value):
    read = expression(value)
    assert isinstance(read, Verbatim)
    assert encode(read) == value


def test_what_an_element_counted_is_no_part_of_it():
    fresh = expression(
        {"elem": {"val": "1.1.1.1", "timeout": 300, "expires": 299, "counter": {"packets": 0}}}
    )
    later = expression({"elem": {"val": "1.1.1.1", "timeout": 300, "expires": 10, "counter": {"packets": 9}}})
    assert fresh == later == Element("1.1.1.1", timeout=300)
    assert encode(later)["elem"]["expires"] == 10


def test_unknown_attributes_and_objects_stay():
    text = """{"nftables": [
        {"table": {"family": "ip", "name": "t", "owner": "x"}},
        {"chain": {"family": "ip", "table": "t", "name": "c", "colour": 5}},
        {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [], "index": 1}},
        {"flowtable": {"family": "ip", "table": "t", "name": "ft"}},
        {"planet": {"name": "mars"}}
    ]}"""
    ruleset = NftRuleset.parse(text)
    table = ruleset.table("ip", "t")
    assert table.extra == (("owner", '"x"'),)
    assert table.chain("c").extra == (("colour", "5"),)
    assert not table.chain("c").rule(1).is_known
    assert [other.name for other in table.others] == ["flowtable"]
    assert [other.name for other in ruleset.others] == ["planet"]
    written = json.loads(ruleset.render())["nftables"]
    assert all(entry in written for entry in json.loads(text)["nftables"])


def test_a_dormant_table_is_known_by_its_flag_or_by_the_mistake_of_nft_1_0_6():
    everything = NftRuleset.parse((SAMPLES / "everything.json").read_text())
    assert everything.table("inet", "everything").is_dormant
    assert NftTable("ip", "t", flags=("dormant",)).is_dormant
    assert not BRIDGES.is_dormant


def counted(packets: int, size: int, name: str = "c") -> NftRuleset:
    rules = (NftRule((Verdict("accept"),)), NftRule((Count(Counters(packets, size)), Verdict("drop"))))
    return NftRuleset((NftTable("ip", "t", (NftChain(name, rules=rules),)),))


def test_counters_name_what_decided():
    moved = counted(5, 420).counters_since(counted(3, 252))
    assert moved == {NftPlace("ip", "t", "c", 2): Counters(2, 168)}
    assert [str(place) for place in moved] == ["ip t:c:rule:2"]
    with pytest.raises(CountersNotComparable, match=r"ip t:c:rule:2 went from .*: it was reset"):
        counted(3, 252).counters_since(counted(5, 420))
    with pytest.raises(CountersNotComparable, match="rules changed"):
        counted(3, 252).counters_since(counted(3, 252, "d"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: DOCKER.table("ip6", "docker-bridges"),
        lambda: BRIDGES.chain("nowhere"),
        lambda: BRIDGES.set("nothing"),
        lambda: BRIDGES.chain("filter-FORWARD").rule(3),
        lambda: BRIDGES.chain("filter-FORWARD").rule(0),
    ],
)
def test_what_is_not_there(ask):
    with pytest.raises(NoSuchPlace):
        ask()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NftTable("ipx", "t"), "no family 'ipx'"),
        (lambda: NftTable("ip", "t", (NftChain("c"), NftChain("c"))), "has a chain twice"),
        (
            lambda: NftRuleset((NftTable("ip", "t"), NftTable("ip", "t"))),
            "table of the same family and name twice",
        ),
        (lambda: Hook("filter", "input", 0, "reject"), "neither accept nor drop"),
    ],
)
def test_what_cannot_be_cannot_be_made(make, message):
    with pytest.raises(RulesetError, match=message):
        make()
