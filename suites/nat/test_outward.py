"""From a namespace to the outside world: forwarding, MASQUERADE, SNAT.

Seed document 002, sections "ns and the outside network" and "MASQUERADE". ns02 (192.168.88.12) stands on br01
of a host whose egress card is eth0 (172.22.36.202). The server on the internet stands for the document's
114.114.114.114; it can answer the host's LAN and knows no private subnet. Sniffers stand where the document
put tcpdump, on the bridge and on the egress card, and at the server as well.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from fixtures.documented import Documented
from fixtures.iproute import remember
from netverify.kernel import netlink
from netverify.kernel.lab import Lab
from netverify.reachability.flow import Leg, ObservedFlow
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Cell, Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import Route

NS02, EGRESS, SERVER = "192.168.88.12", "172.22.36.202", "203.0.113.114"
POINTS = [("host", "br01"), ("host", "eth0"), ("internet", "eth0")]
MASQUERADE = "-t nat -A POSTROUTING -s 192.168.88.0/24 -j MASQUERADE"
TRANSLATIONS = {
    "MASQUERADE": MASQUERADE,
    "MASQUERADE on the egress card alone": "-t nat -A POSTROUTING -s 192.168.88.0/24 -o eth0 -j MASQUERADE",
    "SNAT": f"-t nat -A POSTROUTING -s 192.168.88.0/24 -o eth0 -j SNAT --to-source {EGRESS}",
}
PROBES = [icmp(), udp(53), tcp(80)]


@pytest.fixture
def outward(lab: Lab, documented: Documented) -> Lab:
    """The document's bridge with two namespaces, its host forwarding, without a rule."""
    return lab.up(documented("nat-outward"))


def follow(lab: Lab, probe: Probe) -> tuple[Cell, ObservedFlow]:
    """Ask from ns02 to the server, and say what the sniffers saw of it."""
    with lab.nat_view(POINTS, conntrack=["host"]) as view:
        cell = lab.ask(probe, "ns02", "internet")
    return cell, view.flow(lab.flow)


def path(flow: ObservedFlow, leg: Leg) -> list[tuple[str, str, str]]:
    """(point, source, destination) of one leg in order of time, without ports."""
    return [(s.point, str(s.source.host), str(s.destination.host)) for s in flow.leg(leg)]


def test_without_forwarding_nothing_leaves_the_egress_card(outward: Lab) -> None:
    """br01 shows the request and eth0 shows nothing: ip_forward is off.

    As in section "ns and the outside network". The kernel counts the packet as not addressed to this host.
    The host's own requests need no forwarding; they pass eth0 and show that its sniffer was awake.
    """
    outward.sysctl("host", "net.ipv4.conf.all.forwarding", 0)
    with outward.capture("host", "br01", "ip") as bridge, outward.capture("host", "eth0", "ip") as egress:
        cells = [outward.ask(probe, "ns02", "internet") for probe in PROBES]
        own = [outward.ask(probe, "host", "internet") for probe in PROBES]
    assert {(cell.outcome, cell.detail) for cell in cells} == {
        (Outcome.FILTERED, "dropped by host: not addressed to this host, which does not forward")
    }
    assert all(cell.replied for cell in own)
    assert {frame.decoded["IP"].src for frame in bridge.frames} == {NS02}
    assert {frame.decoded["IP"].proto for frame in bridge.frames} == {1, 17, 6}  # ICMP, UDP, TCP
    assert {frame.decoded["IP"].src for frame in egress.frames} == {EGRESS, SERVER}


def test_the_hosts_own_addresses_need_neither_forwarding_nor_nat(outward: Lab) -> None:
    """ns02 reaches the host on each of its addresses with forwarding off and no rule at all.

    Section "MASQUERADE" ends by saying that with the rule a namespace can reach the host. It can without: a
    packet to any address of the host is delivered there (INPUT), and is not forwarded. What MASQUERADE gives
    is the way back from beyond the host.
    """
    outward.sysctl("host", "net.ipv4.conf.all.forwarding", 0)
    targets = ["host", "host@192.168.88.1", "gateway", "internet"]
    assert outward.reachability(icmp(), sources=["ns01", "ns02"], targets=targets) == matrix("""
                host  host@192.168.88.1  gateway  internet
        ns01     .           .              F         F
        ns02     .           .              F         F
    """)


