"""What listens on a host, and which containers reach it."""

from __future__ import annotations

import pytest

from netverify.audit.finding import Finding, Severity
from netverify.docker import Daemon
from tests.audit.hosts import VERSIONS, findings, usual

SSHD = 'tcp LISTEN 0 128 *:22 *:* users:(("sshd",pid=1,fd=3))'
PROMETHEUS = 'tcp LISTEN 0 128 172.18.0.1:9090 0.0.0.0:* users:(("prometheus",pid=2,fd=3))'
RESOLVER = 'udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=9,fd=1))'
API = 'tcp LISTEN 0 128 0.0.0.0:2375 0.0.0.0:* users:(("dockerd",pid=2,fd=3))'
AVAHI = 'udp UNCONN 0 0 [::]:5353 [::]:* users:(("avahi-daemon",pid=2,fd=3))'


def found(version: str, *listening: str, **how: object) -> dict[str, Finding]:
    hit = findings(usual(version), "host-service-reachable", listening=listening, **how)
    return {each.subject: each for each in hit}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_listens_beyond_the_loopback(version: str) -> None:
    assert found(version) == {}
    assert found(version, RESOLVER) == {}
    hit = found(version, SSHD, PROMETHEUS, RESOLVER)
    assert set(hit) == {"tcp/22 (sshd)", "tcp/9090 (prometheus)"}
    one = hit["tcp/22 (sshd)"]
    assert one.severity is Severity.INFO
    assert one.title == "containers of 5 networks reach tcp/22 (sshd) of the host"
    assert "bridge-2 -> host (tcp/22)" in map(str, one.cells)
    assert one.evidence is not None


def test_other_networks_gateways() -> None:
    """What listens on one network's gateway is reached from the others."""
    one = found("28.5.2", PROMETHEUS)["tcp/9090 (prometheus)"]
    assert {cell.source for cell in one.cells} >= {"bridge-2", "back-2"}


def test_published_ports_are_another_matter() -> None:
    for proxy in (True, False):
        hit = findings(usual("29.1.0", userland_proxy=proxy), "host-service-reachable")
        assert hit == []


def test_dockers_own_interface() -> None:
    (one,) = found("28.5.2", API).values()
    assert one.severity is Severity.CRITICAL
    assert "Docker's API" in one.title


def test_what_the_host_filters_is_not_reached() -> None:
    daemon = Daemon.started(usual("26.1.4"))
    closed = daemon.ipv4.with_rule_inserted("filter", "INPUT", 1, "-p tcp -m tcp --dport 22 -j DROP")
    six = daemon.ipv6
    hit = found(
        "26.1.4", 'tcp LISTEN 0 128 0.0.0.0:22 *:* users:(("sshd",pid=1,fd=3))', ipv4=closed, ipv6=six
    )
    assert hit == {}
    partly = daemon.ipv4.with_rule_inserted(
        "filter", "INPUT", 1, "-i docker0 -p tcp -m tcp --dport 2375 -j DROP"
    )
    one = found("26.1.4", API, ipv4=partly)["tcp/2375 (dockerd)"]
    assert "bridge-2" not in {cell.source for cell in one.cells}


def test_ipv6_alone() -> None:
    one = found("28.5.2", AVAHI)["udp/5353 (avahi-daemon)"]
    assert all(cell.service == "udp/5353 over IPv6" for cell in one.cells)


def test_hostile_names() -> None:
    line = 'tcp LISTEN 0 128 *:22 *:* users:(("\x1b[31mx<b>",pid=1,fd=3))'
    (one,) = found("28.5.2", line).values()
    assert "\x1b" not in one.subject + one.title


def test_without_listeners_nobody_knows() -> None:
    (one,) = findings(usual("28.5.2"), "host-service-reachable", without=["listen.txt"])
    assert one.unknown
