"""A bridge with three namespaces on it, and the host behind the bridge's own address.

Seed document 003, section 'Connecting several network namespaces with a bridge'; seed document 002, section
'Linux Bridge', is the same with two.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, devices, mac, neighbours, routes, shown
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Probe, arp, icmp, tcp, udp

NAMESPACES = ("ns0", "ns1", "ns2")
EVERYBODY = (*NAMESPACES, "host")


@pytest.fixture
def bridge(lab: Lab, documented: Documented) -> Lab:
    """The topology as the document ends up with it."""
    return lab.up(documented("bridge-three-namespaces"))


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_everybody_reaches_everybody(bridge: Lab, probe: Probe) -> None:
    """The host reaches the namespaces, they reach the host, and they reach each other.

    The document says that the last does not work by default; `test_bridge_netfilter.py` shows what it depends
    on. No forwarding is needed for it: that is about routing, and a bridge does not route.
    """
    assert bridge.sysctl("host", "net.ipv4.ip_forward") == "0"
    assert bridge.reachability(probe, EVERYBODY) == matrix("""
               ns0  ns1  ns2  host
        ns0    .    .    .    .
        ns1    .    .    .    .
        ns2    .    .    .    .
        host   .    .    .    .
    """)


def test_the_bridge_joins_them(bridge: Lab) -> None:
    """Without its port on the bridge a namespace is alone; back on the bridge, it is among the others again.

    Its packets still come out of the cable at the host, which takes those for its own address, whatever the
    device, but sends the answers to where the subnet is: to the bridge.
    """
    bridge.run("host", "ip link set veth0-br nomaster")
    alone = bridge.reachability(icmp(), EVERYBODY)
    bridge.run("host", "ip link set veth0-br master br0")
    bridge.settle()
    back = bridge.reachability(icmp(), EVERYBODY)

    assert alone == matrix("""
               ns0  ns1  ns2  host
        ns0    .    U    U    >
        ns1    U    .    .    .
        ns2    U    .    .    .
        host   U    .    .    .
    """)
    assert back.pairs(".") == {(source, target) for source in EVERYBODY for target in EVERYBODY}


def test_the_address_of_the_bridge_is_the_host(bridge: Lab) -> None:
    """Without an address on br0 the host is out of it, and the namespaces still reach each other.

    A bridge is a switch; the host's own connection to it is the device that is called like the bridge.
    """
    bridge.run("host", "ip addr del 10.1.1.1/24 dev br0")
    bridge.run("host", "ip addr add 10.1.1.1/32 dev lo")

    seen = bridge.reachability(icmp(), sources=EVERYBODY, targets=NAMESPACES)

    assert seen == matrix("""
               ns0  ns1  ns2
        ns0    .    .    .
        ns1    .    .    .
        ns2    .    .    .
        host   U    U    U
    """)
    assert routes(bridge, "host") == []


def test_nothing_leads_out_without_a_default_route(bridge: Lab) -> None:
    """`ping 8.8.8.8` in a namespace says "Network is unreachable", as in the document."""
    for name in NAMESPACES:
        cell = bridge.ask(icmp(), name, "host@8.8.8.8")
        assert "ENETUNREACH" in cell.detail, cell
        assert routes(bridge, name) == [
            f"10.1.1.0/24 dev eth0 proto kernel scope link src {bridge.topology.addresses_of(name)[0]}"
        ]


def test_devices_of_the_document(bridge: Lab) -> None:
    """Names and addresses are those of the document; the host's ends are ports of br0."""
    assert devices(bridge, "host") == {"lo", "br0", "veth0-br", "veth1-br", "veth2-br"}
    assert {record["ifname"] for record in shown(bridge, "host", "link show master br0")} == {
        "veth0-br",
        "veth1-br",
        "veth2-br",
    }
    assert addresses(bridge, "host", "br0") == ["10.1.1.1/24"]
    assert [addresses(bridge, name, "eth0") for name in NAMESPACES] == [
        ["10.1.1.10/24"],
        ["10.1.1.11/24"],
        ["10.1.1.12/24"],
    ]


def test_arp_entries_are_right(bridge: Lab) -> None:
    """After a ping each namespace knows the others' MAC addresses, and the gateway's is that of the bridge.

    Seed document 002, section 'Verifying the network inside a namespace': `arp` in ns01 shows ns02's MAC and,
    for 192.168.88.1, the one that `ip link` shows for br01.
    """
    assert neighbours(bridge, "ns0") == {}

    bridge.reachability(icmp(), EVERYBODY)

    macs = {
        "10.1.1.1": mac(bridge, "host", "br0"),
        "10.1.1.10": mac(bridge, "ns0", "eth0"),
        "10.1.1.11": mac(bridge, "ns1", "eth0"),
        "10.1.1.12": mac(bridge, "ns2", "eth0"),
    }
    assert len(set(macs.values())) == 4
    for name, own in zip(EVERYBODY, ("10.1.1.10", "10.1.1.11", "10.1.1.12", "10.1.1.1"), strict=True):
        assert neighbours(bridge, name) == {ip: known for ip, known in macs.items() if ip != own}


def test_arp_is_answered_by_the_owner_of_the_address(bridge: Lab) -> None:
    """Seed document 002, the same section: "ARP, Reply 192.168.88.12 is-at fe:a2:57:1c:67:df"."""
    for name in NAMESPACES[1:]:
        cell = bridge.ask(arp(), "ns0", name)
        assert (cell.receiver, cell.detail) == (name, f"is at {mac(bridge, name, 'eth0')}")
    gateway = bridge.ask(arp(), "ns0", "host")
    assert (gateway.receiver, gateway.detail) == ("host", f"is at {mac(bridge, 'host', 'br0')}")


def test_a_ping_as_tcpdump_shows_it(bridge: Lab) -> None:
    """First who-has and is-at, then echo request and echo reply.

    Seed document 002, section 'Verifying the network inside a namespace', captures a ping from ns01 to ns02
    on the bridge with tcpdump, which makes the bridge device promiscuous. Here it is captured at the port of
    the sender's cable, where the order is the same and nothing has to be changed for it.
    """
    with bridge.capture("host", "veth0-br", "arp or icmp") as sniffer:
        assert bridge.ask(icmp(), "ns0", "ns1").replied

    said = [frame.decoded.summary() for frame in sniffer.frames]
    assert "who has 10.1.1.11 says 10.1.1.10" in said[0]
    assert f"is at {mac(bridge, 'ns1', 'eth0')}" in said[1]
    assert "10.1.1.10 > 10.1.1.11 echo-request" in said[2]
    assert "10.1.1.11 > 10.1.1.10 echo-reply" in said[3]
