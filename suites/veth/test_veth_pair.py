"""Two namespaces joined by a veth pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, mac, routes, shown
from netverify.errors import KernelError
from netverify.kernel.capture import CaptureError
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, arp, icmp, tcp, udp

# Made by hand, step by step; "second" is the namespace that the far end is moved to.
STEPS = (
    ("test1", "ip link add veth-test1 type veth peer name veth-test2"),
    ("test1", "ip link set veth-test2 netns {second}"),
    ("test1", "ip addr add 192.168.1.1/24 dev veth-test1"),
    ("test2", "ip addr add 192.168.1.2/24 dev veth-test2"),
    ("test1", "ip link set dev veth-test1 up"),
    ("test2", "ip link set dev veth-test2 up"),
)


@pytest.fixture
def bare(lab: Lab, documented: Documented) -> Lab:
    """The two namespaces of the document without the cable between them."""
    return lab.up(replace(documented("veth-pair"), cables=()))


def perform(lab: Lab, steps: Iterable[tuple[str, str]]) -> None:
    """Type the commands of a document."""
    for node, command in steps:
        lab.run(node, command.format(second=lab.namespace("test2").path))


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_both_ends_reach_each_other(lab: Lab, documented: Documented, probe: Probe) -> None:
    """What goes in at one end comes out at the other.

    Seed document 000, section 'Connecting two namespaces with a veth pair'; seed document 003, the section of
    the same name; seed document 002, section 'Linux Veth'.
    """
    lab.up(documented("veth-pair"))

    seen = lab.reachability(probe, ["test1", "test2"])

    assert seen == matrix("""
                test1  test2
        test1   .      .
        test2   .      .
    """)


def test_the_receiver_sees_the_address_of_the_other_end(lab: Lab, documented: Documented) -> None:
    """Nothing translates addresses on a cable (seed document 000, the same section)."""
    lab.up(documented("veth-pair"))

    there, back = lab.ask(icmp(), "test1", "test2"), lab.ask(icmp(), "test2", "test1")

    assert (there.receiver, there.seen_source) == ("test2", "192.168.1.1")
    assert (back.receiver, back.seen_source) == ("test1", "192.168.1.2")


def test_the_ends_are_on_one_link(lab: Lab, documented: Documented) -> None:
    """Each end answers the other's who-has with its own MAC address (the same sections)."""
    lab.up(documented("veth-pair"))

    there, back = lab.ask(arp(), "test1", "test2"), lab.ask(arp(), "test2", "test1")

    assert there.detail == f"is at {mac(lab, 'test2', 'veth-test2')}"
    assert back.detail == f"is at {mac(lab, 'test1', 'veth-test1')}"


def test_without_the_cable_nobody_is_there(bare: Lab) -> None:
    """Two namespaces alone cannot talk (seed document 000, section 'Communication between namespaces')."""
    for node, address in (("test1", "192.168.1.1/32"), ("test2", "192.168.1.2/32")):
        bare.run(node, f"ip addr add {address} dev lo")
    targets = ["test1@192.168.1.1", "test2@192.168.1.2"]

    seen = bare.reachability(icmp(), sources=["test1", "test2"], targets=targets)

    assert seen == matrix("""
                test1@192.168.1.1  test2@192.168.1.2
        test1   .                  U
        test2   U                  .
    """)


def test_step_by_step(bare: Lab) -> None:
    """Only the last step connects: both ends have to be up.

    Seed document 000, section 'Connecting two namespaces with a veth pair'; seed document 003, the section of
    the same name. An end that is down has no carrier and gives its partner none.
    """
    *first, last = STEPS
    perform(bare, first)
    bare.settle()
    before = bare.ask(icmp(), "test1", "test2@192.168.1.2")

    perform(bare, [last])
    bare.settle()
    after = bare.ask(icmp(), "test1", "test2@192.168.1.2")

    assert before.outcome is Outcome.UNREACHABLE, before
    assert after.outcome is Outcome.DELIVERED, after
    assert after.replied


