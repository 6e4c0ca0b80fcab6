"""What a daemon makes of rules that it finds: its own of an earlier run, and other people's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from netverify.docker import BridgeNetwork, Daemon, DockerHost, PublishedPort, rules
from netverify.ruleset import Chain
from tests.docker.saved import chains

DOCKER0 = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True)
WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"), IPv6Network("fd00:18::/64"))
DB = BridgeNetwork("db", "br-db", IPv4Network("172.19.0.0/16"))
PORTS = tuple(PublishedPort("web", IPv4Address("172.18.0.2"), 80, host_port) for host_port in (8080, 8081))
HOST = DockerHost("24.0", (DOCKER0, WEB, DB), PORTS[:1], ip6tables=True)


def policies(daemon: Daemon) -> tuple[str | None, str | None]:
    return daemon.ipv4.chain("filter", "FORWARD").policy, daemon.ipv6.chain("filter", "FORWARD").policy


def test_ipv6_is_dropped_whether_the_host_forwarded_before_or_not():
    assert policies(Daemon.started(HOST)) == ("DROP", "DROP")
    assert policies(Daemon.started(replace(HOST, forward_policy="ACCEPT"))) == ("ACCEPT", "DROP")


def test_a_restart_sets_the_ipv6_policy_again_and_the_ipv4_one_not():
    daemon = Daemon.started(HOST)
    opened = replace(
        daemon,
        ipv4=daemon.ipv4.with_policy("filter", "FORWARD", "ACCEPT"),
        ipv6=daemon.ipv6.with_policy("filter", "FORWARD", "ACCEPT"),
    )
    assert policies(opened.restarted()) == ("ACCEPT", "DROP")


def test_after_a_restart_the_default_bridge_is_the_newest():
    again = Daemon.started(HOST).restarted(["db", "bridge", "web"])
    assert [network.name for network in again.host.networks] == ["db", "web", "bridge"]
    first = next(rule for rule in again.ipv4.chain("filter", "DOCKER-ISOLATION-STAGE-1").rules)
    assert str(first).startswith("-A DOCKER-ISOLATION-STAGE-1 -i docker0 ")


HAIRPIN = "-A POSTROUTING -o br-web -m addrtype --src-type LOCAL -j MASQUERADE"


@pytest.mark.parametrize(("version", "left"), [("20.10.24", True), ("23.0", False)])
def test_the_proxy_is_switched_on(version, left):
    """Old engines left the masquerading rule of the time without a proxy (moby issue 44721)."""
    without = Daemon.started(replace(HOST, version=version, userland_proxy=False))
    again = replace(without, host=replace(without.host, userland_proxy=True)).restarted()
    assert [*map(str, again.ipv4.chain("nat", "OUTPUT").rules)] == [
        "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER"
    ]
    assert (HAIRPIN in map(str, again.ipv4.chain("nat", "POSTROUTING").rules)) is left


def test_the_proxy_is_switched_off():
    with_proxy = Daemon.started(HOST)
    again = replace(with_proxy, host=replace(HOST, userland_proxy=False)).restarted()
    expected = chains(rules(replace(again.host, userland_proxy=False))[0])
    found = chains(again.ipv4)
    assert {place: sorted(rules) for place, rules in found.items()} == {
        place: sorted(rules) for place, rules in expected.items()
    }


def test_an_upgrade_brings_docker_user_to_ip6tables():
    old = Daemon.started(replace(HOST, version="20.10"))
    assert not old.ipv6.table("filter").has_chain("DOCKER-USER")
    new = replace(old, host=replace(HOST, version="23.0")).restarted()
    assert str(new.ipv6.chain("filter", "FORWARD").rule(1)) == "-A FORWARD -j DOCKER-USER"


def test_the_pairwise_chain_of_versions_before_18_05_is_removed():
    new = rules(DockerHost("24.0"))[0]
    before = new.with_chain("filter", Chain.of("DOCKER-ISOLATION", "-i br-a -o br-b -j DROP", "-j RETURN"))
    before = before.with_rule_inserted("filter", "FORWARD", 1, "-j DOCKER-ISOLATION")
    assert chains(Daemon.started(DockerHost("24.0"), ipv4=before).ipv4) == chains(new)


def test_two_host_ports_of_one_container_port_share_its_accept():
    daemon = Daemon.started(HOST).with_ports(PORTS[1])
    accept = "-A DOCKER -d 172.18.0.2/32 ! -i br-web -o br-web -p tcp -m tcp --dport 80 -j ACCEPT"
    assert [*map(str, daemon.ipv4.chain("filter", "DOCKER").rules)] == [accept]
    assert daemon.without_ports(*PORTS).ipv4.chain("filter", "DOCKER").rules == ()


def test_without_iptables_there_are_no_rules():
    ipv4, ipv6 = rules(replace(HOST, iptables=False, ip6tables=False))
    assert ipv4.tables == ipv6.tables == ()


def test_ip6tables_is_on_by_default_since_27():
    default = replace(HOST, ip6tables=None)
    assert rules(replace(default, version="26.1"))[1].tables == ()
    assert rules(replace(default, version="27.0"))[1] == rules(replace(HOST, version="27.0"))[1]
