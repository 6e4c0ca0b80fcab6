"""Addresses on the way between two bridges that were opened to each other (seed document 001, section 7).

The document pings 172.18.0.2 (c18a) from 172.19.0.2 (c19a) after the two commands of its section 6, with
tcpdump on both bridges and in the receiver. It calls both bridges br-9559b3f84d38; the second, which has
172.18.0.1, is br-cbd0f56841ce. Its "ubuntu" is whoever looks, 172.18.0.1 on the host and 172.18.0.2 in the
receiver, where "_gateway" is 172.18.0.1.
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from netverify.kernel.lab import Lab
from netverify.reachability.flow import Leg, ObservedFlow
from netverify.reachability.probe import Cell, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

BR19, BR18 = "br-9559b3f84d38", "br-cbd0f56841ce"
OPENING = (
    f"-I DOCKER-ISOLATION-STAGE-1 -i {BR19} -o {BR18} -j ACCEPT",
    f"-I DOCKER-ISOLATION-STAGE-1 -i {BR18} -o {BR19} -j ACCEPT",
)
ASKER, ANSWERER, GATEWAY = "172.19.0.2", "172.18.0.2", "172.18.0.1"
REQUEST = [
    ("c19a eth0", ASKER, ANSWERER),
    (f"host {BR19}", ASKER, ANSWERER),
    (f"host {BR18}", GATEWAY, ANSWERER),
    ("c18a eth0", GATEWAY, ANSWERER),
]


def open_up(lab: Lab, topology: Topology) -> Lab:
    """Build the document's host and run the two commands of section 6."""
    lab.up(topology)
    for rule in OPENING:
        lab.firewall("host").run(rule)
    return lab


@pytest.fixture
def opened(lab: Lab, documented: Documented) -> Lab:
    """The document's four bridges, 172.18 and 172.19 opened to each other."""
    return open_up(lab, documented("docker-three-bridges"))


def follow(lab: Lab, probe: Probe, source: str = "c19a", target: str = "c18a") -> tuple[Cell, ObservedFlow]:
    """Ask one pair, with sniffers where the document had them and at the asker."""
    points = [(source, "eth0"), ("host", BR19), ("host", BR18), (target, "eth0")]
    with lab.nat_view(points, conntrack=["host"]) as view:
        cell = lab.ask(probe, source, target)
    return cell, view.flow(lab.flow)


def path(flow: ObservedFlow, leg: Leg) -> list[tuple[str, str, str]]:
    """(point, source, destination) of one leg in order of time, without ports."""
    return [(s.point, str(s.source.host), str(s.destination.host)) for s in flow.leg(leg)]


def test_the_request_changes_its_source_at_the_second_bridge(opened: Lab) -> None:
    """The first bridge shows c19a, the second bridge and c18a show the second bridge's own address.

    The host's POSTROUTING stands between the two bridges (section 7, its three requests).
    """
    for probe in (icmp(), udp(7000), tcp(7000)):
        cell, flow = follow(opened, probe)
        assert path(flow, Leg.REQUEST) == REQUEST
        assert (cell.receiver, cell.replied) == ("c18a", True)
        assert (cell.seen_source or "").partition(":")[0] == GATEWAY


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize(
    ("bridge_netfilter", "at_the_second_bridge"),
    [pytest.param(1, ASKER, id="br_netfilter on"), pytest.param(0, GATEWAY, id="br_netfilter off")],
)
def test_where_the_reply_is_translated_back(
    opened: Lab, bridge_netfilter: int, at_the_second_bridge: str
) -> None:
    """c18a answers the gateway; the second bridge shows the reply addressed to c19a already, or not yet.

    The document's capture on 172.18.0.1 shows a request from the gateway answered to 172.19.0.2 (section 7),
    and explains that replies are replaced by the original addresses. At which point depends on br_netfilter,
    which Docker turns on: then PREROUTING, and with it the translation, comes before the bridge device. With
    it off the second bridge shows the gateway in both, and the first bridge is the first to show c19a.
    """
    opened.sysctl("host", "net.bridge.bridge-nf-call-iptables", bridge_netfilter)
    cell, flow = follow(opened, icmp())
    assert cell.replied
    assert path(flow, Leg.REQUEST) == REQUEST
    assert path(flow, Leg.REPLY) == [
        ("c18a eth0", ANSWERER, GATEWAY),
        (f"host {BR18}", ANSWERER, at_the_second_bridge),
        (f"host {BR19}", ANSWERER, ASKER),
        ("c19a eth0", ANSWERER, ASKER),
    ]


