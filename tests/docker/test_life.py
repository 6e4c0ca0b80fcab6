"""What others do to a daemon's rules, and what it makes good: firewalld's reload, iptables -F, upgrades."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from netverify.docker import (
    Attachment,
    BridgeNetwork,
    Daemon,
    DockerError,
    DockerHost,
    Ingress,
    Link,
    recognise,
)
from netverify.docker.difference import differences
from netverify.ruleset import Ruleset
from suites.engine.hosts import hosts

WEB = BridgeNetwork("web", "br-web", IPv4Network("172.18.0.0/16"))
DB = BridgeNetwork("db", "br-db", IPv4Network("172.19.0.0/16"), internal=True)
PLACE = Attachment("web", IPv4Address("172.18.0.2"), container="c")


def started(version: str, **options) -> Daemon:
    return Daemon.started(DockerHost(version, (WEB, DB), attached=(PLACE,), **options))


@pytest.mark.parametrize(
    ("version", "lost"),
    [
        ("24.0", ["-i br-web ! -o br-web -j DOCKER-ISOLATION-STAGE-2", "-o br-web -j DROP"]),
        ("25.0.12", ["-i br-web ! -o br-web -j DOCKER-ISOLATION-STAGE-2", "-o br-web -j DROP"]),
        ("25.0.13", []),
        ("27.5.1", ["-i br-web ! -o br-web -j DOCKER-ISOLATION-STAGE-2", "-o br-web -j DROP"]),
        ("28.1", []),
        ("28.2.0", ["-d 172.18.0.2/32 ! -i br-web -j DROP"]),
        ("28.3.2", ["-d 172.18.0.2/32 ! -i br-web -j DROP"]),
        ("28.3.3", []),
        ("29.0", []),
    ],
)
def test_a_reload_of_firewalld_loses_what_the_cves_say(version, lost):
    before = started(version)
    lines = differences(before.ipv4, before.reloaded().ipv4)
    gone = [line for line in lines if line.startswith("- -A") and "DOCKER-USER" not in line]
    assert [line.partition(" ")[2].split(" ", 2)[2] for line in gone] == lost


def test_a_reload_removes_other_peoples_chains_and_rules():
    theirs = Ruleset.parse("*filter\n:FORWARD ACCEPT\n:theirs -\n-A FORWARD -j theirs\nCOMMIT\n")
    daemon = Daemon.started(DockerHost("28.5.2", (WEB,)), ipv4=theirs)
    assert daemon.ipv4.table("filter").has_chain("theirs")
    daemon = replace(
        daemon, ipv4=daemon.ipv4.with_rule_inserted("filter", "DOCKER-USER", 1, "-i eth1 -j DROP")
    )
    again = daemon.reloaded()
    assert not again.ipv4.table("filter").has_chain("theirs")
    assert again.ipv4.chain("filter", "DOCKER-USER").rules == ()


@pytest.mark.parametrize("version", ["17.06", "24.0", "28.0.0", "28.5.2", "29.0"])
def test_a_reload_and_the_policy(version):
    """firewalld's nftables backend leaves it; with the iptables one, only who set it sets it again."""
    options = {"ip6tables": True} if version == "24.0" else {}
    six = replace(WEB, subnet6=IPv6Network("fd00:18::/64"))
    before = Daemon.started(DockerHost(version, (six,), **options))
    again = before.restarted()
    for one in (
        before.reloaded(),
        before.reloaded("iptables"),
        again.reloaded(),
        again.reloaded().reloaded(),
    ):
        assert one.ipv4.chain("filter", "FORWARD").policy == "DROP"
    opened = again.reloaded("iptables")
    assert opened.ipv4.chain("filter", "FORWARD").policy == "ACCEPT"
    if before.ipv6.tables:  # until 27 every start sets it there
        every_time = version == "24.0"
        assert opened.ipv6.chain("filter", "FORWARD").policy == ("DROP" if every_time else "ACCEPT")


@pytest.mark.parametrize(
    ("version", "place"), [("17.06", -1), ("27.5", -1), ("25.0.13", -1), ("28.0.0", 0), ("28.5.2", 0)]
)
def test_where_a_reload_puts_docker_user(version, place):
    """Before 28.0 networks' rules are inserted above it, since they register with firewalld later."""
    forward = Daemon.started(DockerHost(version, (WEB,))).reloaded().ipv4.chain("filter", "FORWARD").rules
    assert [number for number, rule in enumerate(forward) if "DOCKER-USER" in str(rule)] == [
        place % len(forward)
    ]


