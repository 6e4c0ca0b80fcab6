"""The host's network card becomes a port of the bridge, and its address moves to the bridge.

Seed document 003, section 'Connecting several network namespaces with a bridge', second half. The document
enslaves enp1s0 to br0, moves 192.168.122.101/24 from the card to the bridge, gives the namespaces the default
route via 10.1.1.1, and adds `-t nat -A POSTROUTING -s 10.1.1.0/24 -j MASQUERADE`. Then a namespace reaches
8.8.8.8, which is the host called internet here; gateway is another machine on the LAN.

What the document leaves out, or has otherwise, is shown below with both settings:

- the default route of the host goes with the address and has to be set again;
- "the network breaks after a while" is the ARP table running out;
- none of it is needed to reach the outside: MASQUERADE is, and forwarding;
- it makes the namespaces part of the LAN, which Docker's bridge does not;
- the MASQUERADE rule also rewrites what goes from namespace to namespace, where br_netfilter is on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.documented import Documented
from fixtures.iproute import addresses, forget, mac, neighbours, remember, routes
from netverify.kernel.lab import Lab
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

OUTSIDE = ("host", "gateway", "internet")
NAMESPACES = ("ns0", "ns1", "ns2")
ADDRESS = "192.168.122.101/24"
MASQUERADE = "-t nat -A POSTROUTING -s 10.1.1.0/24 -j MASQUERADE"


@pytest.fixture
def after(documented: Documented) -> Topology:
    """The topology as the document leaves it: the card is a port, the bridge has both addresses."""
    return documented("bridge-physical-nic")


@pytest.fixture
def before(after: Topology) -> Topology:
    """The topology before the document touches the card: it stands apart and has its own address."""
    host = after.host("host")
    (card,), (bridge,) = host.interfaces, host.bridges
    own, moved = bridge.addresses
    return after.with_host(
        "host",
        interfaces=(replace(card, master=None, addresses=(moved,)),),
        bridges=(replace(bridge, addresses=(own,)),),
    )


def test_step_by_step(lab: Lab, before: Topology) -> None:
    """The host and the LAN before, between and after the steps of the document."""
    lab.up(before)
    everything = matrix("""
                   host  gateway  internet
        host       .     .        .
        gateway    .     .        .
        internet   .     .        .
    """)
    assert addresses(lab, "host", "enp1s0") == [ADDRESS]
    assert lab.reachability(icmp(), OUTSIDE) == everything

    lab.run("host", "ip link set enp1s0 master br0")
    lab.run("host", f"ip addr del {ADDRESS} dev enp1s0")
    lab.run("host", f"ip addr add {ADDRESS} dev br0")
    lab.settle()
    # The default route went with the last address of enp1s0, and the document does not set it again.
    assert not any(route.startswith("default") for route in routes(lab, "host"))
    assert lab.reachability(icmp(), OUTSIDE) == matrix("""
                   host  gateway  internet
        host       .     .        U
        gateway    .     .        .
        internet   >     .        .
    """)

    lab.run("host", "ip route add default via 192.168.122.1")
    assert lab.reachability(icmp(), OUTSIDE) == everything


def test_an_address_left_on_the_card_breaks_after_a_while(lab: Lab, before: Topology) -> None:
    """While the ARP table remembers the neighbours, all is well; then the host reaches nobody on the LAN.

    The document only says that the network breaks "after a while" unless the address is moved. Requests for
    MAC addresses leave by the card, since that is where the address and the route are; the answers come in by
    the bridge, to which the card now belongs, and so the kernel does not take them for answers. What others
    send to the host still arrives.
    """
    lab.up(before)
    lab.reachability(icmp(), OUTSIDE)
    remember(lab, "host")

    lab.run("host", "ip link set enp1s0 master br0")
    lab.settle()
    remembered = lab.reachability(icmp(), OUTSIDE)
    forget(lab, "host")
    forgotten = lab.reachability(icmp(), OUTSIDE)

    assert remembered == matrix("""
                   host  gateway  internet
        host       .     .        .
        gateway    .     .        .
        internet   .     .        .
    """)
    assert forgotten == matrix("""
                   host  gateway  internet
        host       .     U        U
        gateway    >     .        .
        internet   >     .        .
    """)


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_after_all_steps(lab: Lab, after: Topology, probe: Probe) -> None:
    """Host, namespaces and LAN reach each other; with MASQUERADE the namespaces reach the outside too.

    Nobody outside knows a way to 10.1.1.0/24, so nobody there can begin.
    """
    lab.up(after)
    lab.firewall("host").run(MASQUERADE)
    targets = [*NAMESPACES, "host@192.168.122.101", "gateway", "internet"]

    assert lab.reachability(probe, sources=(*NAMESPACES, *OUTSIDE), targets=targets) == matrix("""
                   ns0  ns1  ns2  host@192.168.122.101  gateway  internet
        ns0        .    .    .    .                     .        .
        ns1        .    .    .    .                     .        .
        ns2        .    .    .    .                     .        .
        host       .    .    .    .                     .        .
        gateway    U    U    U    .                     .        .
        internet   U    U    U    .                     .        .
    """)


def test_what_masquerade_does(lab: Lab, after: Topology) -> None:
    """Without it the private address leaks, and no answer finds its way back; with it the host's is seen."""
    lab.up(after)
    without = lab.ask(icmp(), "ns0", "internet")
    lab.firewall("host").run(MASQUERADE)
    with_it = lab.ask(icmp(), "ns0", "internet")

    assert (without.outcome, without.seen_source, without.replied) == (
        Outcome.DELIVERED,
        "10.1.1.10",
        False,
    )
    assert (with_it.outcome, with_it.seen_source, with_it.replied) == (
        Outcome.DELIVERED,
        "192.168.122.101",
        True,
    )


