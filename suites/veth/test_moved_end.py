"""One end of a veth pair is moved to another namespace.

Seed document 004, section 'Moving veth02 to another namespace': study01 has veth01 (172.16.1.101), the host
has veth02 (172.16.1.102); then veth02 is moved to study02.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, forget, remember, routes
from netverify.errors import KernelError
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp

TARGET = "172.16.1.102"


def move(lab: Lab, *, up: bool = True) -> None:
    """Move veth02 from the host to study02."""
    lab.run("host", f"ip link set veth02 netns {lab.namespace('study02').path}")
    if up:
        lab.run("study02", "ip link set dev veth02 up")
        lab.settle()


def test_before_the_move(lab: Lab, documented: Documented) -> None:
    """The namespace and the host reach each other; the third namespace reaches nobody."""
    lab.up(documented("veth-to-host"))

    seen = lab.reachability(icmp(), sources=["study01", "host", "study02"], targets=["study01", "host"])

    assert seen == matrix("""
                  study01  host
        study01   .        .
        host      .        .
        study02   U        U
    """)
    assert routes(lab, "study01") == ["172.16.1.0/24 dev veth01 proto kernel scope link src 172.16.1.101"]


def test_the_moved_end_loses_its_address(lab: Lab, documented: Documented) -> None:
    """In its new namespace the device is down and has no address; where it was, its route is gone too."""
    lab.up(documented("veth-to-host"))
    assert addresses(lab, "host", "veth02") == ["172.16.1.102/24"]

    move(lab, up=False)

    assert devices(lab, "host") == {"lo"}
    assert devices(lab, "study02") == {"lo", "veth02"}
    assert addresses(lab, "study02", "veth02") == []
    assert routes(lab, "host") == []
    assert "state DOWN" in lab.run("study02", "ip -oneline link show dev veth02")


@pytest.mark.parametrize("probe", [icmp(), tcp(80)], ids=str)
def test_the_moved_end_stops_answering_until_it_is_configured(
    lab: Lab, documented: Documented, probe: Probe
) -> None:
    """Nobody answers any more, not even when the device is up again; with an address it works.

    The document shows "Destination Host Unreachable": nobody answers ARP for 172.16.1.102. That is so once
    study01 has forgotten the MAC address. Until then its packets still arrive, for a moved device keeps its
    MAC, and study02 throws them away since they are for somebody else.
    """
    lab.up(documented("veth-to-host"))
    target = f"study02@{TARGET}"
    before = lab.ask(probe, "study01", f"host@{TARGET}")
    remember(lab, "study01")

    move(lab)
    remembered = lab.ask(probe, "study01", target)
    forget(lab, "study01")
    forgotten = lab.ask(probe, "study01", target)
    lab.run("study02", f"ip addr add {TARGET}/24 dev veth02")
    configured = lab.ask(probe, "study01", target)

    assert (before.outcome, before.receiver) == (Outcome.DELIVERED, "host")
    assert remembered.outcome is Outcome.FILTERED, remembered
    assert remembered.detail == "dropped by study02: not addressed to this host, which does not forward"
    assert forgotten.outcome is Outcome.UNREACHABLE, forgotten
    assert (configured.outcome, configured.receiver) == (Outcome.DELIVERED, "study02")
    assert configured.replied


def test_a_moved_device_cannot_be_moved_from_where_it_was(lab: Lab, documented: Documented) -> None:
    """It is in one namespace only, so the host has no device to give away a second time.

    Seed document 004, section 'Configuring a network namespace'.
    """
    lab.up(documented("veth-to-host"))
    move(lab, up=False)

    with pytest.raises(KernelError, match=r"Cannot find device|does not exist"):
        move(lab, up=False)


def test_a_moved_device_cannot_take_a_name_that_is_taken(lab: Lab, documented: Documented) -> None:
    """Names are unique within a namespace: the move fails, and the device stays where it is."""
    lab.up(documented("veth-to-host"))
    lab.run("study02", "ip link add veth02 type bridge")

    with pytest.raises(KernelError, match=r"File exists|same name exists"):
        move(lab, up=False)

    assert lab.ask(icmp(), "study01", f"host@{TARGET}").outcome is Outcome.DELIVERED