def test_both_ends_move_out_of_sight(bare: Lab) -> None:
    """A device is in one namespace only: what was moved is gone where it was.

    Seed document 000, section 'Connecting two namespaces with a veth pair': after the move, `ip link` in the
    first namespace does not show it any more; seed document 004, section 'Configuring a network namespace':
    "a network device can be in one network namespace only".
    """
    perform(bare, STEPS[:1])
    assert devices(bare, "test1") == {"lo", "veth-test1", "veth-test2"}
    assert devices(bare, "test2") == {"lo"}

    perform(bare, STEPS[1:2])

    assert devices(bare, "test1") == {"lo", "veth-test1"}
    assert devices(bare, "test2") == {"lo", "veth-test2"}
    with pytest.raises(KernelError, match=r'Cannot find device "veth-test2"|does not exist'):
        perform(bare, [("test1", "ip link set veth-test2 netns {second}")])


def test_an_address_is_given_where_the_device_is(bare: Lab) -> None:
    """Seed document 000 gives veth-test2 its address in test1, where that device is not: it fails.

    Section 'Connecting two namespaces with a veth pair' has `ip netns exec test1 ip addr add 192.168.1.2/24
    dev veth-test2`; its listing after that shows the address in test2, so test2 is what was meant.
    """
    perform(bare, STEPS[:2])

    with pytest.raises(KernelError, match='Cannot find device "veth-test2"'):
        bare.run("test1", "ip addr add 192.168.1.2/24 dev veth-test2")
    bare.run("test2", "ip addr add 192.168.1.2/24 dev veth-test2")

    assert addresses(bare, "test2", "veth-test2") == ["192.168.1.2/24"]


def test_the_route_comes_with_the_address_once_the_device_is_up(bare: Lab) -> None:
    """An address brings its subnet's route, but only to a device that is up.

    Seed document 003, section 'Connecting network namespaces with a veth pair', says that `ip addr add`
    creates the route; it looks only after the device has been set up. In the other order the document would
    be right at once.
    """
    route = "192.168.1.0/24 dev veth-test1 proto kernel scope link src 192.168.1.1"
    perform(bare, STEPS[:3])
    down = routes(bare, "test1")
    bare.run("test1", "ip link set dev veth-test1 up")
    up = [line.removesuffix(" linkdown") for line in routes(bare, "test1")]

    assert (down, up) == ([], [route])

    bare.run("test1", "ip addr del 192.168.1.1/24 dev veth-test1")
    assert routes(bare, "test1") == []
    bare.run("test1", "ip addr add 192.168.1.1/24 dev veth-test1")
    assert [line.removesuffix(" linkdown") for line in routes(bare, "test1")] == [route]


def test_each_end_names_the_other(bare: Lab) -> None:
    """Before the move an end shows its partner's name, after it the partner's number (`veth-test1@if5`).

    Seed document 000, section 'Connecting two namespaces with a veth pair'; seed document 004, section
    'Configuring a network namespace'.
    """
    perform(bare, STEPS[:1])
    (before,) = shown(bare, "test1", "link show dev veth-test1")
    perform(bare, STEPS[1:2])
    (near,) = shown(bare, "test1", "link show dev veth-test1")
    (far,) = shown(bare, "test2", "link show dev veth-test2")

    assert before["link"] == "veth-test2"
    assert "link" not in near
    assert near["link_index"] == far["ifindex"]
    assert far["link_index"] == near["ifindex"]


def test_the_ends_vanish_together(lab: Lab, documented: Documented) -> None:
    """Deleting one end deletes the other, in whichever namespace it is.

    Seed document 004, section 'Configuring a network namespace', and seed document 003, section 'Connecting
    network namespaces with a veth pair': veth devices come in pairs.
    """
    lab.up(documented("veth-pair"))
    assert devices(lab, "test2") == {"lo", "veth-test2"}

    lab.run("test1", "ip link delete veth-test1")

    assert devices(lab, "test1") == {"lo"}
    assert devices(lab, "test2") == {"lo"}


def test_an_end_vanishes_with_the_namespace_of_the_other(lab: Lab, documented: Documented) -> None:
    """When a namespace is deleted, its end of the cable goes, and the other end with it.

    Seed document 004, section 'Working with network namespaces', deletes namespaces and does not say it
    (network_namespaces(7): a virtual device is destroyed with its namespace). The kernel does it in its own
    time; that the device went away interrupts a capture on it, and so it is waited for.
    """
    lab.up(documented("veth-pair"))

    def watch_it_go() -> None:
        with lab.capture("test1", "veth-test1") as sniffer:
            lab.drop("test2")
            sniffer.wait(lambda frames: False, timeout=10)

    with pytest.raises(CaptureError, match="went down or away"):
        watch_it_go()

    assert devices(lab, "test1") == {"lo"}
