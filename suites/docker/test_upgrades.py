"""An engine that starts where another version ran: what it takes out, what stays, and what packets notice.

No reboot lies between: the kernel still has the old engine's rules, its sets and its policies.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.docker import Daemon, DockerHost, docker_host, recognise, rules
from netverify.docker.layout import SET_NAMES
from netverify.docker.version import CLASSIC, DROPS_BY_CONTAINER, SETS
from netverify.kernel.firewall import FirewallError
from netverify.kernel.lab import Lab
from netverify.reachability.probe import icmp, tcp, udp
from netverify.ruleset import Ruleset
from suites.docker.grid import setting
from suites.docker.releases import RELEASES, Release
from suites.docker.scene import HOST, Scene, all_of

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

ASKED = [
    *all_of("web2 other neighbour", "web1", tcp(80), tcp(83), icmp(), udp(53)),
    *all_of("web2 other neighbour internet host", "host:8080", tcp(80)),
    *all_of("web1 other", "internet neighbour", tcp(80)),
    ("neighbour", "host@127.0.0.1:8081", tcp(81)),
    ("host", "host@127.0.0.1:8081", tcp(81)),
]


def engine_of(release: Release) -> DockerHost:
    """The grid's host as an engine of that release knows it."""
    return docker_host(setting("default").topology(release).resolved(), HOST)


def beginning(scene: Scene, daemon: Daemon) -> None:
    """The host with nothing but this daemon's rules."""
    for version in (4, 6):
        scene.lab.firewall(HOST).flush(version=version)
    scene.become(daemon)


def older_than(release: Release) -> list[Release]:
    """The releases before it that write iptables rules."""
    writing = [one for one in RELEASES if one.backend == "iptables"]
    return writing[: writing.index(release)] if release in writing else []


def test_an_upgrade_without_a_reboot_is_like_a_fresh_start(lab: Lab, iptables_release: Release) -> None:
    """From every older generation: each answer is that of a host that never had another engine.

    And its rules are known as the new generation's, with nothing missing and nothing left.
    """
    scene = Scene.of(lab, setting("default").topology(iptables_release))
    fresh = scene.answers(ASKED)
    for older in older_than(iptables_release):
        old = Daemon.started(engine_of(older))
        beginning(scene, old)
        scene.become(replace(old, host=engine_of(iptables_release)).restarted())
        assert scene.answers(ASKED) == fresh, f"from {older}"
        found = recognise(lab.firewall(HOST).rules())
        assert (found.missing, found.stale) == ((), ()), f"from {older}"
        assert iptables_release.generation in found.candidates, f"from {older}"


def test_from_iptables_to_nftables(lab: Lab) -> None:
    """The engine with the new backend leaves iptables' rules alone: both stand, and both must accept.

    So what 29's iptables rules drop stays dropped, even once the new table would let it through.
    """
    old, new = RELEASES[-2], RELEASES[-1]
    scene = Scene.of(lab, setting("default").topology(new))
    beside = Daemon.started(engine_of(old))
    fresh = scene.answers(ASKED)
    scene.become(replace(scene.daemon, ipv4=beside.ipv4, ipv6=beside.ipv6))
    assert scene.answers(ASKED) == fresh
    found = recognise(lab.firewall(HOST).rules(), lab.nft_firewall(HOST).everything())
    assert found.is_mixed
    lab.run(HOST, "nft flush chain ip docker-bridges filter-forward-in__br-web")
    lab.run(HOST, "nft flush chain ip docker-bridges raw-PREROUTING")
    shut = ("neighbour", "web1", tcp(83))
    assert list(scene.answers([shut]).values()) == ["F"]
    lab.firewall(HOST).flush()
    assert list(scene.answers([shut]).values()) == ["."]


# --- 28.0.0's sets -----------------------------------------------------------------------------------------

SET = SET_NAMES["ipv4"]
OF = {release.generation: release for release in RELEASES}  # of 18.05 to 27 the newest: 27


def with_sets(lab: Lab) -> Scene:
    """A host of 28.0.0."""
    return Scene.of(lab, setting("default").topology(OF[SETS]))


def test_a_subnet_that_is_not_in_the_set_is_cut_off(lab: Lab) -> None:
    """28.0.0 tells replies and published ports by an ipset of subnets; without its subnet a network is alone.

    Nothing comes back to it from outside, and nobody reaches its published ports but by the proxy.
    """
    scene = with_sets(lab)
    asked = [("web1", "internet", tcp(80)), ("neighbour", "host:8080", tcp(80)), ("host", "web1", tcp(83))]
    assert [cell.replied for cell in scene.cells(asked).values()] == [True, True, True]
    lab.run(HOST, f"ipset del {SET} 172.18.0.0/16")
    cells = scene.cells(asked)
    assert [cell.replied for cell in cells.values()] == [False, False, True]
    assert [str(cell.outcome.value) for cell in cells.values()] == ["delivered", "filtered", "delivered"]
    lab.run(HOST, f"ipset add {SET} 172.18.0.0/16")
    assert [cell.replied for cell in scene.cells(asked).values()] == [True, True, True]


