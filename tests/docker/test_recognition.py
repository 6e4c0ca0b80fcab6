"""The engine is told from its rules; what is taken away is missed, and what an upgrade leaves is found."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from netverify.docker import BridgeNetwork, Daemon, DockerHost, nft_rules, rules
from netverify.docker.recognition import recognise
from netverify.ruleset import RulePlace, Ruleset
from suites.engine.hosts import hosts
from tests.docker.saved import GOLDEN, saved

VERSIONS = {"A0": "17.06", "A": "24.0", "B0": "28.0.0", "B1": "28.1.1", "B2": "28.5.2", "C": "29.7.2"}
CASES = [
    (name, case) for name, version in VERSIONS.items() for case in hosts(version) if case != "no raw rules"
]
WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"))


@pytest.mark.parametrize(("name", "case"), CASES)
def test_every_generation_knows_its_own_rules(name, case):
    ipv4, ipv6 = rules(hosts(VERSIONS[name])[case])
    for ruleset in (ipv4, ipv6):
        if not ruleset.tables:
            continue
        found = recognise(ruleset)
        assert name in [one.name for one in found.candidates]
        assert (found.missing, found.stale) == ((), ())


def test_containers_tell_28_2_from_28_1():
    for name, case in (("B1", "containers,proxy=on"), ("B2", "containers,proxy=on")):
        found = recognise(rules(hosts(VERSIONS[name])[case])[0])
        assert found.generation is not None
        assert found.generation.name == name
    empty = rules(DockerHost("28.2.0", (WEB,)))[0]
    assert [one.name for one in recognise(empty).candidates] == ["B1", "B2"]
    assert recognise(rules(DockerHost("28.2.2", (WEB,)))[0]).generation.name == "B2"


def test_the_nftables_backend():
    host = replace(hosts("29.7.2")["ports,proxy=on"], backend="nftables")
    found = recognise(Ruleset("ipv4"), nft_rules(host))
    assert found.generation is not None
    assert found.generation.name == "N"
    beside = recognise(rules(replace(host, backend="iptables"))[0], nft_rules(host))
    assert beside.is_mixed
    assert {one.by.name for one in beside.stale} == {"C"}


def test_a_host_without_docker():
    assert recognise(Ruleset("ipv4")).candidates == ()
    ufw = Ruleset.parse(
        "*filter\n:FORWARD DROP\n:ufw-user-forward -\n-A FORWARD -j ufw-user-forward\nCOMMIT\n"
    )
    assert recognise(ufw).candidates == ()


def test_real_engines():
    for path in GOLDEN.glob("engine-*.rules"):
        for title, ruleset in saved(path.stem).items():
            found = recognise(ruleset)
            if "ipv6" in title and "20.10" in path.stem:
                # It has no DOCKER-USER in ip6tables.
                assert [str(one) for one in found.missing] == ["filter FORWARD: -j DOCKER-USER"]
            elif "ipv6" not in title:
                assert (found.generation.name, found.missing, found.stale) == ("A", (), ())


def test_a_bridge_without_isolation_is_missed():
    ruleset = rules(DockerHost("24.0", (WEB,)))[0]
    without = ruleset.with_rule_removed("filter", "DOCKER-ISOLATION-STAGE-2", 1)
    assert [*map(str, recognise(without).missing)] == ["filter DOCKER-ISOLATION-STAGE-2: -o br-web -j DROP"]


def test_a_flush_is_seen_by_what_is_missing():
    daemon = Daemon.started(DockerHost("28.5.2", (WEB,)))
    flushed = recognise(daemon.flushed("filter").ipv4)
    assert flushed.generation is not None
    assert flushed.generation.name == "B2"
    assert "filter FORWARD: -j DOCKER-USER" in [*map(str, flushed.missing)]
    found = recognise(daemon.flushed("filter", "DOCKER").ipv4)
    assert [*map(str, found.missing)] == ["filter DOCKER: ! -i br-web -o br-web -j DROP"]
    gone = recognise(daemon.flushed("filter", "DOCKER-FORWARD").ipv4)
    assert "filter DOCKER-FORWARD: -j DOCKER-CT" in [*map(str, gone.missing)]


@pytest.mark.parametrize("version", ["28.1", "28.5.2", "29.0"])
def test_rules_saved_before_an_upgrade_and_restored_after_it(version):
    """`iptables-restore -n` of an old dump: the old per-bridge rules stand in FORWARD again."""
    ruleset = rules(DockerHost(version, (WEB,)))[0]
    old = [str(rule) for rule in rules(DockerHost("24.0", (WEB,)))[0].chain("filter", "FORWARD").rules]
    for text in old[1:]:
        size = len(ruleset.chain("filter", "FORWARD").rules)
        text = text.removeprefix("-A FORWARD ")
        ruleset = ruleset.with_rule_inserted("filter", "FORWARD", size + 1, text)
    found = recognise(ruleset)
    assert found.is_mixed
    assert {one.by.name for one in found.stale} == {"A"}
    assert {one.rule for one in found.stale} == {text.removeprefix("-A FORWARD ") for text in old[1:]}
    assert all(ruleset.rule(one.place).chain == "FORWARD" for one in found.stale)
    assert isinstance(found.stale[0].place, RulePlace)


@pytest.mark.parametrize("older", ["17.06", "24.0", "28.0.0", "28.1.1", "28.5.2"])
def test_what_an_upgrade_to_29_leaves(older):
    """The engine takes everything out that it knows of: nothing is stale but what it cannot know."""
    old = Daemon.started(DockerHost(older, (WEB,)))
    new = Daemon.started(DockerHost("29.0", (WEB,)), ipv4=old.ipv4, ipv6=old.ipv6)
    found = recognise(new.ipv4)
    assert found.generation is not None
    assert found.generation.name == "C"
    assert (found.missing, found.stale) == ((), ())