@pytest.mark.parametrize("switch", ["net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward"])
def test_forwarding_alone_leaks_the_private_source(outward: Lab, switch: str) -> None:
    """With forwarding on, eth0 sends the request with ns02's own address, and no reply comes back.

    The document reads this off tcpdump, TTL 64 on br01 and 63 on eth0 (section "ns and the outside network").
    It writes the switch as conf.all.forwarding; ip_forward is the same one.
    """
    outward.sysctl("host", "net.ipv4.ip_forward", 0)
    outward.sysctl("host", switch, 1)
    with outward.capture("host", "br01", "ip") as bridge, outward.capture("host", "eth0", "ip") as egress:
        for probe in PROBES:
            assert outward.reachability(probe, sources=["ns02"], targets=["internet"]) == matrix("""
                        internet
                ns02       >
            """)
    assert {(frame.decoded["IP"].src, frame.decoded["IP"].ttl) for frame in bridge.frames} == {(NS02, 64)}
    assert {(frame.decoded["IP"].src, frame.decoded["IP"].ttl) for frame in egress.frames} == {(NS02, 63)}


def test_a_route_back_serves_as_well_as_nat(outward: Lab) -> None:
    """A reply to a private address is not lost because the address is private, but for want of a route.

    Section "ns and the outside network" says that replies to private addresses are thrown away. On the
    internet they are, since nobody there has a route for them; with routes back, the same request is
    answered, and the server sees who asked.
    """
    private = "192.168.88.0/24"
    outward.plan.route("internet", Route.parse(f"{private} via 203.0.113.1"))
    outward.plan.route("gateway", Route.parse(f"{private} via {EGRESS}"))
    outward.flush()
    cell = outward.ask(icmp(), "ns02", "internet")
    assert (cell.seen_source, cell.replied) == (NS02, True)


@pytest.mark.parametrize("rule", TRANSLATIONS.values(), ids=TRANSLATIONS)
def test_the_source_becomes_the_egress_address(outward: Lab, rule: str) -> None:
    """With MASQUERADE or SNAT the bridge still shows ns02, the egress card and the server show the host.

    Replies are translated back: the bridge shows them on their way to ns02. These are the document's last two
    captures (section "ns and the outside network"), and its rule with `-o eth0` (section "MASQUERADE").
    """
    outward.firewall("host").run(rule)
    for probe in PROBES:
        cell, flow = follow(outward, probe)
        assert cell.replied
        assert path(flow, Leg.REQUEST) == [
            ("host br01", NS02, SERVER),
            ("host eth0", EGRESS, SERVER),
            ("internet eth0", EGRESS, SERVER),
        ]
        assert path(flow, Leg.REPLY) == [
            ("internet eth0", SERVER, EGRESS),
            ("host eth0", SERVER, EGRESS),
            ("host br01", SERVER, NS02),
        ]
        (tracked,) = flow.connections
        entry = tracked.entry
        assert (str(entry.original.source.host), str(entry.reply.destination.host)) == (NS02, EGRESS)
        assert (entry.source_nat, entry.destination_nat) == (True, False)


def test_everybody_gets_out_and_nobody_gets_in(outward: Lab) -> None:
    """MASQUERADE opens the way out for the whole subnet; from outside there is still no route to it."""
    outward.firewall("host").run(MASQUERADE)
    everybody = ["ns01", "ns02", "host", "gateway", "internet"]
    assert outward.reachability(tcp(80), everybody) == matrix("""
                  ns01  ns02  host  gateway  internet
        ns01       .     .     .       .        .
        ns02       .     .     .       .        .
        host       .     .     .       .        .
        gateway    U     U     .       .        .
        internet   U     U     .       .        .
    """)


def test_flows_that_look_alike_outside_stay_apart(outward: Lab) -> None:
    """ns01 and ns02 ping the server with the same ICMP identifier; each gets its own reply.

    Behind one egress address the two would be one flow, so the kernel gives the second another identifier,
    and gives the old one back in the reply (RFC 5508, 3.1). The document has one namespace call at a time
    (section "ns and the outside network").
    """
    outward.firewall("host").run(MASQUERADE)
    with outward.nat_view(POINTS, conntrack=["host"]) as view:
        seen = outward.reachability(icmp(), sources=["ns01", "ns02"], targets=["internet"])
    assert seen == matrix("""
                internet
        ns01       .
        ns02       .
    """)
    flow = view.flow(outward.flow)
    inside = {s.identifier for s in flow.at("host br01", Leg.REQUEST) + flow.at("host br01", Leg.REPLY)}
    outside = {s.identifier for s in flow.at("internet eth0", Leg.REQUEST)}
    assert (len(inside), len(outside)) == (1, 2)
    assert inside < outside
    assert {str(s.destination) for s in flow.at("host br01", Leg.REPLY)} == {"192.168.88.11", NS02}


