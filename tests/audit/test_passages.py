"""Policies against hosts: of all packets, and not of examples."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from netverify.audit import policy
from netverify.audit.case import Case
from netverify.audit.finding import Finding
from netverify.audit.passages import draft, violations
from netverify.docker import Daemon, DockerHost, PublishedPort
from tests.audit.hosts import case, network, place


def host() -> DockerHost:
    """Two containers on one network, one on another, a published port."""
    front, back = network(2, "front", v6=False), network(3, "back", v6=False)
    port = PublishedPort("front", front.subnet[2], 80, 8080)
    attached = (place(front, 2, "web"), place(front, 3, "api"), place(back, 2, "db"))
    return DockerHost("28.5.2", (front, back), (port,), attached=attached)


@cache
def unspoilt() -> Case:
    return case(host())


def found(of: Case, *rules: str) -> list[Finding]:
    """What is wrong by a policy of these lines."""
    return list(
        violations(of, policy.loads("rules:\n" + "".join(f"  - {rule}\n" for rule in rules), "p.yaml"))
    )


def told(*rules: str) -> list[tuple[str, str]]:
    return [(each.id, each.subject) for each in found(unspoilt(), *rules)]


def test_a_policy_that_is_met() -> None:
    rules = (
        "web -> api tcp/80 allow",
        "internet -> web tcp/8080 only",
        "everything else between networks deny",
    )
    assert told(*rules) == []


def test_what_passes_and_is_denied_is_shown_by_a_packet_its_way_and_its_rule() -> None:
    (finding,) = found(unspoilt(), "internet -> * deny", "lan -> web tcp/8080 only")[:1]
    assert (finding.id, finding.subject) == ("policy-violated", "internet -> web over IPv4")
    assert finding.title.startswith("tcp/8080 passes, and the policy says: internet -> * deny (line 2)")
    assert finding.evidence is not None
    assert ":8080" in finding.evidence.packet
    assert any("DNAT" in line for line in finding.evidence.trace)
    assert [(rule.chain, rule.number) for rule in finding.rules] == [("DOCKER", 1)]


def test_only_the_ports_that_the_policy_leaves_out_are_named() -> None:
    (finding,) = found(unspoilt(), "web -> api tcp/80 tcp/443 only")
    assert finding.cells[0].service.split()[:3] == ["tcp/1-79", "tcp/81-442", "tcp/444-65535"]


def test_the_first_rule_about_a_packet_counts() -> None:
    assert told("web -> api any allow", "web -> api deny") == []
    assert told("web -> api tcp/80 deny", "web -> api any allow") == [
        ("policy-violated", "web -> api over IPv4")
    ]


def test_what_is_allowed_and_does_not_work() -> None:
    assert told("web -> db tcp/5432 allow") == [("policy-not-met", "web -> db tcp/5432")]
    (finding,) = found(unspoilt(), "internet -> web tcp/8079-8081 allow")
    assert finding.title.startswith("tcp/8079,8081 gets no answer")
    assert told("web -> db icmp allow", "web -> api icmp allow") == [("policy-not-met", "web -> db icmp")]


def test_everything_else_between_networks_is_about_containers_that_share_none() -> None:
    older = replace(host(), version="27.5.1")
    rules = Daemon.started(older).ipv4
    insert = "-A DOCKER-USER -s 172.18.0.2/32 -p tcp -m tcp --dport 5432 -j ACCEPT"
    opened = case(older, ipv4=rules.with_rule_inserted("filter", "DOCKER-USER", 1, insert))
    (finding,) = found(opened, "everything else between networks deny")
    assert (finding.subject, finding.cells[0].service) == ("web -> db over IPv4", "tcp/5432")
    assert finding.rules[0].chain == "DOCKER-USER"


def test_names_that_mean_nobody() -> None:
    assert told("wbe -> api deny") == [("policy-names-nobody", "wbe")]


@pytest.mark.parametrize("version", ["20.10.24", "28.5.2"])
def test_a_draft_says_what_passes_and_nothing_else(version: str) -> None:
    here = case(replace(host(), version=version))
    drafted = draft(here)
    lines = [str(rule) for rule in drafted.rules]
    assert "web -> api any allow" in lines
    assert "internet -> web tcp/8080 allow" in lines
    assert not any(line.startswith("web -> db") for line in lines)
    again = policy.loads(policy.dumps(drafted), "draft.yaml")
    assert list(violations(here, again)) == []
    opened = case(host(), ipv4=Daemon.started(host()).ipv4.with_policy("filter", "FORWARD", "ACCEPT"))
    less = replace(again, rules=tuple(rule for rule in again.rules if str(rule) != "web -> api any allow"))
    assert [each.subject for each in violations(opened, less)][:1] == ["web -> api over IPv4"]


def test_what_was_not_collected_is_unknown() -> None:
    blind = case(host(), without=["sysctl.txt"])
    (finding,) = found(blind, "web -> api deny")
    assert "sysctl.txt" in finding.unknown