@pytest.mark.parametrize(
    ("version", "back"), [("26.1.5", True), ("25.0.13", False), ("28.0.0", True), ("28.1", False)]
)
def test_a_reload_and_a_network_that_was_removed(version, back):
    """Engines before 28.1 write the rules of every network since their start; a restart forgets."""
    daemon = Daemon.started(DockerHost(version, (WEB, DB))).without_network("web")
    again = daemon.reloaded()
    assert again.host == daemon.host
    assert ("-o br-web" in again.ipv4.render()) is back
    assert "br-web" not in daemon.restarted().reloaded().ipv4.render()


@pytest.mark.parametrize(
    ("version", "kept"), [("24.0", False), ("25.0.13", True), ("28.5.2", False), ("29.0", True)]
)
def test_a_reload_and_a_swarm_s_mesh(version, kept):
    gateway = BridgeNetwork("docker_gwbridge", "docker_gwbridge", IPv4Network("172.30.0.0/16"), icc=False)
    mesh = Ingress(IPv4Address("172.30.0.2"), ((8080, "tcp"),))
    again = Daemon.started(DockerHost(version, (gateway,), ingress=mesh)).reloaded()
    assert ("DOCKER-INGRESS" in again.ipv4.render()) is kept
    assert again.host.ingress == mesh


def test_the_nftables_backend_does_not_notice_a_reload():
    daemon = started("29.0", backend="nftables")
    assert daemon.reloaded().nft == daemon.nft
    assert daemon.nft.tables
    assert daemon.ipv4.tables == ()


@pytest.mark.parametrize("version", ["17.06", "24.0", "28.0.0", "28.1", "28.5.2", "29.0"])
def test_a_restart_makes_a_flush_good_but_for_the_policy(version):
    before = Daemon.started(DockerHost(version, (WEB, DB)))
    flushed = before.flushed("filter").flushed("nat")
    assert not [place for place, _ in flushed.ipv4.rules() if place.table in ("filter", "nat")]
    assert differences(before.ipv4, flushed.restarted().ipv4) == []


@pytest.mark.parametrize("version", ["18.04", "27.5.1", "28.1.1", "28.5.2", "29.7.2"])
@pytest.mark.parametrize("case", ["containers,proxy=on", "ports,proxy=off", "default bridge,icc=false"])
def test_stopping_all_containers_leaves_the_networks_rules(version, case):
    host = hosts(version)[case]
    bare = Daemon.started(replace(host, attached=(), published=(), links=()))
    daemon = bare.with_containers(*host.attached, published=host.published, links=host.links)
    assert differences(Daemon.started(host).ipv4, daemon.ipv4) == []
    stopped = daemon.without_containers(*daemon.host.attachments())
    assert differences(bare.ipv4, stopped.ipv4) == []
    assert differences(bare.ipv6, stopped.ipv6) == []
    assert stopped.host.attachments() == ()


def test_a_container_that_is_not_there_cannot_stop():
    daemon = started("28.5")
    with pytest.raises(DockerError, match=r"no container is at 172\.18\.0\.9"):
        daemon.without_containers(Attachment("web", IPv4Address("172.18.0.9")))
    with pytest.raises(DockerError, match=r"network web is in use: 172\.18\.0\.2"):
        daemon.without_network("web")


def test_a_link_has_two_rules_and_none_in_ipv6():
    default = BridgeNetwork("bridge", "docker0", IPv4Network("172.17.0.0/16"), default=True, icc=False)
    link = Link("bridge", IPv4Address("172.17.0.3"), IPv4Address("172.17.0.2"), 80)
    places = tuple(Attachment("bridge", address) for address in (link.server, link.client))
    ipv4 = Daemon.started(DockerHost("24.0", (default,), attached=places, links=(link,))).ipv4
    on_bridge = "-i docker0 -o docker0 -p tcp -m tcp"
    assert [str(rule) for rule in ipv4.chain("filter", "DOCKER").rules] == [
        f"-A DOCKER -s 172.17.0.3/32 -d 172.17.0.2/32 {on_bridge} --dport 80 -j ACCEPT",
        f"-A DOCKER -s 172.17.0.2/32 -d 172.17.0.3/32 {on_bridge} --sport 80 -j ACCEPT",
    ]


@pytest.mark.parametrize(
    ("older", "newer"), [("17.06", "24.0"), ("24.0", "28.1"), ("28.1", "28.5.2"), ("28.5.2", "29.0")]
)
def test_an_upgrade_leaves_no_mixture(older, newer):
    """With the networks and containers of before, after a restart under the newer version."""
    old = started(older)
    new = replace(old, host=replace(old.host, version=newer)).restarted()
    assert recognise(new.ipv4).missing == recognise(new.ipv4).stale == ()
