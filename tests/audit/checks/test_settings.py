"""Sysctls that open a host, or that close it in a way that surprises."""

from __future__ import annotations

import pytest

from netverify.audit.checks.settings import CHECKS
from netverify.audit.run import audit
from tests.audit.hosts import VERSIONS, case, usual

SOUND = {"net.ipv4.conf.all.rp_filter": "2", "net.ipv6.conf.all.forwarding": "1"}


def found(**settings: str) -> set[tuple[str, str]]:
    """Ids and subjects, with these sysctls beside sound ones."""
    sysctls = SOUND | {name.replace("__", "."): value for name, value in settings.items()}
    findings = audit(case(usual("27.5.1"), sysctl=sysctls), CHECKS).findings
    return {(finding.id, finding.subject) for finding in findings}


@pytest.mark.parametrize("version", VERSIONS)
def test_sound_settings(version: str) -> None:
    assert not audit(case(usual(version), sysctl=SOUND), CHECKS).findings


def test_a_link_that_takes_packets_for_loopback() -> None:
    expected = {("loopback-routed", "eth0")}
    assert found(net__ipv4__conf__eth0__route_localnet="1") == expected
    assert found(net__ipv4__conf__all__route_localnet="1") == expected
    # The engine's own bridges need it where there is no proxy.
    assert found(net__ipv4__conf__docker0__route_localnet="1") == set()


def test_sources_that_nobody_checks() -> None:
    assert found(net__ipv4__conf__all__rp_filter="0") == {("source-not-checked", "eth0")}
    assert found(net__ipv4__conf__all__rp_filter="0", net__ipv4__conf__eth0__rp_filter="1") == set()


def test_a_host_that_no_longer_forwards() -> None:
    assert ("forwarding-off", "IPv4") in found(net__ipv4__ip_forward="0")
    assert found(net__ipv6__conf__all__forwarding="0") == {("forwarding-off", "IPv6")}


def test_advertisements_of_containers() -> None:
    bridge = "net.ipv6.conf.br-front.accept_ra"
    findings = audit(case(usual("27.5.1"), sysctl=SOUND | {bridge: "2"}), CHECKS).findings
    assert [(each.id, each.subject) for each in findings] == [("router-advertisements-taken", "br-front")]
    # A host that forwards does not listen to routers, unless told to with 2.
    assert not audit(case(usual("27.5.1"), sysctl=SOUND | {bridge: "1"}), CHECKS).findings
    assert not audit(
        case(usual("27.5.1"), sysctl=SOUND | {bridge: "2", bridge.replace("accept_ra", "disable_ipv6"): "1"}),
        CHECKS,
    ).findings