def test_the_rule_is_asked_once_for_a_connection(outward: Lab) -> None:
    """Of a whole TCP connection the nat table sees the first packet; conntrack translates the others.

    Section "ns and the outside network" says that MASQUERADE looks its address up for every packet that
    matches. It does so for every *connection* (iptables(8), table nat).
    """
    firewall = outward.firewall("host")
    firewall.run(MASQUERADE)
    with outward.capture("host", "eth0", f"tcp and src host {EGRESS}") as egress:
        assert outward.ask(tcp(80), "ns02", "internet").replied
    (rule,) = firewall.rules().chain("nat", "POSTROUTING").rules
    assert len(egress.frames) > 2
    assert rule.counters is not None
    assert rule.counters.packets == 1


@pytest.mark.parametrize(
    ("rule", "source", "symbol"),
    [
        pytest.param(TRANSLATIONS["MASQUERADE"], "172.22.36.203", ".", id="MASQUERADE"),
        pytest.param(TRANSLATIONS["SNAT"], EGRESS, ">", id="SNAT"),
    ],
)
def test_masquerade_follows_an_address_change(outward: Lab, rule: str, source: str, symbol: str) -> None:
    """The egress card gets another address: MASQUERADE uses it, SNAT goes on with the old one.

    That is the document's difference between the two, static and dynamic addresses (section "ns and the
    outside network"). The old address is nobody's now, so no reply to it finds its way.
    """
    outward.firewall("host").run(rule)
    renumber(outward)
    seen = outward.reachability(icmp(), sources=["ns02"], targets=["internet"])
    assert seen.cell("ns02", "internet").seen_source == source
    assert seen.symbol("ns02", "internet") == symbol


def test_snat_to_a_lost_address_works_while_it_is_remembered(outward: Lab) -> None:
    """As long as the router remembers whose the old address was, SNAT survives the change.

    The router sends the reply to the MAC address that it knows, and the host translates before it asks
    whether the address is its own. A neighbour entry lives for minutes, so somebody who tries at once finds
    nothing wrong (on "static", section "ns and the outside network").
    """
    outward.firewall("host").run(TRANSLATIONS["SNAT"])
    assert outward.ask(icmp(), "ns02", "internet").replied
    remember(outward, "gateway")
    renumber(outward)
    cell = outward.ask(icmp(), "ns02", "internet")
    assert (cell.seen_source, cell.replied) == (EGRESS, True)


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize(
    ("bridge_netfilter", "rule", "seen"),
    [
        pytest.param(0, "MASQUERADE", NS02, id="br_netfilter off"),
        pytest.param(1, "MASQUERADE", "192.168.88.1", id="br_netfilter on"),
        pytest.param(1, "MASQUERADE on the egress card alone", NS02, id="br_netfilter on, -o eth0"),
    ],
)
def test_masquerade_on_the_bridge_itself(outward: Lab, bridge_netfilter: int, rule: str, seen: str) -> None:
    """The document's rule without `-o` also translates between two namespaces, where br_netfilter is on.

    Frames from port to port then pass POSTROUTING, and ns01 takes ns02 for the host. Whether the rule of
    section "ns and the outside network" is harmless depends on that setting, which Docker turns on. To name
    the egress card, as section "MASQUERADE" does, or to exclude the bridge, as Docker does, is right with
    both.
    """
    outward.sysctl("host", "net.bridge.bridge-nf-call-iptables", bridge_netfilter)
    outward.firewall("host").run(TRANSLATIONS[rule])
    cell = outward.ask(icmp(), "ns02", "ns01")
    assert (cell.seen_source, cell.replied) == (seen, True)


def renumber(lab: Lab) -> None:
    """Give the egress card 172.22.36.203 in place of its address; the routes that hung on it are set anew."""
    eth0 = lab.plan.device("host", "eth0")
    lab.netlink(
        "host",
        [
            netlink.delete_address(eth0, ip_interface(f"{EGRESS}/24")),
            netlink.add_address(eth0, ip_interface("172.22.36.203/24")),
            netlink.add_route(ip_network("0.0.0.0/0"), via=ip_address("172.22.36.1")),
        ],
    )
