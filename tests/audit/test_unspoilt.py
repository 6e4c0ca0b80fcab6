"""Hosts that nobody spoilt: an audit says of their isolation what the engine's version really exposes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from netverify.audit.checks import (
    bypass,
    chains,
    hygiene,
    internal,
    isolation,
    same_network,
    services,
    swarm,
    tables,
    user_chain,
)
from netverify.audit.finding import Finding
from netverify.audit.intended import docker_host
from netverify.audit.kind import Check
from netverify.audit.run import audit
from netverify.docker import Daemon, DockerHost, rules
from netverify.docker.version import FORWARD_POLICY_ON_DEMAND, IP6TABLES_BY_DEFAULT
from netverify.ruleset import Ruleset
from tests.audit.hosts import VERSIONS, case, snapshot, usual
from tests.strategies.docker import docker_hosts

MODULES = (isolation, chains, tables, bypass, internal, same_network, swarm, services, user_chain, hygiene)
CHECKS: Sequence[Check] = [check for module in MODULES for check in module.CHECKS]
STRICT = {"net.ipv4.conf.all.rp_filter": "1"}
WITHOUT_IPV6 = ("18.03.1", "20.10.24", "26.1.4")


def said(docker: DockerHost | Daemon, **how: object) -> set[tuple[str, str]]:
    """What an audit says of isolation: kinds with subjects."""
    return {(each.id, each.subject) for each in findings(docker, **how)}


def findings(docker: DockerHost | Daemon, **how: object) -> tuple[Finding, ...]:
    return audit(case(docker, **how), CHECKS).findings


def exposed(version: str, *, strict: bool) -> set[tuple[str, str]]:
    """What Docker does not keep: forged sources, and everything over IPv6 where it writes no such rules."""
    spoofed = "internal-network-spoofed-source"
    found = {(spoofed, "inner over IPv6")} | (set() if strict else {(spoofed, "inner over IPv4")})
    if version in WITHOUT_IPV6:
        found |= {("internal-network-open", f"inner over IPv6 {way}ward") for way in ("in", "out")}
        found.add(("icc-not-enforced", "closed over IPv6"))
    return found


@pytest.mark.parametrize("proxy", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_generation(version: str, proxy: bool) -> None:
    host = usual(version, userland_proxy=proxy)
    assert said(host) == exposed(version, strict=False)
    assert said(host, sysctl=STRICT) == exposed(version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_that_forwarded_before_docker_came(version: str) -> None:
    host = usual(version, forward_policy="ACCEPT", forward_policy6="ACCEPT")
    assert said(host, sysctl=STRICT) == exposed(version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_after_a_restart(version: str) -> None:
    assert said(Daemon.started(usual(version)).restarted(), sysctl=STRICT) == exposed(version, strict=True)


def test_the_nftables_backend() -> None:
    assert said(usual("29.1.0", backend="nftables")) == set()
    assert said(usual("29.1.0", backend="nftables", userland_proxy=False)) == set()


PIERCED = ("icc-not-enforced", "internal-network-open")
"""What 28.0 and later write for routed networks: whoever comes may ping their containers, those beside them
included; and until 28.5 what is addressed to them passes by the drops of internal networks."""
DEFAULT_DROP = FORWARD_POLICY_ON_DEMAND  # came with 28.0 as well


def by_chain(ruleset: Ruleset) -> dict[tuple[str, str], list[str]]:
    return {
        (table.name, chain.name): sorted(map(str, chain.rules))
        for table in ruleset.tables
        for chain in table.chains
    }


@given(docker_hosts())
@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.explicit, Phase.generate),  # to make it small takes minutes
)
def test_any_host(host: DockerHost) -> None:
    """Whatever its networks and options: the engine's rules are known again, and nobody is accused."""
    found = snapshot(host, sysctl=STRICT)
    again = docker_host(found, dict(zip((4, 6), rules(host), strict=True)))
    if not host.allow_direct_routing and host.filters_ipv6 == again.filters_ipv6:
        for mine, theirs in zip(rules(host), rules(again), strict=True):
            assert by_chain(mine) == by_chain(theirs)
    for each in findings(host, sysctl=STRICT):
        kind, subject = each.id, each.subject
        over_ipv6 = "IPv6" in subject
        dropped = host.allow_direct_routing and kind in ("raw-drops-missing", "networks-not-isolated")
        unfiltered = over_ipv6 and not host.filters_ipv6
        forged = kind == "internal-network-spoofed-source" and over_ipv6
        routed = any("routed" in (network.gateway_mode, network.gateway_mode6) for network in host.networks)
        pierced = routed and kind in PIERCED and host.engine.has(DEFAULT_DROP)
        assert dropped or unfiltered or forged or pierced, (kind, subject)


@pytest.mark.parametrize("version", ["27.5.1", "29.1.0"])
def test_ip6tables_that_is_switched_off(version: str) -> None:
    """The engine does not say so, and what follows is the same as if somebody had removed the rules."""
    host = usual(version, ip6tables=False)
    assert host.engine.has(IP6TABLES_BY_DEFAULT)
    kinds = {kind for kind, subject in said(host, sysctl=STRICT) if "IPv6" in subject}
    assert kinds >= {"isolation-chain-missing", "networks-not-isolated", "internal-network-open"}
