"""Ports that are held, and answers that come from where nobody asked."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from netverify.errors import InputError
from netverify.kernel.lab import Lab
from netverify.kernel.service import PortTaken
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.load import loads
from netverify.topology.model import Topology

HELD = [tcp(80), udp(80), tcp(80, version=6), udp(80, version=6)]


def bridge() -> Topology:
    return loads(
        """
name: bridge
hosts:
  host: {role: host, forwarding: ipv4}
networks:
  a: {subnet: [10.0.0.0/24, "fd00::/64"], device: br-a}
containers:
  a1: {networks: a}
  a2: {networks: a}
""",
        "bridge.yaml",
    )


@pytest.mark.parametrize("probe", HELD, ids=str)
def test_a_held_port_is_taken_in_its_namespace_alone(lab: Lab, probe: Probe) -> None:
    lab.up(bridge())
    with lab.listen(probe, "a1"):
        with pytest.raises(PortTaken, match=r"a1: (tcp|udp)/80.* is taken"), lab.listen(probe, "a1"):
            pass
        with lab.listen(probe, "a2"):
            pass
    with lab.listen(probe, "a1"):
        pass


def test_protocols_and_families_have_ports_of_their_own(lab: Lab) -> None:
    lab.up(bridge())
    with ExitStack() as stack:
        for probe in HELD:
            stack.enter_context(lab.listen(probe, "a1"))


def test_a_stranger_s_service_proves_nothing(lab: Lab) -> None:
    lab.up(bridge())
    with lab.listen(tcp(80), "a1"):
        cell = lab.ask(tcp(80), "a2", "a1", listeners=[])
    assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.ERROR, None, False)


def test_an_echo_has_no_port(lab: Lab) -> None:
    lab.up(bridge())
    with pytest.raises(InputError, match="icmp has no port"), lab.listen(icmp(), "a1"):
        pass


@pytest.mark.parametrize("probe", [icmp(), udp(80), tcp(80)], ids=str)
def test_an_answer_from_an_address_that_was_not_asked_is_none(lab: Lab, probe: Probe) -> None:
    # DNAT between two ports of one bridge: the answer goes back over the bridge, past the host that could
    # translate it back.
    lab.up(bridge())
    firewall = lab.firewall("host")
    firewall.run(f"-t nat -A PREROUTING -d 10.0.0.1 -p {probe.protocol} -j DNAT --to-destination 10.0.0.2")
    cell = lab.ask(probe, "a2", "host", listeners=["a1"])
    assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.DELIVERED, "a1", False)
    if probe.protocol != "tcp":
        asked, answered = (("10.0.0.1", "10.0.0.2"), ("10.0.0.1:80", "10.0.0.2:80"))[probe.port is not None]
        assert cell.detail == f"answered from {answered}, and {asked} was asked: clients discard that"
    # With the translation undone the same question is answered.
    firewall.run(f"-t nat -A POSTROUTING -d 10.0.0.2 -p {probe.protocol} -j MASQUERADE")
    assert lab.ask(probe, "a2", "host", listeners=["a1"]).replied
