"""python-iptables as a second reader of the legacy backend."""

from __future__ import annotations

import pytest

from netverify.kernel import legacy_tables
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.reachability.probe import udp
from netverify.topology.load import load
from tests.kernel.test_services import TOPOLOGIES


@pytest.fixture
def docker() -> Lab:
    """The document's Docker host in the legacy backend, with some traffic behind it."""
    with Lab(Backend.LEGACY) as lab:
        lab.up(load(TOPOLOGIES / "docker-three-bridges.yaml"))
        lab.reachability(udp(53), ["c17a", "c18a", "host"])
        yield lab


def test_both_readers_agree(docker: Lab) -> None:
    firewall = docker.firewall("host")
    saved, read = firewall.rules(), legacy_tables.read(firewall)
    chains = {(table.name, chain.name): chain for table in saved.tables for chain in table.chains}
    assert set(read) == set(chains)
    for place, chain in chains.items():
        assert read[place].policy == chain.policy, place
        targets = [(rule.target.name if rule.target else "", rule.counters) for rule in chain.rules]
        assert list(read[place].rules) == targets, place
    assert any(counters.packets for chain in read.values() for _, counters in chain.rules)


def test_it_follows_the_namespace(docker: Lab) -> None:
    docker.firewall("neighbour").run("-A INPUT -j DROP")
    assert legacy_tables.read(docker.firewall("neighbour"))["filter", "INPUT"].rules[0][0] == "DROP"
    assert legacy_tables.read(docker.firewall("host"))["filter", "INPUT"].rules == ()


def test_rules_of_the_other_backend_do_not_exist_for_it(docker: Lab) -> None:
    docker.firewall("neighbour", Backend.NFT).run("-A INPUT -j DROP")
    docker.firewall("neighbour", Backend.LEGACY).run("-A INPUT -j ACCEPT")
    (rule,) = legacy_tables.read(docker.firewall("neighbour", Backend.LEGACY))["filter", "INPUT"].rules
    assert rule[0] == "ACCEPT"
    with pytest.raises(ValueError, match="legacy backend alone"):
        legacy_tables.read(docker.firewall("neighbour", Backend.NFT))
