"""Who empties Docker's chains, what is open until the engine writes them again, and what it does not write.

`iptables -F`, and firewalld's reload: that runs `iptables -t TABLE -F` and `-X` for every table and tells the
engine, which writes its rules again. firewalld's own tables are not in these labs.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify import docker
from netverify.kernel.lab import Lab
from netverify.reachability.probe import icmp, tcp, udp
from suites.docker.grid import setting
from suites.docker.releases import RELEASES, Release, release_of
from suites.docker.scene import HOST, Scene, all_of

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

WAYS = {
    "other network to the container": ("other", "web1", tcp(83)),
    "other network to a published port": ("other", "web1", tcp(80)),
    "LAN to the container": ("neighbour", "web1", tcp(83)),
    "LAN to the container, published": ("neighbour", "web1", tcp(80)),
    "LAN to the host's port": ("neighbour", "host:8080", tcp(80)),
    "LAN to the loopback's port": ("neighbour", "host@127.0.0.1:8081", tcp(81)),
    "container to the internet": ("web1", "internet", tcp(80)),
    "other network to the container, IPv6": ("other", "web1", tcp(83, version=6)),
}


def symbols(scene: Scene) -> str:
    """The answers to all of WAYS, in their order."""
    return "".join(scene.answers(WAYS.values()).values())


def emptied(scene: Scene) -> None:
    """What firewalld does to iptables when it reloads."""
    for table in ("raw", "mangle", "nat", "filter"):
        scene.iptables(f"-t {table} -F", f"-t {table} -X")


# --- firewalld's reload ------------------------------------------------------------------------------------


def test_a_reload_of_firewalld(lab: Lab, release: Release) -> None:
    """Between the flush and the engine's answer only the policy holds; afterwards all is as before, or not.

    Until 27 what keeps networks apart is not written again (CVE-2025-54410).
    """
    scene = Scene.of(lab, setting("default").topology(release))
    before = symbols(scene)
    emptied(scene)
    in_between = symbols(scene)
    scene.become(scene.daemon.reloaded())
    after = symbols(scene)
    if release.backend == "nftables":
        assert before == in_between == after
        return
    # By the proxy the port still answers; 127.0.0.1 is no address that may come from outside.
    assert in_between == f"FFFF.FF{before[-1]}"
    reopened = release.generation.name in ("A0", "A")
    assert after == (f"..{before[2:-1]}." if reopened else before)


@pytest.mark.parametrize(
    ("version", "change"),
    [
        ("25.0.12", "other network to the container, other network to a published port"),
        ("25.0.13", ""),
        ("28.1.1", ""),
        ("28.2.0", "LAN to the container, published"),
        ("28.3.2", "LAN to the container, published"),
        ("28.3.3", ""),
    ],
)
def test_releases_that_were_mended(lab: Lab, version: str, change: str) -> None:
    """CVE-2025-54410 in 25.0.13, CVE-2025-54388 in 28.3.3: what is open after a reload and was not before."""
    scene = Scene.of(lab, setting("default").topology(release_of(version)))
    before = scene.answers(WAYS.values())
    emptied(scene)
    scene.become(scene.daemon.reloaded())
    after = scene.answers(WAYS.values())
    opened = [name for name, asked in WAYS.items() if before[asked] != after[asked]]
    assert ", ".join(opened) == change
    assert {after[WAYS[name]] for name in opened} <= {"."}


def test_a_reload_takes_the_operator_s_rules(lab: Lab, release: Release) -> None:
    """Rules in DOCKER-USER go with the chain; the engine makes the chain anew, without them."""
    if release.backend == "nftables":  # it has no such chain: a table of one's own stays where it is
        assert not docker.rules(setting_host(release))[0].tables
        return
    scene = Scene.of(lab, setting("default").topology(release))
    published = [("neighbour", "host:8080", tcp(80))]
    blocked = "-i eth0 -p tcp -m conntrack --ctorigdstport 8080 -j DROP"
    rules = scene.daemon.ipv4.with_rule_inserted("filter", "DOCKER-USER", 1, blocked)
    scene.become(replace(scene.daemon, ipv4=rules))
    assert list(scene.answers(published).values()) == ["F"]
    emptied(scene)
    scene.become(scene.daemon.reloaded())
    assert list(scene.answers(published).values()) == ["."]


def test_docker_user_is_asked_last_after_a_reload(lab: Lab, iptables_release: Release) -> None:
    """Until 27 a rule that is put back into DOCKER-USER stops nothing any more: all else is asked before.

    A restart of the engine, or a new network, puts the chain first again.
    """
    scene = Scene.of(lab, setting("default").topology(iptables_release))
    asked = [("neighbour", "host:8080", tcp(80)), ("web1", "internet", tcp(80))]
    reloaded = scene.daemon.reloaded()
    late = iptables_release.generation.name in ("A0", "A")
    for daemon, symbol in ((reloaded, "." if late else "F"), (reloaded.restarted(), "F")):
        scene.become(daemon)
        assert set(scene.answers(asked).values()) == {"."}
        lab.firewall(HOST).run("-I DOCKER-USER -j DROP")
        assert set(scene.answers(asked).values()) == {symbol}


def setting_host(release: Release) -> docker.DockerHost:
    """The grid's host as its engine knows it."""
    return docker.docker_host(setting("default").topology(release).resolved(), HOST)


