"""Translation of what containers send outward."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.audit.checks.masquerade import CHECKS
from netverify.audit.run import audit
from netverify.docker import Daemon
from tests.audit.hosts import VERSIONS, case, usual, without_rule

FRONT = "-s 172.18.0.0/16 ! -o br-front -j MASQUERADE"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unspoilt_host_has_neither(version: str) -> None:
    assert not audit(case(usual(version)), CHECKS).findings


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rule_that_is_gone(version: str) -> None:
    host = usual(version)
    rules = without_rule(Daemon.started(host).ipv4, "nat", "POSTROUTING", FRONT)
    found = audit(case(host, ipv4=rules), CHECKS).findings
    assert {(each.id, each.subject) for each in found} == {
        ("masquerade-missing", "front to lan over IPv4"),
        ("masquerade-missing", "front to internet over IPv4"),
    }
    assert found[0].remedy == (f"iptables -t nat -A POSTROUTING {FRONT}",)


@pytest.mark.parametrize("version", ["27.5.1", "29.1.0"])
def test_a_network_that_was_told_not_to(version: str) -> None:
    host = usual(version)
    networks = tuple(
        replace(each, masquerade=False) if each.name == "front" else each for each in host.networks
    )
    assert not audit(case(replace(host, networks=networks)), CHECKS).findings


def test_a_rule_that_stands_twice() -> None:
    host = usual("27.5.1")
    rules = Daemon.started(host).ipv4
    rules = rules.with_rule_inserted("nat", "POSTROUTING", 1, f"-A POSTROUTING {FRONT}")
    (finding,) = audit(case(host, ipv4=rules), CHECKS).findings
    assert finding.id == "masquerade-doubled"
    assert len(finding.rules) == 2
