"""Neighbour discovery that rules stop: the kernel shows for each case what the model says."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netverify.kernel.lab import Lab
from netverify.kernel.twin import realise
from netverify.kernel.twin_matrix import ask_twin
from netverify.model.prediction import predict
from netverify.model.subject import Endpoint, Subject
from netverify.reachability.probe import Cell, icmp
from netverify.topology.load import loads
from tests.dataplane.neighbour_cases import ADDRESSES, CASES, WIRES, Case

pytestmark = pytest.mark.needs("veth", "bridge", "iptables", "br_netfilter", "IPv6")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of_a_ping(lab: Lab, case: Case) -> None:
    """Pair by pair: each question begins with nobody knowing anybody."""
    endpoints = tuple(Endpoint(name, name, (ip_address(own),)) for name, own in ADDRESSES.items())
    subject = Subject(case.name, case.views(), WIRES, endpoints)
    assert realise(lab, subject.world) == ()
    found = {}
    for source, target in case.expected:
        aim = (source, target, ip_address(ADDRESSES[target]))
        (found[source, target],) = ask_twin(lab, subject, icmp(version=6), [aim])
    assert {pair: _fate(cell) for pair, cell in found.items()} == case.expected, found


CLOSED = """
name: closed
title: a network with icc=false
source: as Docker writes it
hosts:
  host: {role: host, docker: {version: 27.0}}
networks:
  closed: {device: br-closed, subnet: [172.18.0.0/16, "fd00:18::/64"], icc: false}
containers:
"""


def test_a_large_question_teaches_nobody_what_rules_hide(lab: Lab) -> None:
    """For that many pairs a lab tells everybody the neighbours that they could find out by asking."""
    names = [f"c{number}" for number in range(21)]
    plan = loads(CLOSED + "".join(f"  {name}: {{networks: closed}}\n" for name in names))
    lab.up(plan)
    probe = icmp(version=6)
    found = lab.reachability(probe, names)
    assert lab.introduced
    assert found == predict(plan, probe, names)
    assert {found.symbol("c0", name) for name in names[1:]} == {"U"}
    assert lab.ask(probe, "host", "c0").replied


def _fate(cell: Cell) -> str:
    return "unanswered" if cell.outcome.value == "delivered" and not cell.replied else cell.outcome.value
