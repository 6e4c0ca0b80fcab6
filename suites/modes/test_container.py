"""Network mode container: two containers in one namespace.

Seed document 001, section 2, row container, and seed document 003, section "Kubernetes Pod".
c1 has a card on docker0 and serves on port 80; c2 shares its namespace and serves on port 5000; c3 has a
namespace of its own on the same bridge.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices
from netverify.kernel.lab import Lab
from netverify.kernel.service import PortTaken
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp


@pytest.fixture
def shared(lab: Lab, documented: Documented) -> Lab:
    """Three containers in two namespaces."""
    return lab.up(documented("modes-container"))


def test_one_namespace_with_one_card_and_one_address(shared: Lab) -> None:
    """c2 makes no card and gets no address: what it has is c1's (section 2, row container)."""
    assert shared.namespace("c2").inode == shared.namespace("c1").inode
    assert shared.namespace("c3").inode != shared.namespace("c1").inode
    assert devices(shared, "c2") == devices(shared, "c1") == {"lo", "eth0"}
    assert addresses(shared, "c2", "eth0") == ["172.17.0.2/16"]
    assert addresses(shared, "c3", "eth0") == ["172.17.0.3/16"]


def test_nobody_outside_can_tell_them_apart(shared: Lab) -> None:
    """c3 and the host reach both at one address, and see both come from it (section 2, row container)."""
    everybody = ["c1", "c2", "c3", "host"]
    seen = shared.reachability(icmp(), everybody)
    assert seen == matrix("""
               c1  c2  c3  host
        c1      .   .   .   .
        c2      .   .   .   .
        c3      .   .   .   .
        host    .   .   .   .
    """)
    assert {seen.cell(member, "c3").seen_source for member in ("c1", "c2")} == {"172.17.0.2"}


def test_members_reach_each_other_on_127_0_0_1(shared: Lab) -> None:
    """127.0.0.1 is one place for both members, and another for c3 (seed document 003, "Kubernetes Pod")."""
    seen = shared.reachability(
        tcp(5000), sources=["c1", "c2", "c3"], targets=["c2@127.0.0.1", "c2"], listeners=["c2"]
    )
    assert seen == matrix("""
               c2@127.0.0.1  c2
        c1          .        .
        c2          .        .
        c3          R        .
    """)
    assert (seen.cell("c1", "c2@127.0.0.1").seen_source or "").startswith("127.0.0.1:")
    assert shared.ask(tcp(80), "c2", "c1@127.0.0.1", ["c1"]).replied


@pytest.mark.parametrize("probe", [tcp(80), udp(53)], ids=str)
def test_ports_are_shared(shared: Lab, probe: Probe) -> None:
    """One member's port is taken for the other, and free for c3 (section 2, row container: shared ports)."""
    with shared.listen(probe, "c1"):
        with pytest.raises(PortTaken), shared.listen(probe, "c2"):
            pass
        with shared.listen(probe, "c3"):
            pass
    with shared.listen(probe, "c2"):
        pass


def test_rules_are_shared(shared: Lab) -> None:
    """A rule that is set from c1 shuts c2's port: iptables belong to the namespace (section 1)."""
    assert shared.ask(tcp(5000), "c3", "c2").outcome is Outcome.DELIVERED
    shared.firewall("c1").run("-A INPUT -p tcp --dport 5000 -j DROP")
    assert shared.ask(tcp(5000), "c3", "c2").outcome is Outcome.FILTERED


def test_the_card_is_the_owners(shared: Lab) -> None:
    """When c1 is disconnected from docker0, c2 is too; what is left to both is 127.0.0.1 (section 2)."""
    shared.disconnect("c1", shared.topology.container("c1").endpoint("bridge"))
    assert shared.ask(icmp(), "c2", "host").outcome is Outcome.UNREACHABLE
    assert shared.ask(icmp(), "host", "c2").outcome is Outcome.UNREACHABLE
    assert shared.ask(tcp(80), "c2", "c1@127.0.0.1").outcome is Outcome.DELIVERED
