"""Docker's own chains: missing, emptied, unreached, incomplete, bypassed; planted on each generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.audit.finding import Finding, Severity
from netverify.docker import Daemon, DockerHost
from netverify.ruleset import Ruleset
from tests.audit.hosts import VERSIONS, findings, network, usual, without_rule

IDS = (
    "isolation-chain-missing",
    "isolation-chain-emptied",
    "isolation-chain-unreached",
    "isolation-rule-missing",
    "raw-drops-missing",
    "isolation-bypassed",
)
STAGED = ("20.10.24", "26.1.4", "27.5.1")
FRAMED = ("28.0.4", "28.5.2", "29.1.0")


def found(docker: DockerHost | Daemon, **how: object) -> list[Finding]:
    """What all checks here say of the IPv4 rules."""
    return [each for each in findings(docker, *IDS, **how) if "IPv6" not in each.subject]


def started(version: str, **options: object) -> Daemon:
    return Daemon.started(usual(version, **options))


def without_chain(rules: Ruleset, table: str, name: str) -> Ruleset:
    """As after `iptables -F NAME`, and `-D` of every jump to it, and `-X NAME`."""
    old = rules.table(table)
    kept = [
        replace(chain, rules=tuple(r for r in chain.rules if r.target is None or r.target.name != name))
        for chain in old.chains
        if chain.name != name
    ]
    return rules.with_table(replace(old, chains=tuple(kept)))


@pytest.mark.parametrize("version", STAGED)
def test_a_chain_that_is_gone(version: str) -> None:
    daemon = started(version)
    gone = without_chain(daemon.ipv4, "filter", "DOCKER-ISOLATION-STAGE-2")
    kinds = {each.id: each for each in found(daemon, ipv4=gone)}
    one = kinds["isolation-chain-missing"]
    assert one.subject == "IPv4 filter DOCKER-ISOLATION-STAGE-2"
    assert one.severity is Severity.HIGH
    assert one.evidence is not None
    assert one.cells


def test_no_chain_of_dockers_is_said_once() -> None:
    daemon = started("29.1.0")
    (one,) = findings(daemon, "isolation-chain-missing", ipv4=Ruleset("ipv4"), ipv6=daemon.ipv6)
    assert one.title.startswith("none of Docker's chains is there")
    assert one.subject == "IPv4 filter"


@pytest.mark.parametrize("version", STAGED)
def test_a_reload_of_firewalld(version: str) -> None:
    hit = found(started(version).reloaded())
    assert {each.id for each in hit} == {"isolation-chain-emptied"}
    assert {each.subject for each in hit} == {
        "IPv4 filter DOCKER-ISOLATION-STAGE-1",
        "IPv4 filter DOCKER-ISOLATION-STAGE-2",
    }
    assert all("CVE-2025-54410" in each.references for each in hit)
    assert all("as after a reload of firewalld" in each.title for each in hit)
    assert all(each.severity is Severity.HIGH for each in hit)


def test_a_reload_of_firewalld_where_it_is_repaired() -> None:
    for version in ("28.0.4", "28.5.2", "29.1.0"):
        assert found(started(version).reloaded()) == []


def test_a_reload_of_firewalld_that_loses_the_raw_table() -> None:
    (one,) = found(started("28.2.2").reloaded())
    assert one.id == "raw-drops-missing"
    assert "CVE-2025-54388" in one.references
    assert one.evidence is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flushed_table(version: str) -> None:
    (one,) = found(started(version).flushed("filter"))
    assert one.id == "isolation-chain-emptied"
    assert one.subject == "IPv4 filter"
    assert "iptables -F" in one.title
    assert one.severity is Severity.MEDIUM  # by FORWARD's policy nothing passes


@pytest.mark.parametrize("version", VERSIONS)
def test_a_flushed_chain(version: str) -> None:
    flushed = started(version).flushed("filter", "FORWARD")
    (one,) = found(flushed)
    assert (one.id, one.subject) == ("isolation-chain-emptied", "IPv4 filter FORWARD")
    opened = flushed.ipv4.with_policy("filter", "FORWARD", "ACCEPT")
    (one,) = found(flushed, ipv4=opened)
    assert one.severity is Severity.HIGH


@pytest.mark.parametrize(
    ("version", "chain", "callee"),
    [
        *((version, "FORWARD", "DOCKER-ISOLATION-STAGE-1") for version in STAGED),
        *((version, "FORWARD", "DOCKER-FORWARD") for version in FRAMED),
        *((version, "DOCKER-FORWARD", "DOCKER-BRIDGE") for version in FRAMED),
        *((version, "FORWARD", "DOCKER-USER") for version in VERSIONS),
    ],
)
def test_a_missing_jump(version: str, chain: str, callee: str) -> None:
    daemon = started(version)
    bare = without_rule(daemon.ipv4, "filter", chain, f"-j {callee}")
    hit = found(daemon, ipv4=bare)
    assert [(each.id, each.subject) for each in hit] == [
        ("isolation-chain-unreached", f"IPv4 filter {callee} from {chain}")
    ]
    assert hit[0].remedy[1].endswith(f"iptables -t filter -I {chain} -j {callee}")


@pytest.mark.parametrize("version", STAGED)
def test_a_bridge_without_entries(version: str) -> None:
    daemon = started(version)
    bare = without_rule(
        daemon.ipv4,
        "filter",
        "DOCKER-ISOLATION-STAGE-1",
        "-i br-back ! -o br-back -j DOCKER-ISOLATION-STAGE-2",
    )
    bare = without_rule(bare, "filter", "DOCKER-ISOLATION-STAGE-2", "-o br-back -j DROP")
    (one,) = found(daemon, ipv4=bare)
    assert (one.id, one.subject) == ("isolation-rule-missing", "IPv4 network back")
    assert one.evidence is not None


@pytest.mark.parametrize("version", FRAMED)
def test_a_bridge_without_its_default_drop(version: str) -> None:
    daemon = started(version)
    bare = without_rule(daemon.ipv4, "filter", "DOCKER", "! -i br-back -o br-back -j DROP")
    (one,) = found(daemon, ipv4=bare)
    assert (one.id, one.subject) == ("isolation-rule-missing", "IPv4 network back")


@pytest.mark.parametrize("version", FRAMED)
def test_missing_drops_in_the_raw_table(version: str) -> None:
    flushed = started(version).flushed("raw")
    (one,) = found(flushed)
    assert (one.id, one.subject) == ("raw-drops-missing", "IPv4 raw PREROUTING")
    assert one.evidence is not None
    assert "lan" in {cell.source for cell in one.cells} | {"lan"}
    single = started(version)
    text = next(
        str(rule).removeprefix("-A PREROUTING ")
        for rule in single.ipv4.chain("raw", "PREROUTING").rules
        if "172.18.0.2/32" in str(rule)
    )
    (one,) = found(single, ipv4=without_rule(single.ipv4, "raw", "PREROUTING", text))
    assert (one.id, one.subject) == ("raw-drops-missing", "IPv4 network front")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rule_above_dockers(version: str) -> None:
    daemon = started(version)
    opened = daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, "-i eth0 -j ACCEPT")
    (one,) = found(daemon, ipv4=opened)
    assert (one.id, one.subject) == ("isolation-bypassed", "IPv4 -i eth0 -j ACCEPT")
    assert one.rules[0].number == 1
    assert {cell.source for cell in one.cells} == {"lan"}
    assert one.remedy[0] == "iptables -D FORWARD -i eth0 -j ACCEPT"


def test_rules_above_dockers_that_let_nothing_pass_to_containers() -> None:
    daemon = started("26.1.4")
    rules = daemon.ipv4
    for rule in (
        "-i virbr0 -o eth0 -j ACCEPT",
        "-i eth0 -p tcp -m tcp --dport 23 -j DROP",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ):
        rules = rules.with_rule_inserted("filter", "FORWARD", 1, rule)
    assert found(daemon, ipv4=rules) == []


def test_a_chain_of_the_users_above_dockers() -> None:
    daemon = started("26.1.4")
    text = daemon.ipv4.render().replace("*filter\n", "*filter\n:VPN - [0:0]\n-A VPN -i eth0 -j ACCEPT\n")
    rules = Ruleset.parse(text).with_rule_inserted("filter", "FORWARD", 1, "-j VPN")
    (one,) = found(daemon, ipv4=rules)
    assert (one.id, one.subject) == ("isolation-bypassed", "IPv4 -j VPN")


def test_the_nftables_backend() -> None:
    daemon = started("29.1.0", backend="nftables")
    assert found(daemon) == []
    gone = replace(daemon.nft, tables=daemon.nft.tables[1:])
    (one,) = found(daemon, nft=gone)
    assert (one.id, one.subject) == ("isolation-chain-missing", "nftables ip docker-bridges")
    table = daemon.nft.table("ip", "docker-bridges")
    chains = tuple(
        replace(chain, rules=()) if chain.name == "filter-forward-in__br-back" else chain
        for chain in table.chains
    )
    spoilt = replace(daemon.nft, tables=(replace(table, chains=chains), *daemon.nft.tables[1:]))
    (one,) = found(daemon, nft=spoilt)
    assert (one.id, one.subject) == (
        "isolation-chain-emptied",
        "nftables ip docker-bridges filter-forward-in__br-back",
    )
    sets = tuple(replace(each, elements=each.elements[1:]) if each.elements else each for each in table.sets)
    spoilt = replace(daemon.nft, tables=(replace(table, sets=sets), *daemon.nft.tables[1:]))
    assert {each.id for each in found(daemon, nft=spoilt)} == {"isolation-chain-emptied"}


def test_what_depends_on_a_missing_part_is_unknown() -> None:
    hit = findings(usual("26.1.4"), *IDS, without=["nft.json"])
    assert sorted(each.id for each in hit) == sorted(IDS)
    assert {each.unknown for each in hit} == {"not collected: nft.json: it was left out"}


def test_without_networks_of_ipv6_its_rules_are_not_missed() -> None:
    """The engine writes them all the same, and tells nobody when it was told not to."""
    only = DockerHost("29.1.0", (network(2, "front", v6=False),), attached=())
    assert findings(only, *IDS, ipv6=Ruleset("ipv6")) == []
