"""ufw beside Docker: what ufw's default rules (deny incoming, allow 22/tcp) still protect, and what not.

fixtures/rulesets/ufw.rules is what ufw itself leaves in a kernel. ufw appends its jumps to INPUT and FORWARD;
Docker puts its own above them, and has none in INPUT.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netverify.docker import Daemon
from netverify.kernel.lab import Lab
from netverify.reachability.probe import icmp, tcp
from netverify.ruleset import Family, Ruleset
from suites.docker.grid import setting
from suites.docker.releases import Release
from suites.docker.scene import Scene

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

RULES = Path(__file__).parents[2] / "fixtures" / "rulesets"


def ufw(family: Family) -> Ruleset:
    """ufw's rules alone."""
    name = {"ipv4": "ufw.rules", "ipv6": "ufw6.rules"}[family]
    return Ruleset.parse((RULES / name).read_text(), family=family)


def with_ufw(lab: Lab, release: Release, name: str = "default", *, first: str = "ufw") -> Scene:
    """The grid's host with ufw enabled before Docker started, or after it."""
    scene = Scene.of(lab, setting(name).topology(release))
    daemon = scene.daemon
    if first == "ufw":
        daemon = Daemon.started(daemon.host, ipv4=ufw("ipv4"), ipv6=ufw("ipv6"))
    else:
        daemon = replace(daemon, ipv4=_enabled(daemon.ipv4), ipv6=_enabled(daemon.ipv6))
    scene.become(daemon)
    return scene


def _enabled(rules: Ruleset) -> Ruleset:
    """After `ufw enable`: its chains, its jumps at the ends of the kernel's own, its policies."""
    own = ufw(rules.family).table("filter")
    if not rules.has_table("filter"):
        return rules.with_table(own)
    there = rules.table("filter")
    for chain in own.chains:
        before = there.chain(chain.name).rules if there.has_chain(chain.name) else ()
        rules = rules.with_chain("filter", replace(chain, rules=(*before, *chain.rules)))
    return rules


def test_published_ports_pass_it_by(lab: Lab, release: Release) -> None:
    """ufw filters INPUT: the host's own services are shut, ports of containers are not.

    What is published comes by FORWARD, where Docker's ACCEPT stands above ufw's. nftables' ACCEPT is not
    iptables', and there ufw's policy DROP has the last word: nothing that is published gets through, and no
    container gets out.
    """
    found = with_ufw(lab, release).answers(
        [
            ("neighbour", "host", tcp(83)),
            ("neighbour", "host", tcp(22)),
            ("neighbour", "host:8080", tcp(80)),
            ("neighbour", "host:8082", tcp(82)),
            ("web1", "internet", tcp(80)),
        ]
    )
    forwarded = "F" if release.backend == "nftables" else "."
    assert list(found.values()) == ["F", ".", forwarded, forwarded, forwarded]


def test_what_the_proxy_carries_is_shut(lab: Lab, release: Release) -> None:
    """A container asks the host for a published port by INPUT, where the proxy listens: ufw drops that.

    In 29 the rules carry what comes from another network, and no proxy. The host's own loopback passes.
    """
    found = with_ufw(lab, release).answers(
        [
            ("other", "host:8080", tcp(80)),
            ("web1", "host:8080", tcp(80)),
            ("web1", "host", tcp(83)),
            ("host", "host@127.0.0.1:8080", tcp(80)),
            ("web2", "web1", tcp(83)),
        ]
    )
    by_rules = "." if release.generation.name == "C" else "F"
    assert list(found.values()) == [by_rules, "F", "F", ".", "."]


def test_ping_from_the_lan_to_containers(lab: Lab, release: Release) -> None:
    """ufw accepts echo requests in FORWARD too: until 27 containers' own addresses answer the LAN.

    Since 28.0 each bridge's default drop stands before ufw's rules. Other ports stay shut by ufw's policy,
    on a host that forwarded before as well.
    """
    found = with_ufw(lab, release, "host forwarded before").answers(
        [("neighbour", "web1", icmp()), ("neighbour", "web1", tcp(83)), ("other", "web1", icmp())]
    )
    answered = "." if release.generation.name in ("A0", "A") else "F"
    assert list(found.values()) == [answered, "F", "F"]


@pytest.mark.parametrize("first", ["ufw", "docker"])
def test_icc_false_and_ping(lab: Lab, release: Release, first: str) -> None:
    """Until 28.0.0 the drop of icc=false stands at FORWARD's end: behind ufw's rules, if ufw was there first.

    Then ufw's accept of echo requests comes before it, and the network's containers ping each other. TCP is
    accepted by nothing of ufw's.
    """
    found = with_ufw(lab, release, "icc=false", first=first).answers(
        [("web2", "web1", icmp()), ("web2", "web1", tcp(83))]
    )
    pierced = first == "ufw" and release.generation.name in ("A0", "A", "B0")
    assert list(found.values()) == ["." if pierced else "F", "F"]
