"""Internal networks, networks without communication between containers, and a swarm's mesh."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from netverify.audit.finding import Finding, Severity
from netverify.docker import BridgeNetwork, Daemon, DockerHost, Ingress, Link
from tests.audit.hosts import VERSIONS, findings, usual, without_rule

OPEN, SPOOFED = "internal-network-open", "internal-network-spoofed-source"
ICC, MESH = "icc-not-enforced", "ingress-before-isolation"
STRICT = {"net.ipv4.conf.all.rp_filter": "1"}
FILTERING_IPV6 = ("27.5.1", "28.0.0", "28.0.4", "28.5.2", "29.1.0")


def started(version: str, **options: object) -> Daemon:
    return Daemon.started(usual(version, **options))


def over(version: int, found: list[Finding]) -> list[Finding]:
    return [each for each in found if f"IPv{version}" in each.subject]


def inner_drops(daemon: Daemon) -> tuple[str, list[str]]:
    """The chain of internal networks' drops, and those of the network inner."""
    filter_table = daemon.ipv4.table("filter")
    for chain in filter_table.chains:
        texts = [str(rule).removeprefix(f"-A {chain.name} ") for rule in chain.rules]
        found = [text for text in texts if "172.20.0.0/16" in text and text.endswith("-j DROP")]
        if found:
            return chain.name, found
    raise AssertionError("no drops")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_internal_network_without_its_drops(version: str) -> None:
    daemon = started(version)
    assert over(4, findings(daemon, OPEN)) == []
    chain, drops = inner_drops(daemon)
    assert len(drops) == 2
    bare = without_rule(daemon.ipv4, "filter", chain, *drops)
    found = over(4, findings(daemon, OPEN, ipv4=bare))
    assert "inner over IPv4 inward" in {each.subject for each in found}
    inward = next(each for each in found if each.subject.endswith("inward"))
    assert inward.severity is Severity.HIGH
    assert {cell.target for cell in inward.cells} == {"inner-2"}
    assert inward.evidence is not None
    assert inward.evidence.sending is not None
    assert inward.evidence.sending.arrives


def test_the_way_out_of_an_internal_network() -> None:
    """Until 24 its containers have a default route, so that the rules alone keep them in."""
    daemon = started("20.10.24")
    chain, drops = inner_drops(daemon)
    bare = without_rule(daemon.ipv4, "filter", chain, *drops).with_policy("filter", "FORWARD", "ACCEPT")
    outward = next(each for each in over(4, findings(daemon, OPEN, ipv4=bare)) if "outward" in each.subject)
    assert "inner-2 -> lan" in {f"{cell.source} -> {cell.target}" for cell in outward.cells}
    assert outward.severity is Severity.HIGH


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv6_of_an_internal_network(version: str) -> None:
    """Where Docker does not filter IPv6, it promises what it does not keep."""
    assert bool(over(6, findings(usual(version), OPEN))) is (version not in FILTERING_IPV6)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_forged_source(version: str) -> None:
    """By subnets, whatever the generation; a strict reverse path filter stops it, for IPv4 alone."""
    (one,) = over(4, findings(usual(version), SPOOFED))
    assert one.evidence is not None
    assert one.evidence.sending is not None
    assert str(one.evidence.sending.source_address).startswith("172.20.")
    assert over(4, findings(usual(version), SPOOFED, sysctl=STRICT)) == []
    daemon = started(version)
    closed = daemon.ipv4.with_rule_inserted("filter", "DOCKER-USER", 1, "! -i br-inner -o br-inner -j DROP")
    assert over(4, findings(daemon, SPOOFED, ipv4=closed)) == []


def test_the_nftables_backend_asks_for_devices() -> None:
    assert findings(usual("29.1.0", backend="nftables"), SPOOFED, OPEN) == []


# --- icc=false ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_icc_without_br_netfilter(version: str) -> None:
    assert over(4, findings(usual(version), ICC)) == []
    sysctl = {"net.bridge.bridge-nf-call-iptables": "0"}
    (one,) = over(4, findings(usual(version), ICC, sysctl=sysctl))
    assert one.subject == "closed over IPv4"
    assert str(one.cells[0]) == "closed-2 -> closed-4 (tcp/80)"
    assert one.remedy[1] == "sysctl -w net.bridge.bridge-nf-call-iptables=1"
    assert one.severity is Severity.HIGH


@pytest.mark.parametrize("version", VERSIONS)
def test_icc_without_its_drop(version: str) -> None:
    daemon = started(version)
    chain = "FORWARD" if version < "28.0.1" else "DOCKER-FORWARD"
    bare = without_rule(daemon.ipv4, "filter", chain, "-i br-closed -o br-closed -j DROP")
    opened = bare.with_policy("filter", "FORWARD", "ACCEPT")
    (one,) = over(4, findings(daemon, ICC, ipv4=opened))
    assert one.subject == "closed over IPv4"
    above = daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, "-i br-closed -j ACCEPT")
    (one,) = over(4, findings(daemon, ICC, ipv4=above))
    assert one.rules[0].text == "-A FORWARD -i br-closed -j ACCEPT"


@pytest.mark.parametrize("version", VERSIONS)
def test_ipv6_with_icc_off(version: str) -> None:
    assert bool(over(6, findings(usual(version), ICC))) is (version not in FILTERING_IPV6)


@pytest.mark.parametrize("version", ["20.10.24", "28.5.2", "29.1.0"])
def test_links_are_meant(version: str) -> None:
    host = usual(version)
    one, other = (place.address for place in host.attached if place.network == "closed")
    linked = replace(host, links=(Link("closed", one, other, 5432),))
    assert over(4, findings(linked, ICC)) == []


# --- swarm ----------------------------------------------------------------------------------------------


def swarm(version: str, *ports: tuple[int, str]) -> DockerHost:
    host = usual(version)
    subnet = IPv4Network("172.30.0.0/16")
    gateway = BridgeNetwork("docker_gwbridge", "docker_gwbridge", subnet, icc=False)
    mesh = Ingress(IPv4Address("172.30.0.2"), ports)  # type: ignore[arg-type]
    return replace(host, networks=(*host.networks, gateway), ingress=mesh)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_swarms_port_is_open_everywhere(version: str) -> None:
    assert findings(swarm(version), MESH) == []
    (one,) = findings(swarm(version, (9000, "tcp")), MESH)
    assert one.title.endswith("on ports of the swarm: tcp/9000")
    assert {cell.service for cell in one.cells} == {"tcp/9000"}
    assert one.rules[0].chain == "DOCKER-INGRESS"
    # Since 28.2 the raw table keeps everybody but internal networks from it.
    targets = {cell.target for cell in one.cells}
    assert (targets == {"inner-2"}) is (version in ("28.5.2", "29.1.0"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_swarms_mesh_is_no_inserted_rule(version: str) -> None:
    assert findings(swarm(version, (9000, "tcp"), (53, "udp")), "networks-not-isolated") == []


def test_without_a_swarm_there_is_no_mesh() -> None:
    assert findings(usual("26.1.4"), MESH) == []
