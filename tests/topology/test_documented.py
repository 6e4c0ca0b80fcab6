"""The documented topologies in fixtures/topologies: each can be read, and says where it comes from."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from netverify.topology.dump import dump
from netverify.topology.load import load, loads
from netverify.topology.model import Role

FOLDER = Path(__file__).parents[2] / "fixtures" / "topologies"
FILES = sorted(FOLDER.glob("*.yaml"))
NEEDED = """
    bridge-host-route bridge-physical-nic bridge-three-namespaces docker-four-bridges docker-published
    docker-three-bridges
    docker-three-bridges-ipv6 docker-two-networks ipvlan macvlan modes-container modes-host modes-none
    nat-outward overlay pod port-mapping router-two-subnets second-nic two-namespaces veth-default-route
    veth-pair veth-to-host
"""
SOURCE = re.compile(r"seed document 00[0-4], section ('[^']+'|[0-9](\.[0-9])?)(, .+)?")
DOCUMENTATION = [ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")]  # RFC 5737, RFC 3849


def test_all_experiments_are_there():
    assert {path.stem for path in FILES} >= set(NEEDED.split())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_named_like_its_file_and_names_its_document_and_section(path: Path):
    topology = load(path)
    assert topology.name == path.stem
    assert topology.title
    assert topology.source
    for source in topology.source:
        assert SOURCE.fullmatch(source), source


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_resolves_and_survives_being_written(path: Path):
    topology = load(path)
    resolved = topology.resolved()
    assert loads(dump(topology)) == topology
    assert loads(dump(resolved)) == resolved
    assert resolved.resolved() == resolved


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_internet_has_documentation_addresses_and_knows_no_container(path: Path):
    topology = load(path).resolved()
    networks = [subnet for network in topology.networks for subnet in network.subnets]
    for host in topology.hosts:
        if host.role is Role.INTERNET:
            for address in topology.addresses_of(host.name):
                assert any(address in pool for pool in DOCUMENTATION), address
            known = [route.destination for route in host.routes]
            assert not [
                (route, subnet)
                for route in known
                for subnet in networks
                if route.version == subnet.version and route.overlaps(subnet)
            ]


def test_docker_three_bridges_has_the_documents_bridges():
    topology = load(FOLDER / "docker-three-bridges.yaml").resolved()
    assert {network.device: str(network.bridge_addresses[0]) for network in topology.networks} == {
        "docker0": "172.17.0.1/16",
        "br-9559b3f84d38": "172.19.0.1/16",
        "br-cbd0f56841ce": "172.18.0.1/16",
        "br-cfcd23a5f04c": "172.21.0.1/16",
    }
    assert str(topology.addresses_of("c19a")[0]) == "172.19.0.2"
    assert str(topology.addresses_of("c18a")[0]) == "172.18.0.2"
