"""Tables of iptables-nft among those of nftables: recognised, and read from the dump that tells the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.ruleset import (
    Chain,
    Hook,
    NftChain,
    NftPlace,
    NftRule,
    NftRuleset,
    NftSet,
    NftTable,
    Ruleset,
    RulesetError,
    Table,
    belongs_to_iptables,
    split_sources,
)
from netverify.ruleset.nft_decode import statement
from netverify.ruleset.nft_iptables import is_written_by_iptables

COUNTER = {"counter": {"packets": 0, "bytes": 0}}
XT = {"xt": {"type": "match", "name": "conntrack"}}
DROP = {"drop": None}


def rule(*statements: object, comment: str | None = None) -> NftRule:
    return NftRule(tuple(map(statement, statements)), comment)


def match(left: object, right: object, operator: str = "==") -> object:
    return {"match": {"op": operator, "left": left, "right": right}}


def meta(key: str) -> object:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> object:
    return {"payload": {"protocol": protocol, "field": field}}


INPUT = NftChain(
    "INPUT", Hook("filter", "input", 0, "accept"), (rule(XT, COUNTER, DROP), rule(COUNTER, DROP))
)
FILTER = NftTable("ip", "filter", (INPUT, NftChain("USER")))
NATIVE = NftTable("inet", "firewalld", (NftChain("INPUT", Hook("filter", "input", 0, "accept")),))
SAVED = Ruleset(
    "ipv4", (Table("filter", (Chain.of("INPUT", "-j A", "-j DROP", policy="ACCEPT"), Chain("USER"))),)
)


def table(name: str, chain: str, hook: Hook, family: str = "ip") -> NftTable:
    return NftTable(family, name, (NftChain(chain, hook), NftChain("mine")))


@pytest.mark.parametrize(
    ("found", "theirs"),
    [
        (FILTER, True),
        (table("filter", "INPUT", Hook("filter", "input", 0, "drop"), "ip6"), True),
        (table("nat", "POSTROUTING", Hook("nat", "postrouting", 100, "accept")), True),
        (table("nat", "INPUT", Hook("nat", "input", 100, "accept")), True),
        (table("mangle", "OUTPUT", Hook("route", "output", -150, "accept")), True),
        (table("raw", "PREROUTING", Hook("filter", "prerouting", -300, "accept")), True),
        (table("security", "INPUT", Hook("filter", "input", 150, "accept")), True),
        (NATIVE, False),
        (table("filter", "input", Hook("filter", "input", 0, "accept")), False),
        (table("filter", "INPUT", Hook("filter", "input", 10, "accept")), False),
        (table("filter", "INPUT", Hook("filter", "forward", 0, "accept")), False),
        (table("filter", "PREROUTING", Hook("filter", "prerouting", 0, "accept")), False),
        (table("mangle", "OUTPUT", Hook("filter", "output", -150, "accept")), False),
        (table("nat", "PREROUTING", Hook("filter", "prerouting", -100, "accept")), False),
        (table("filter", "INPUT", Hook("filter", "input", 0, "accept"), "inet"), False),
        (table("docker-bridges", "INPUT", Hook("filter", "input", 0, "accept")), False),
        (NftTable("ip", "filter"), False),
    ],
)
def test_tables_of_iptables_are_known_by_their_chains(found, theirs):
    assert belongs_to_iptables(found) is theirs


@pytest.mark.parametrize(
    "statements",
    [
        [XT, COUNTER, DROP],
        [
            match(meta("iifname"), "docker0"),
            match(meta("oifname"), "docker0", "!="),
            COUNTER,
            {"accept": None},
        ],
        [
            match(payload("ip", "saddr"), {"prefix": {"addr": "10.0.0.0", "len": 8}}),
            COUNTER,
            {"jump": {"target": "X"}},
        ],
        [match({"&": [payload("ip", "saddr"), "255.0.255.0"]}, "10.0.5.0"), COUNTER],
        [match(payload("tcp", "dport"), {"range": [80, 90]}), COUNTER, {"goto": {"target": "X"}}],
        [match({"&": [payload("tcp", "flags"), ["syn", "ack"]]}, "syn"), COUNTER, {"return": None}],
        [match({"&": [meta("mark"), 255]}, 1), COUNTER],
        [{"limit": {"rate": 5, "burst": 10, "per": "minute"}}, COUNTER],
        [COUNTER, {"log": {"group": 5}}],
        [COUNTER, {"mangle": {"key": meta("nftrace"), "value": 1}}],
    ],
)
def test_rules_that_iptables_writes(statements):
    assert is_written_by_iptables(rule(*statements))


@pytest.mark.parametrize(
    "statements",
    [
        [DROP],
        [match(payload("ip", "saddr"), {"set": ["1.2.3.4", "1.2.3.5"]}), COUNTER, DROP],
        [match(payload("ip", "saddr"), {"range": ["1.2.3.4", "1.2.3.5"]}), COUNTER, DROP],
        [match(payload("ip", "saddr"), "@blocked"), COUNTER, DROP],
        [match(meta("iifname"), {"set": ["lo", "eth0"]}), COUNTER, DROP],
        [match({"ct": {"key": "state"}}, ["established"], "in"), COUNTER, DROP],
        [match(payload("th", "dport"), 80), COUNTER, DROP],
        [match({"&": [{"ct": {"key": "mark"}}, 255]}, 1), COUNTER, DROP],
        [match(meta("iifname"), "a", "<"), COUNTER, DROP],
        [match(meta("iifname"), "a", "in"), COUNTER, DROP],
        [{"vmap": {"key": meta("iifname"), "data": "@jumps"}}, COUNTER],
        [{"counter": "named"}, COUNTER, DROP],
        [{"limit": {"rate": 5, "inv": True}}, COUNTER, DROP],
        [{"mangle": {"key": meta("mark"), "value": 1}}, COUNTER],
        [{"masquerade": None}, COUNTER],
        [{"queue": {"num": 1}}, COUNTER],
    ],
)
def test_rules_that_iptables_cannot_have_written(statements):
    assert not is_written_by_iptables(rule(*statements))


def test_a_rule_with_a_comment_of_nft_is_not_from_iptables():
    assert not is_written_by_iptables(rule(COUNTER, DROP, comment="mine"))


def test_each_table_comes_from_one_dump():
    sources = split_sources(NftRuleset((FILTER, NATIVE)), [SAVED, Ruleset("ipv6")])
    assert sources.native == NftRuleset((NATIVE,))
    assert sources.iptables == (SAVED, Ruleset("ipv6"))
    assert sources.foreign == ()


def test_a_table_with_a_foreign_rule_is_read_from_nft_and_the_rule_is_named():
    blocked = match(payload("ip", "saddr"), {"set": ["1.2.3.4", "1.2.3.5"]})
    foreign = rule(blocked, DROP)
    mixed = replace(FILTER, chains=(replace(INPUT, rules=(INPUT.rules[0], foreign)), NftChain("USER")))
    sources = split_sources(NftRuleset((mixed,)), [SAVED])
    assert sources.native == NftRuleset((mixed,))
    assert sources.iptables == (Ruleset("ipv4"),)
    assert sources.foreign == ((NftPlace("ip", "filter", "INPUT", 2), foreign),)


def test_a_table_with_a_named_set_is_read_from_nft():
    with_set = replace(FILTER, sets=(NftSet("blocked", ("ipv4_addr",)),))
    assert split_sources(NftRuleset((with_set,)), [SAVED]).native == NftRuleset((with_set,))


def test_a_table_that_iptables_does_not_show_stays_native():
    """iptables-nft-save leaves a table out that it calls incompatible."""
    for saved in ([], [Ruleset("ipv4")], [Ruleset("ipv6")]):
        assert split_sources(NftRuleset((FILTER,)), saved).native == NftRuleset((FILTER,))


@pytest.mark.parametrize(
    ("tables", "saved", "message"),
    [
        (
            (FILTER,),
            [SAVED.with_rule_removed("filter", "INPUT", 1)],
            "chain INPUT .* has 2 rules in nft and 1 in",
        ),
        (
            (FILTER,),
            [SAVED.with_chain("filter", Chain.of("NEW", "-j X"))],
            "chain NEW .* has 0 rules in nft and 1",
        ),
        ((), [SAVED], "filter of ipv4 has rules in iptables-save and is not in nft"),
        ((FILTER,), [SAVED, SAVED], "two dumps of ipv4"),
    ],
)
def test_dumps_that_do_not_fit_together_are_refused(tables, saved, message):
    with pytest.raises(RulesetError, match=message):
        split_sources(NftRuleset(tables), saved)


def test_empty_tables_of_iptables_alone_do_no_harm():
    empty = Ruleset("ipv4", (Table("raw", (Chain("PREROUTING", "ACCEPT"),)),))
    assert split_sources(NftRuleset((NATIVE,)), [empty]).iptables == (Ruleset("ipv4"),)