def test_a_reload_by_firewalld_s_iptables_backend(lab: Lab) -> None:
    """With FirewallBackend=iptables it opens the policies, and an engine that was restarted leaves them so.

    Then 27's unpublished ports are open to the LAN: the engine found forwarding on when it started last.
    """
    scene = Scene.of(lab, setting("default").topology(RELEASES[2]))
    for daemon, symbol in (
        (scene.daemon.reloaded("iptables"), "F"),
        (scene.daemon.restarted().reloaded("nftables"), "F"),
        (scene.daemon.restarted().reloaded("iptables"), "."),
    ):
        scene.become(daemon)
        assert list(scene.answers([WAYS["LAN to the container"]]).values()) == [symbol]


# --- iptables -F -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_iptables_flush(lab: Lab, release: Release, policy: str) -> None:
    """`iptables -F`: with policy DROP nothing is forwarded any more, with ACCEPT everything is.

    But what the raw table guards (since 28.2 containers, in 28.0 and 28.1 their published ports) stays shut.
    The translations are there still. A restart of the engine makes all of it good.
    """
    scene = Scene.of(
        lab, setting("host forwarded before" if policy == "ACCEPT" else "default").topology(release)
    )
    before = symbols(scene)
    scene.iptables("-F")
    flushed = symbols(scene)
    scene.become(replace(scene.daemon.flushed().restarted()))
    assert symbols(scene) == before
    name = release.generation.name
    if name == "N":
        assert flushed == before
    elif policy == "DROP":
        assert flushed == f"FFFFFFF{before[-1]}"
    else:
        whole, ports = ("F", "F") if name in ("B2", "C") else (".", "F" if name in ("B0", "B1") else ".")
        loopback = "F" if name[0] in "BC" else "."
        six = "F" if release.title == "27" else whole  # 27 sets DROP in ip6tables in any case
        assert flushed == f"{whole}{ports}{whole}{ports}.{loopback}.{six}"


def test_iptables_flush_of_the_translations(lab: Lab, release: Release) -> None:
    """`iptables -t nat -F`: published ports still answer, by the proxy, which does not tell the client.

    And what containers send to the internet leaves with their own addresses: no answer finds back.
    """
    scene = Scene.of(lab, setting("default").topology(release))
    asked, outgoing = ("neighbour", "host:8080", tcp(80)), ("web1", "internet", tcp(80))

    def seen() -> list[str]:
        assert scene.answers([asked])
        cells = scene.cells([asked, outgoing]).values()
        return [
            (cell.seen_source or "").rpartition(":")[0] + ("" if cell.replied else " >") for cell in cells
        ]

    assert seen() == ["198.51.100.20", "198.51.100.10"]
    scene.iptables("-t nat -F")
    if release.backend == "nftables":
        assert seen() == ["198.51.100.20", "198.51.100.10"]
    else:
        assert seen() == ["172.18.0.1", "172.18.0.2 >"]


def test_nft_flush_ruleset(lab: Lab) -> None:
    """The nftables backend's own danger: `nft flush ruleset` takes all of Docker's tables.

    It sets no policy, so every container is open to everybody with a route.
    """
    scene = Scene.of(lab, setting("default").topology(RELEASES[-1]))
    shut = all_of("other neighbour", "web1", tcp(83), icmp(), udp(53))
    assert set(scene.answers(shut).values()) == {"F"}
    lab.run(HOST, "nft flush ruleset")
    assert set(scene.answers(shut).values()) == {"."}