def test_the_reply_on_the_wire_is_untouched(opened: Lab) -> None:
    """The host's end of c18a's veth pair shows the reply as c18a sent it, whatever the bridge shows.

    It is where tcpdump sees the wire itself; section 7 looks at the bridge only, behind PREROUTING.
    """
    port = opened.topology.container("c18a").endpoint("net18").host_device
    assert port is not None
    with opened.nat_view([("host", port), ("host", BR18)]) as view:
        assert opened.ask(icmp(), "c19a", "c18a").replied
    assert path(view.flow(opened.flow), Leg.REPLY) == [
        (f"host {port}", ANSWERER, GATEWAY),
        (f"host {BR18}", ANSWERER, ASKER),
    ]


@pytest.mark.parametrize(
    ("source", "target", "original", "masked"),
    [
        pytest.param("c19a", "c18a", (ASKER, ANSWERER), GATEWAY, id="172.19 to 172.18"),
        pytest.param("c18a", "c19a", (ANSWERER, ASKER), "172.19.0.1", id="172.18 to 172.19"),
    ],
)
def test_what_conntrack_remembers(
    opened: Lab, source: str, target: str, original: tuple[str, str], masked: str
) -> None:
    """One entry: the original addresses, and a reply expected at the gateway of the answerer's network.

    That entry is what "replaced again by the original addresses" rests on (section 7); the other direction
    is the same with the other bridge.
    """
    cell, flow = follow(opened, icmp(), source, target)
    assert cell.replied
    (tracked,) = flow.connections
    entry = tracked.entry
    assert (str(entry.original.source.host), str(entry.original.destination.host)) == original
    assert (str(entry.reply.source.host), str(entry.reply.destination.host)) == (original[1], masked)
    assert entry.source_nat
    assert not entry.destination_nat
    assert not entry.unreplied


def test_the_rule_that_translates(opened: Lab) -> None:
    """Of all nat rules the MASQUERADE of the asker's network alone counts the packet (sections 5.2 and 7)."""
    cell = opened.explain(icmp(), "c19a", "c18a")
    assert [rule.partition(": ")[2] for rule in cell.rules if ": nat " in rule and " rule " in rule] == [
        f"nat POSTROUTING rule 3: -A POSTROUTING -s 172.19.0.0/16 ! -o {BR19} -j MASQUERADE [1]"
    ]


def test_opening_alone_translates_nothing(lab: Lab, documented: Documented) -> None:
    """Without masquerading on 172.19 the same two commands connect the bridges, and c18a sees c19a itself.

    So the translation of section 7 is the network's, an option of it (enable_ip_masquerade), and no part of
    what section 6 opens.
    """
    open_up(lab, documented("docker-three-bridges").with_network("net19", masquerade=False))
    cell, flow = follow(lab, icmp())
    assert (cell.seen_source, cell.replied) == (ASKER, True)
    assert {(source, target) for _point, source, target in path(flow, Leg.REQUEST)} == {(ASKER, ANSWERER)}
    assert {(source, target) for _point, source, target in path(flow, Leg.REPLY)} == {(ANSWERER, ASKER)}
    (tracked,) = flow.connections
    assert not tracked.entry.source_nat


def test_to_the_outside_the_source_is_the_hosts(opened: Lab) -> None:
    """A server on the internet sees the address of the host's card, not the container's (section 7, end)."""
    points = [("host", BR19), ("host", "eth0"), ("internet", "eth0")]
    with opened.nat_view(points) as view:
        cell = opened.ask(icmp(), "c19a", "internet")
    card, server = "198.51.100.10", "203.0.113.10"
    assert (cell.seen_source, cell.replied) == (card, True)
    assert path(view.flow(opened.flow), Leg.REQUEST) == [
        (f"host {BR19}", ASKER, server),
        ("host eth0", card, server),
        ("internet eth0", card, server),
    ]
