"""Containers that are reached although nobody published anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.audit.checks.direct import CHECKS
from netverify.audit.run import audit
from netverify.docker import Daemon
from tests.audit.hosts import VERSIONS, case, usual

UNPUBLISHED, OVER_IPV6 = "unpublished-port-reachable", "ipv6-open-where-ipv4-closed"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_each_version_exposes_by_itself(version: str) -> None:
    """Until 26 Docker writes no rules for IPv6 unless asked to; and that is all, where FORWARD drops."""
    found = audit(case(usual(version)), CHECKS).findings
    expected = set()
    if int(version.split(".", maxsplit=1)[0]) < 27:
        expected = {f"{name} over IPv6 from lan" for name in ("front", "back", "inner", "closed")}
    assert {finding.subject for finding in found} == expected
    assert {finding.id for finding in found} <= {OVER_IPV6}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_that_forwarded_before_docker_came(version: str) -> None:
    """FORWARD accepts (moby#14041): every port of every container is open to the link, until 28.0."""
    host = replace(usual(version), forward_policy="ACCEPT")
    found = [each for each in audit(case(host), CHECKS).findings if each.id == UNPUBLISHED]
    if int(version.split(".", maxsplit=1)[0]) >= 28:
        assert not found
        return
    assert "front over IPv4 from lan" in {finding.subject for finding in found}
    assert "inner over IPv4 from lan" not in {finding.subject for finding in found}
    (front,) = [finding for finding in found if finding.subject == "front over IPv4 from lan"]
    assert {cell.target for cell in front.cells} == {"front-2", "both-2"}
    assert [rule.number for rule in front.rules] == [0]
    command = front.remedy[0].removeprefix("iptables -I DOCKER-USER ")
    rules = Daemon.started(host).ipv4
    closed = rules.with_rule_inserted("filter", "DOCKER-USER", 1, f"-A DOCKER-USER {command}")
    after = audit(case(host, ipv4=closed), CHECKS).findings
    assert "front over IPv4 from lan" not in {finding.subject for finding in after}


def test_an_inserted_rule() -> None:
    host = usual("28.5.2")
    rules = Daemon.started(host).ipv4
    opened = rules.with_rule_inserted("filter", "FORWARD", 1, "-A FORWARD -o br-back -j ACCEPT")
    raw = [str(rule) for rule in opened.chain("raw", "PREROUTING").rules]
    assert not audit(case(host, ipv4=opened), CHECKS).findings, "raw's drops come before FORWARD"
    for number in range(len(raw), 0, -1):
        if "br-back" in raw[number - 1]:
            opened = opened.with_rule_removed("raw", "PREROUTING", number)
    (finding,) = audit(case(host, ipv4=opened), CHECKS).findings
    assert (finding.id, finding.subject) == (UNPUBLISHED, "back over IPv4 from lan")
    assert finding.rules[0].text == "-A FORWARD -o br-back -j ACCEPT"


def test_networks_that_are_open_on_purpose_are_no_finding() -> None:
    host = usual("28.5.2")
    networks = tuple(
        replace(each, gateway_mode="nat-unprotected") if each.name == "front" else each
        for each in host.networks
    )
    assert not audit(case(replace(host, networks=networks)), CHECKS).findings
