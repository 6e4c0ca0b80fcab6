"""Networks that reach each other, by what opened it: planted on engines of each generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.audit.finding import Finding, Severity
from netverify.docker import Daemon, DockerHost
from netverify.ruleset import Ruleset
from tests.audit.hosts import VERSIONS, findings, network, place, usual, without_rule

BEFORE_28_2 = VERSIONS[:6]
STAGED = ("20.10.24", "26.1.4", "27.5.1")
ACCEPT = "-i br-front -o br-back -j ACCEPT"


def found(docker: DockerHost | Daemon, **how: object) -> list[Finding]:
    return findings(docker, "networks-not-isolated", **how)


def started(version: str, **options: object) -> Daemon:
    return Daemon.started(usual(version, **options))


@pytest.mark.parametrize("version", BEFORE_28_2)
def test_a_rule_that_somebody_inserted(version: str) -> None:
    daemon = started(version)
    (one,) = found(daemon, ipv4=daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, ACCEPT))
    assert one.severity is Severity.HIGH
    assert one.subject == f"IPv4 filter FORWARD: {ACCEPT}"
    assert str(one.cells[0]) == "front-2 -> back-2 (tcp/80)"
    assert [rule.text for rule in one.rules] == [f"-A FORWARD {ACCEPT}"]
    assert one.remedy == (f"iptables -t filter -D FORWARD {ACCEPT}",)
    assert one.evidence is not None
    assert one.evidence.sending is not None
    assert one.evidence.sending.arrives
    assert any(f"filter FORWARD rule 1: {ACCEPT}" in line for line in one.evidence.trace)


@pytest.mark.parametrize("version", ["28.5.2", "29.1.0"])
def test_drops_in_the_raw_table_keep_containers_behind_such_a_rule(version: str) -> None:
    """Since 28.2 no packet comes to FORWARD that is addressed to a container on another network."""
    daemon = started(version)
    opened = daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, ACCEPT)
    assert found(daemon, ipv4=opened) == []
    raw = [str(rule) for rule in opened.chain("raw", "PREROUTING").rules if "172.19.0.2/32" in str(rule)]
    gone = without_rule(opened, "raw", "PREROUTING", *(text.removeprefix("-A PREROUTING ") for text in raw))
    (one,) = found(daemon, ipv4=gone)
    assert one.subject == f"IPv4 filter FORWARD: {ACCEPT}" or "raw PREROUTING" in one.subject
    assert [str(cell) for cell in one.cells] == ["front-2 -> back-2 (tcp/80)"]


def test_a_rule_of_the_users_own_chain_is_less_bad() -> None:
    daemon = started("26.1.4")
    (one,) = found(daemon, ipv4=daemon.ipv4.with_rule_inserted("filter", "DOCKER-USER", 1, ACCEPT))
    assert one.severity is Severity.MEDIUM


@pytest.mark.parametrize("version", STAGED)
def test_a_bridge_without_entries_in_the_stages(version: str) -> None:
    daemon = started(version)
    bare = without_rule(daemon.ipv4, "filter", "DOCKER-ISOLATION-STAGE-2", "-o br-back -j DROP")
    (one,) = found(daemon, ipv4=bare)
    assert one.subject == "IPv4 filter DOCKER-ISOLATION-STAGE-2: -o br-back -j DROP"
    assert "the rule that stops them is missing" in one.title
    assert {cell.target for cell in one.cells} == {"back-2"}
    assert one.remedy[1].endswith("iptables -t filter -I DOCKER-ISOLATION-STAGE-2 -o br-back -j DROP")


@pytest.mark.parametrize("version", STAGED)
def test_a_missing_jump(version: str) -> None:
    daemon = started(version)
    bare = without_rule(daemon.ipv4, "filter", "FORWARD", "-j DOCKER-ISOLATION-STAGE-1")
    (one,) = found(daemon, ipv4=bare)
    assert one.subject == "IPv4 filter FORWARD: -j DOCKER-ISOLATION-STAGE-1"
    assert one.title == "4 networks reach 4 networks: no rule leads to the chain that stops them"
    assert len(one.cells) == 12


@pytest.mark.parametrize("version", STAGED)
def test_a_wrong_order(version: str) -> None:
    daemon = started(version)
    jump = "-j DOCKER-ISOLATION-STAGE-1"
    without = without_rule(daemon.ipv4, "filter", "FORWARD", jump)
    last = len(without.chain("filter", "FORWARD").rules) + 1
    (one,) = found(daemon, ipv4=without.with_rule_inserted("filter", "FORWARD", last, jump))
    assert "stands before the one that stops them" in one.title
    assert len(one.cells) == 12


@pytest.mark.parametrize("version", ["18.03.1", *STAGED])
def test_a_reload_of_firewalld(version: str) -> None:
    """CVE-2025-54410: what keeps networks apart is not written again."""
    ours = [each for each in found(started(version).reloaded()) if each.subject.startswith("IPv4")]
    assert len(ours) == 1
    assert "4 networks reach 4 networks" in ours[0].title
    assert found(started("28.0.4").reloaded()) == []


@pytest.mark.parametrize("version", BEFORE_28_2)
def test_a_flushed_chain_behind_an_open_policy(version: str) -> None:
    flushed = started(version).flushed("filter", "FORWARD")
    assert found(flushed) == []  # the policy stops everything
    (one,) = found(flushed, ipv4=flushed.ipv4.with_policy("filter", "FORWARD", "ACCEPT"))
    assert one.subject == "IPv4 filter FORWARD"
    assert one.rules[0].number == 0


def test_ipv6_is_looked_at_as_well() -> None:
    daemon = started("27.5.1")
    (one,) = found(daemon, ipv6=daemon.ipv6.with_rule_inserted("filter", "FORWARD", 1, ACCEPT))
    assert one.title.startswith("front reaches back over IPv6")
    assert one.remedy[0].startswith("ip6tables")


def test_the_nftables_backend() -> None:
    """An element that leads nowhere: what comes in for a bridge is no longer looked at."""
    daemon = started("29.1.0", backend="nftables")
    assert found(daemon) == []
    tables = tuple(
        replace(
            table,
            chains=tuple(
                replace(chain, rules=()) if chain.name.startswith(("filter-FORWARD", "raw-")) else chain
                for chain in table.chains
            ),
        )
        for table in daemon.nft.tables
    )
    hit = found(daemon, nft=replace(daemon.nft, tables=tables))
    assert {each.id for each in hit} == {"networks-not-isolated"}
    assert all(each.rules[0].backend == "nftables" for each in hit)


def test_denials_of_the_user_are_no_finding() -> None:
    daemon = started("26.1.4")
    closed = daemon.ipv4.with_rule_inserted("filter", "DOCKER-USER", 1, "-i br-front -j DROP")
    assert found(daemon, ipv4=closed) == []


def test_another_engine_is_unknown() -> None:
    podman = {"host": {"security": {"rootless": False}}, "version": {"Version": "5.0"}}
    (one,) = found(usual("26.1.4"), parts={"docker-info.json": podman})
    assert one.unknown == "the rules of Docker are known, and here is podman"
    (other,) = found(usual("26.1.4"), parts={"docker-info.json": {"ServerVersion": "47.0.0"}})
    assert "no iptables rules are known for Docker 47.0" in other.unknown


def test_a_network_without_containers_is_reached_by_nobody() -> None:
    one, other = network(2, "front"), network(3, "back")
    host = DockerHost("26.1.4", (one, other), attached=(place(one),))
    daemon = Daemon.started(host)
    rules: Ruleset = daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, ACCEPT)
    assert found(daemon, ipv4=rules) == []
