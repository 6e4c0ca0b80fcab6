"""What a network namespace keeps to itself: devices, addresses, routes, ARP, iptables, ports.

Seed document 000, section 'ip netns', lists network cards, routing table, ARP table and iptables; seed
document 004, section 'Network Namespace', adds addresses and ports.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, neighbours, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp

BOTH = ("study01", "study02")


@pytest.fixture
def two(lab: Lab, documented: Documented) -> Lab:
    """Two namespaces with lo up, and a bridge called br0 in the first one."""
    lab.up(documented("two-namespaces"))
    for name in BOTH:
        lab.run(name, "ip link set dev lo up")
    lab.run("study01", "ip link add br0 type bridge")
    lab.run("study01", "ip link set br0 up")
    return lab


def test_devices(two: Lab) -> None:
    """A device that is made in one namespace is not in another, which may use the same name."""
    assert devices(two, "study01") == {"lo", "br0"}
    assert devices(two, "study02") == {"lo"}

    two.run("study02", "ip link add br0 type bridge")
    two.run("study01", "ip link delete br0")

    assert devices(two, "study01") == {"lo"}
    assert devices(two, "study02") == {"lo", "br0"}


def test_addresses(two: Lab) -> None:
    """The same address may be given in two namespaces, and each one reaches its own."""
    address = "10.0.0.1/24"
    two.run("study02", "ip link add br0 type bridge")
    for name in BOTH:
        two.run(name, f"ip addr add {address} dev br0")
        two.run(name, "ip link set br0 up")
        assert addresses(two, name, "br0") == [address]

    seen = [two.ask(icmp(), name, f"{name}@10.0.0.1") for name in BOTH]

    assert [(cell.outcome, cell.receiver) for cell in seen] == [
        (Outcome.DELIVERED, "study01"),
        (Outcome.DELIVERED, "study02"),
    ]
    two.run("study01", f"ip addr del {address} dev br0")
    assert two.ask(icmp(), "study01", "study01@10.0.0.1").outcome is Outcome.UNREACHABLE
    assert two.ask(icmp(), "study02", "study02@10.0.0.1").outcome is Outcome.DELIVERED


def test_routes(two: Lab) -> None:
    """A route in one namespace is not one of another."""
    two.run("study01", "ip route add 10.9.0.0/16 dev br0")

    assert routes(two, "study01") == ["10.9.0.0/16 dev br0 scope link"]
    assert routes(two, "study02") == []


def test_arp_table(two: Lab) -> None:
    """A neighbour that one namespace knows is unknown to another, although their bridges look alike."""
    two.run("study02", "ip link add br0 type bridge")
    two.run("study02", "ip link set br0 up")
    two.run("study01", "ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev br0")

    assert neighbours(two, "study01") == {"10.0.0.7": "02:00:00:00:00:07"}
    assert neighbours(two, "study02") == {}


def test_iptables(two: Lab) -> None:
    """A rule that drops everything in one namespace drops nothing in another."""
    two.firewall("study01").run("-A INPUT -i lo -j DROP")
    two.firewall("study02").rules()  # watched as well, so that a drop there would be seen

    seen = two.reachability(icmp(), sources=BOTH, targets=["study01@127.0.0.1", "study02@127.0.0.1"])

    # 127.0.0.1 is always one's own: what the columns name makes no difference.
    assert seen == matrix("""
                  study01@127.0.0.1  study02@127.0.0.1
        study01   F                  F
        study02   .                  .
    """)
    assert "-j DROP" in two.firewall("study01").save()
    assert "-j DROP" not in two.firewall("study02").save()


@pytest.mark.parametrize("probe", [udp(53), tcp(80)], ids=str)
def test_ports(two: Lab, probe: Probe) -> None:
    """The same port can be bound in two namespaces at once, and binding it in one binds it in no other.

    Seed document 004, section 'Network Namespace': ports do not clash once each container has its own.
    """
    targets = [f"{name}@127.0.0.1" for name in BOTH]

    both = [two.ask(probe, name, target, listeners=BOTH) for name, target in zip(BOTH, targets, strict=True)]
    one = [
        two.ask(probe, name, target, listeners=["study01"])
        for name, target in zip(BOTH, targets, strict=True)
    ]

    assert [cell.receiver for cell in both] == ["study01", "study02"]
    assert all(cell.replied for cell in both)
    assert [cell.outcome for cell in one] == [Outcome.DELIVERED, Outcome.REFUSED]


def test_forwarding_is_a_setting_of_one_namespace(two: Lab) -> None:
    """Switching forwarding on in one namespace leaves it off in another.

    Not in the documents, but what seed document 001, section 4, overlooks ("switch on forwarding of this
    machine"): the sysctls below net are the namespace's own (network_namespaces(7)).
    """
    two.sysctl("study01", "net.ipv4.ip_forward", 1)

    assert two.sysctl("study01", "net.ipv4.ip_forward") == "1"
    assert two.sysctl("study02", "net.ipv4.ip_forward") == "0"
