"""The iptables-save of seed document 001, section 5.2: docker0 and three user-defined bridges.

Its chains do not agree on one order of creation. Filter's FORWARD, STAGE-1 and STAGE-2 and nat's DOCKER have,
from the newest, docker0, 172.18, 172.19, 172.21; nat's POSTROUTING has docker0, 172.19, 172.21, 172.18. The
engine inserts a rule only where it is missing, and when it starts it removes its own chains but looks neither
at POSTROUTING nor at FORWARD. So POSTROUTING keeps the order of the first start since boot, the other three
chains have that of the last one, and FORWARD would have the first one's too had nobody flushed the filter
table in between. Its policy ACCEPT fits: `iptables -P FORWARD ACCEPT; iptables -F`, then a restart.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from fixtures.documented import topology
from netverify.docker import BridgeNetwork, Daemon, DockerHost, docker_host, rules
from netverify.ruleset import Ruleset
from tests.docker.saved import chains, saved

DOCUMENTED = saved("three-bridges")["ipv4, seed document 001, section 5.2"]

DOCKER0 = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True)
NET18 = BridgeNetwork("net18", "br-cbd0f56841ce", IPv4Network("172.18.0.0/16"))
NET19 = BridgeNetwork("net19", "br-9559b3f84d38", IPv4Network("172.19.0.0/16"))
NET21 = BridgeNetwork("net21", "br-cfcd23a5f04c", IPv4Network("172.21.0.0/16"))

POSTROUTING = ("nat", "POSTROUTING")


def flushed(ruleset: Ruleset, table: str) -> Ruleset:
    """What `iptables -t TABLE -F` makes of it."""
    for chain in ruleset.table(table).chains:
        ruleset = ruleset.with_chain(table, replace(chain, rules=()))
    return ruleset


def first_start(version: str) -> Daemon:
    return Daemon.started(DockerHost(version, (NET18, NET21, NET19, DOCKER0)))


def with_filter_flushed(daemon: Daemon) -> Daemon:
    opened = daemon.ipv4.with_policy("filter", "FORWARD", "ACCEPT")
    return replace(daemon, ipv4=flushed(opened, "filter"))


@pytest.mark.parametrize("version", ["18.05", "18.09.9", "19.03", "20.10.21", "24.0.2", "27.5.1"])
def test_every_chain_rule_by_rule_in_order(version):
    daemon = with_filter_flushed(first_start(version)).restarted(["net21", "net19", "net18", "bridge"])
    assert chains(daemon.ipv4) == chains(DOCUMENTED)
    assert daemon.ipv4 == DOCUMENTED


@pytest.mark.parametrize("family_on", [False, True])
def test_the_last_starts_order_alone_gives_all_chains_but_postrouting(family_on):
    """What a fresh host with these networks has: the same rules, and only POSTROUTING in another order."""
    host = DockerHost("24.0", (NET21, NET19, NET18, DOCKER0), forward_policy="ACCEPT", ip6tables=family_on)
    written, documented = chains(rules(host)[0]), chains(DOCUMENTED)
    assert sorted(written.pop(POSTROUTING)) == sorted(documented[POSTROUTING])
    assert written == {place: rules for place, rules in documented.items() if place != POSTROUTING}


def test_the_topology_file_stands_for_that_host():
    host = docker_host(topology("docker-three-bridges"), "host")
    assert host.networks == (NET21, NET19, NET18, DOCKER0)
    written, documented = chains(rules(host)[0]), chains(DOCUMENTED)
    assert {place: sorted(found) for place, found in written.items()} == {
        place: sorted(found) for place, found in documented.items()
    }


def test_without_the_flush_a_restart_keeps_forward_in_the_first_order():
    """So no restart alone explains the document's FORWARD and POSTROUTING together."""
    first = first_start("24.0")
    again = first.restarted(["net21", "net19", "net18", "bridge"])
    assert again.ipv4.chain("filter", "FORWARD") == first.ipv4.chain("filter", "FORWARD")
    assert again.ipv4.chain(*POSTROUTING) == first.ipv4.chain(*POSTROUTING) == DOCUMENTED.chain(*POSTROUTING)
    for place in (("nat", "DOCKER"), ("filter", "DOCKER-ISOLATION-STAGE-1")):
        assert again.ipv4.chain(*place) == DOCUMENTED.chain(*place)