def test_forwarding_is_needed(lab: Lab, after: Topology) -> None:
    """The document leaves net.ipv4.ip_forward to another article; without it nothing leaves the host."""
    lab.up(after)
    lab.firewall("host").run(MASQUERADE)
    lab.sysctl("host", "net.ipv4.ip_forward", 0)

    cell = lab.ask(icmp(), "ns0", "internet")

    assert cell.outcome is Outcome.FILTERED
    assert cell.detail == "dropped by host: not addressed to this host, which does not forward"


@pytest.mark.parametrize("probe", [icmp(), udp(53), tcp(80)], ids=str)
def test_the_card_need_not_be_on_the_bridge(lab: Lab, before: Topology, probe: Probe) -> None:
    """The namespaces reach the outside just as well while the card stands apart with its own address.

    The document calls enslaving it the first thing to do.
    """
    lab.up(before)
    lab.firewall("host").run(MASQUERADE)

    seen = lab.reachability(probe, sources=NAMESPACES, targets=["gateway", "internet"])

    assert seen == matrix("""
              gateway  internet
        ns0   .        .
        ns1   .        .
        ns2   .        .
    """)
    assert {str(cell.seen_source).split(":")[0] for cell in seen.cells()} == {"192.168.122.101"}


@pytest.mark.parametrize(
    ("card", "outcome"), [("on the bridge", Outcome.DELIVERED), ("apart", Outcome.UNREACHABLE)]
)
def test_on_the_bridge_the_card_makes_the_namespaces_part_of_the_lan(
    lab: Lab, before: Topology, after: Topology, card: str, outcome: Outcome
) -> None:
    """With the card on the bridge, a namespace that wants to is a machine of the LAN, past the host's rules.

    Seed document 003, section 'Container networks', calls this network nearly the same as Docker's. Docker
    leaves the card alone: there a container's frames end at the host.
    """
    lab.up(after if card == "on the bridge" else before)
    lab.firewall("host").run("-P FORWARD DROP")
    lab.run("ns0", "ip addr add 192.168.122.50/24 dev eth0")

    cell = lab.ask(icmp(), "ns0", "gateway")

    assert cell.outcome is outcome, cell
    if outcome is Outcome.DELIVERED:
        assert cell.seen_source == "192.168.122.50"
        assert neighbours(lab, "ns0")["192.168.122.1"] == mac(lab, "gateway", "eth0")


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize(("shown", "source"), [(0, "10.1.1.10"), (1, "10.1.1.1")], ids=["off", "on"])
def test_the_masquerade_rule_and_br_netfilter(lab: Lab, after: Topology, shown: int, source: str) -> None:
    """With br_netfilter the document's rule also rewrites what goes from namespace to namespace.

    It names no outgoing device. What Docker writes instead, `! -o docker0`, leaves neighbours on the bridge
    alone, with br_netfilter or without (seed document 001, section 5.2).
    """
    lab.up(after)
    lab.sysctl("host", "net.bridge.bridge-nf-call-iptables", shown)
    lab.firewall("host").run(MASQUERADE)

    cell = lab.ask(icmp(), "ns0", "ns1")
    assert (cell.replied, cell.seen_source) == (True, source)

    lab.firewall("host").flush()
    lab.firewall("host").run("-t nat -A POSTROUTING -s 10.1.1.0/24 ! -o br0 -j MASQUERADE")
    cell = lab.ask(icmp(), "ns0", "ns1")
    assert (cell.replied, cell.seen_source) == (True, "10.1.1.10")
