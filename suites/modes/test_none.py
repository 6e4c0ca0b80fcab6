"""Network mode none: a namespace with nothing in it but lo.

Seed document 001, section 2, row none, and seed document 003, section "Kubernetes Pod".
sealed runs in mode none; c1 stands on docker0 (172.17.0.1) of the same host.
"""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from fixtures.documented import Documented
from fixtures.iproute import devices, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import icmp, tcp
from netverify.topology.model import Route


@pytest.fixture
def none_mode(lab: Lab, documented: Documented) -> Lab:
    """A Docker host with one container in mode none and one on docker0."""
    return lab.up(documented("modes-none"))


def test_a_namespace_of_its_own_and_nothing_in_it(none_mode: Lab) -> None:
    """sealed has a namespace, and no card, address or route (section 2, row none)."""
    inodes = {none_mode.namespace(name).inode for name in ("sealed", "c1", "host")}
    assert len(inodes) == 3
    assert devices(none_mode, "sealed") == {"lo"}
    assert routes(none_mode, "sealed") == []


def test_sealed_reaches_itself_alone(none_mode: Lab) -> None:
    """Every way out ends before it begins, for want of a route; 127.0.0.1 answers (section 2, row none)."""
    targets = ["sealed@127.0.0.1", "c1", "host", "host@172.17.0.1"]
    assert none_mode.reachability(tcp(80), sources=["sealed", "c1"], targets=targets) == matrix("""
                 sealed@127.0.0.1  c1  host  host@172.17.0.1
        sealed          .          U    U           U
        c1              .          .    .           .
    """)
    assert none_mode.ask(tcp(80), "sealed", "sealed@127.0.0.1").receiver == "sealed"
    detail = none_mode.ask(tcp(80), "sealed", "c1").detail
    assert detail == "the sender has no route (ENETUNREACH)"


def test_a_card_by_hand_makes_it_a_container_like_others(none_mode: Lab) -> None:
    """A veth pair, an address and a route, by hand, are all that the mode left out (section 2, row none).

    The document names pipework as the tool for it; these are its steps.
    """
    plan = none_mode.plan
    plan.veth(("host", "veth-sealed"), ("sealed", "eth0"), master=plan.device("host", "docker0"))
    plan.configure("sealed", "eth0", [ip_interface("172.17.0.99/16")])
    plan.route("sealed", Route.parse("default via 172.17.0.1"))
    none_mode.flush()
    assert "default via 172.17.0.1 dev eth0 proto static" in routes(none_mode, "sealed")
    everybody = ["sealed", "c1", "host"]
    assert none_mode.reachability(
        icmp(), sources=everybody, targets=["sealed@172.17.0.99", "c1", "host"]
    ) == matrix("""
                 sealed@172.17.0.99  c1  host
        sealed           .            .   .
        c1               .            .   .
        host             .            .   .
    """)