def test_rules_saved_under_28_0_0_load_only_with_the_sets(lab: Lab) -> None:
    """A dump of its rules is refused as a whole where no sets are, as after a reboot with a newer engine."""
    scene = Scene.of(lab, setting("default").topology(RELEASES[4]))
    dump = Daemon.started(engine_of(OF[SETS])).ipv4.render()
    before = lab.firewall(HOST).rules().render()
    with pytest.raises(FirewallError, match=f"Set {SET} doesn't exist"):
        lab.firewall(HOST).restore(dump)
    assert lab.firewall(HOST).rules().render() == before
    assert scene.daemon.host.version == "28.1.1"


@pytest.mark.parametrize("newer", [4, 5, 6], ids=lambda number: str(RELEASES[number]))
def test_28_0_0_s_rules_put_back_beside_a_newer_engine_s(lab: Lab, newer: int) -> None:
    """Restored with `-n` into a newer engine's rules, they stand behind its own and decide nothing.

    But `-I`nserted, as a script of that time may do, `-i BRIDGE -j ACCEPT` opens what 28.1 isolates by
    nothing but the filter table. Since 28.2 the raw table still guards the containers.
    """
    release = RELEASES[newer]
    scene = Scene.of(lab, setting("default").topology(release))
    fresh = scene.answers(ASKED)
    lab.run(HOST, f"ipset create {SET} hash:net family inet")
    for subnet in ("172.17.0.0/16", "172.18.0.0/16"):
        lab.run(HOST, f"ipset add {SET} {subnet}")
    own = [str(rule) for rule in Daemon.started(engine_of(OF[SETS])).ipv4.chain("filter", "FORWARD").rules]
    left = [rule.removeprefix("-A ") for rule in own if "DOCKER-USER" not in rule and "STAGE-1" not in rule]
    for rule in left:
        lab.firewall(HOST).run(f"-A {rule}")
    sets = Daemon.started(engine_of(OF[SETS])).host
    assert scene.answers(ASKED, sets=sets) == fresh
    stale = recognise(lab.firewall(HOST).rules()).stale
    assert {one.by for one in stale} == {SETS}
    assert len(stale) == len(left)
    lab.firewall(HOST).run("-I FORWARD -i docker0 -j ACCEPT")
    found = scene.answers([("other", "web1", tcp(83)), ("other", "web1", tcp(80))], sets=sets)
    unpublished, published = found.values()
    guarded = release.generation.name in ("B2", "C")
    assert (unpublished, published) == (("F", "F") if guarded else (".", "F"))


# --- the other way -----------------------------------------------------------------------------------------


def test_a_downgrade_leaves_the_newer_engine_s_rules(lab: Lab) -> None:
    """28.5 to 27: the older engine knows nothing of DOCKER-FORWARD and of the raw table, and leaves them.

    Its own rules come first, so what they accept is accepted; the raw table still drops what comes to
    containers directly, which 27 alone would let in by published ports. The mixture is found out.
    """
    older, newer = OF[CLASSIC], OF[DROPS_BY_CONTAINER]
    scene = Scene.of(lab, setting("default").topology(older))
    alone = scene.answers(ASKED)
    before = Daemon.started(engine_of(newer))
    beginning(scene, before)
    scene.become(replace(before, host=engine_of(older)).restarted())
    mixed = scene.answers(ASKED)
    differing = {one: (alone[one], mixed[one]) for one in ASKED if alone[one] != mixed[one]}
    direct = {("neighbour", "web1", tcp(80)), ("neighbour", "web1", udp(53))}
    loopback = {("neighbour", "host@127.0.0.1:8081", tcp(81))}
    assert differing == dict.fromkeys(direct | loopback, (".", "F"))
    assert recognise(lab.firewall(HOST).rules()).is_mixed


def _texts(ruleset: Ruleset) -> list[str]:
    return [str(rule) for _place, rule in ruleset.rules()]


def test_no_rule_of_28_0_0_names_its_sets_after_an_upgrade() -> None:
    """28.0.1 to 29 take out the rules that look into the sets; the sets themselves stay in the kernel."""
    old = Daemon.started(engine_of(OF[SETS]))
    assert sum(SET in text for text in _texts(old.ipv4)) == 2
    for release in RELEASES[4:7]:
        new = replace(old, host=engine_of(release)).restarted()
        assert not [text for text in _texts(new.ipv4) if SET in text]
        assert rules(engine_of(release))[0].tables
