"""A port of the host leads to a namespace, through a chain of its own.

Seed document 002, sections "End-to-end mapping" and "DNAT". ns01 serves on 192.168.88.11:80 behind br01 of a
host with eth0 172.22.36.202; ns02 is on the same bridge, the neighbour on the same LAN as the host. The
document makes the chain TESTBR, jumps to it from PREROUTING and OUTPUT, and ends there; the DNAT rule that
belongs into the chain is that of section "DNAT".
"""

from __future__ import annotations

import pytest

from fixtures.documented import Documented
from netverify.kernel import netlink
from netverify.kernel.firewall import FirewallError
from netverify.kernel.lab import Lab
from netverify.reachability.flow import Leg
from netverify.reachability.matrix import matrix
from netverify.reachability.probe import Cell, Outcome, Probe, tcp, udp

FROM_OUTSIDE = "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j TESTBR"
FROM_THE_HOST = "-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j TESTBR"
HAIRPIN = "-t nat -A POSTROUTING -s 192.168.88.0/24 -d 192.168.88.11 -p tcp --dport 80 -j MASQUERADE"
EVERYBODY = ["neighbour", "host", "ns02", "ns01"]
SERVICE = ["ns01"]  # who listens; a mapping that leads elsewhere finds nobody


@pytest.fixture
def mapped(lab: Lab, documented: Documented) -> Lab:
    """A host that forwards, with the chain TESTBR that maps 8080 to ns01; nothing jumps to the chain yet."""
    lab.up(documented("port-mapping"))
    lab.sysctl("host", "net.ipv4.ip_forward", 1)
    firewall = lab.firewall("host")
    firewall.run("-t nat -N TESTBR")
    for protocol in ("tcp", "udp"):
        firewall.run(f"-t nat -A TESTBR -p {protocol} --dport 8080 -j DNAT --to-destination 192.168.88.11:80")
    return lab


def source_seen(lab: Lab, source: str, target: str = "host:8080") -> str | None:
    """The address that ns01 sees when `source` calls; None where the call does not get an answer."""
    cell = lab.ask(tcp(80), source, target, SERVICE)
    return (cell.seen_source or "").partition(":")[0] if cell.replied else None


def test_what_each_jump_opens(mapped: Lab) -> None:
    """PREROUTING serves those who come from outside the host, OUTPUT the host itself.

    Section "End-to-end mapping" has both. Nobody listens on the host's own port 8080, so without the jump the
    host refuses. ns02 and ns01 come in by PREROUTING too, and for them the two jumps are not enough: see the
    tests below.
    """
    ask = {"probe": tcp(80), "sources": EVERYBODY, "targets": ["host:8080"], "listeners": SERVICE}
    assert mapped.reachability(**ask) == matrix("""
                    host:8080
        neighbour       R
        host            R
        ns02            R
        ns01            R
    """)
    mapped.firewall("host").run(FROM_OUTSIDE)
    assert mapped.reachability(**ask) == matrix("""
                    host:8080
        neighbour       .
        host            R
        ns02            >
        ns01            F
    """)
    mapped.firewall("host").run(FROM_THE_HOST)
    assert mapped.reachability(**ask) == matrix("""
                    host:8080
        neighbour       .
        host            .
        ns02            >
        ns01            F
    """)


def test_only_the_mapped_port_leads_there(mapped: Lab) -> None:
    """Every other port of the host is still the host's, 80 too (section "End-to-end mapping")."""
    mapped.firewall("host").run(FROM_OUTSIDE)
    targets = ["host:8080", "host:8081", "host:80"]
    seen = mapped.reachability(tcp(80), sources=["neighbour"], targets=targets, listeners=SERVICE)
    assert seen == matrix("""
                    host:8080  host:8081  host:80
        neighbour       .          R         R
    """)


@pytest.mark.parametrize("probe", [udp(80), tcp(80)], ids=str)
def test_the_destination_is_rewritten_and_the_source_kept(mapped: Lab, probe: Probe) -> None:
    """eth0 shows host:8080, the bridge shows ns01:80, and ns01 sees who really called (section "DNAT").

    The reply takes the same way back under the host's name: nothing has to be said about it.
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    points = [("host", "eth0"), ("host", "br01"), ("ns01", "veth01")]
    with mapped.nat_view(points, conntrack=["host"]) as view:
        cell = mapped.ask(probe, "neighbour", "host:8080", SERVICE)
    flow = view.flow(mapped.flow)

    caller, mapped_to, service = cell.seen_source, "172.22.36.202:8080", "192.168.88.11:80"
    assert caller is not None
    assert caller.startswith("172.22.36.50:")
    assert flow.path(Leg.REQUEST) == (
        ("host eth0", caller, mapped_to),
        ("host br01", caller, service),
        ("ns01 veth01", caller, service),
    )
    assert flow.path(Leg.REPLY) == (
        ("ns01 veth01", service, caller),
        ("host br01", service, caller),
        ("host eth0", mapped_to, caller),
    )
    (tracked,) = flow.connections
    assert tracked.entry.destination_nat
    assert not tracked.entry.source_nat


def test_a_mapped_port_needs_forwarding(mapped: Lab) -> None:
    """What comes from outside is forwarded after the translation; what the host sends itself is not.

    The document turns ip_forward on much earlier (section "ns and the outside network"); here it shows why.
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    mapped.firewall("host").run(FROM_THE_HOST)
    mapped.sysctl("host", "net.ipv4.ip_forward", 0)
    seen = mapped.reachability(
        tcp(80), sources=["neighbour", "host"], targets=["host:8080"], listeners=SERVICE
    )
    assert seen == matrix("""
                    host:8080
        neighbour       F
        host            .
    """)


def test_local_means_every_address_of_the_host(mapped: Lab) -> None:
    """`--dst-type LOCAL` is each address of each card, the bridge's too (section "End-to-end mapping")."""
    mapped.firewall("host").run(FROM_OUTSIDE)
    mapped.firewall("host").run(FROM_THE_HOST)
    for target in ("host@172.22.36.202:8080", "host@192.168.88.1:8080"):
        assert mapped.ask(tcp(80), "host", target, SERVICE).receiver == "ns01"
        assert mapped.ask(tcp(80), "ns02", target, SERVICE).receiver == "ns01"


def test_an_own_address_answers_over_lo(mapped: Lab) -> None:
    """The host's packets to its own 172.22.36.202 run over lo, not over eth0 (section "End-to-end mapping").

    The document says so of 1.2.3.4 and invites to look with tcpdump.
    """
    with mapped.capture("host", "lo", "udp") as lo, mapped.capture("host", "eth0", "udp") as eth0:
        assert mapped.ask(udp(80), "host", "host").replied
        assert mapped.ask(udp(80), "host", "neighbour").replied  # eth0's sniffer is awake
    assert {frame.decoded["IP"].dst for frame in lo.frames} == {"172.22.36.202"}
    assert {frame.decoded["IP"].dst for frame in eth0.frames} == {"172.22.36.50", "172.22.36.202"}
    assert {frame.decoded["IP"].src for frame in eth0.frames} == {"172.22.36.50", "172.22.36.202"}
    assert len(eth0.frames) == 2


def test_without_addrtype_the_rule_takes_what_is_for_others(mapped: Lab) -> None:
    """The rule of section "DNAT", in PREROUTING without `--dst-type LOCAL`, hijacks transit traffic.

    ns02 calls port 8080 of the neighbour and gets ns01. With the match, as in section "End-to-end mapping",
    it gets the neighbour.
    """
    firewall = mapped.firewall("host")
    listeners = ["ns01", "neighbour"]
    firewall.run("-t nat -A POSTROUTING -s 192.168.88.0/24 -j MASQUERADE")  # the way back
    rule = "-t nat {} PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.168.88.11:8080"
    firewall.run(rule.format("-A"))
    assert mapped.ask(tcp(8080), "ns02", "neighbour", listeners).receiver == "ns01"
    firewall.run(rule.format("-D"))
    firewall.run(FROM_OUTSIDE)
    assert mapped.ask(tcp(8080), "ns02", "neighbour", listeners).receiver == "neighbour"


def test_dnat_does_not_go_into_postrouting(mapped: Lab) -> None:
    """The remarks below the rule of section "DNAT" call its chain POSTROUTING; the kernel refuses DNAT there.

    DNAT is for PREROUTING and OUTPUT, before the route is chosen (iptables-extensions(8), DNAT). The command
    itself, with PREROUTING, is right.
    """
    rule = "-t nat -A {} -p tcp --dport 80 -j DNAT --to-destination 192.168.88.11:80"
    with pytest.raises(FirewallError, match="Invalid argument"):
        mapped.firewall("host").run(rule.format("POSTROUTING"))
    mapped.firewall("host").run(rule.format("PREROUTING"))


def test_loopback_is_left_to_the_host(mapped: Lab) -> None:
    """`! -d 127.0.0.0/8` keeps the host's 127.0.0.1 out of the mapping (section "End-to-end mapping").

    A service of the host itself on port 8080 is still reached there, and there alone: on every other address
    the mapping comes first.
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    mapped.firewall("host").run(FROM_THE_HOST)
    assert mapped.ask(tcp(80), "host", "host@127.0.0.1:8080", SERVICE).outcome is Outcome.REFUSED

    mapped.firewall("host").run("-t nat -A TESTBR -p tcp --dport 80 -j DNAT --to-destination 192.168.88.11")
    receivers = {
        target: mapped.ask(tcp(80), "host", target, ["host", "ns01"]).receiver
        for target in ("host@127.0.0.1", "host@172.22.36.202", "host@192.168.88.1")
    }
    assert receivers == {
        "host@127.0.0.1": "host",
        "host@172.22.36.202": "ns01",
        "host@192.168.88.1": "ns01",
    }


def test_what_127_0_0_1_would_need(mapped: Lab) -> None:
    """Without `! -d 127.0.0.0/8` a mapping for 127.0.0.1 does not work by itself: it needs two things more.

    A packet from 127.0.0.1 may not leave the host (RFC 1122, 3.2.1.3) unless route_localnet lets it, and ns01
    does not even answer ARP from there unless MASQUERADE gives the packet another source. The document leaves
    loopback out and does not say why (section "End-to-end mapping").
    """
    firewall = mapped.firewall("host")
    firewall.run("-t nat -A OUTPUT -m addrtype --dst-type LOCAL -j TESTBR")

    def sent() -> set[str]:
        """What the bridge puts on the wire, in words, when the host calls 127.0.0.1:8080 in vain."""
        with mapped.capture("host", "br01") as sniffer:
            cell = mapped.ask(udp(80), "host", "host@127.0.0.1:8080", SERVICE)
        assert (cell.receiver, cell.replied) == (None, False)
        return {frame.decoded.summary() for frame in sniffer.frames}

    assert not sent()

    mapped.sysctl("host", "net.ipv4.conf.br01.route_localnet", 1)
    assert sent() == {"Ether / ARP who has 192.168.88.11 says 127.0.0.1"}  # and no answer

    firewall.run("-t nat -A POSTROUTING -o br01 -m addrtype --src-type LOCAL -j MASQUERADE")
    assert source_seen(mapped, "host", "host@127.0.0.1:8080") == "192.168.88.1"

    mapped.sysctl("host", "net.ipv4.conf.br01.route_localnet", 0)
    assert not sent()


@pytest.mark.needs("br_netfilter")
def test_another_container_needs_its_reply_translated(mapped: Lab) -> None:
    """ns02's call arrives at ns01, whose answer goes straight back over the bridge under the wrong address.

    ns02 called the host and knows nothing of 192.168.88.11. The answer must pass the host's connection
    tracking: br_netfilter leads bridged frames through it, or MASQUERADE makes the host the one to answer.
    The document's rules alone (section "End-to-end mapping") are enough with br_netfilter on, and are not
    without.
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    points = [("ns02", "veth02")]
    with mapped.nat_view(points) as view:
        cell = mapped.ask(udp(80), "ns02", "host:8080", SERVICE)
    assert (cell.receiver, cell.replied) == ("ns01", False)
    answers = view.flow(mapped.flow).at("ns02 veth02", Leg.REPLY)
    assert {str(answer.source) for answer in answers} == {"192.168.88.11:80"}

    mapped.sysctl("host", "net.bridge.bridge-nf-call-iptables", 1)
    assert source_seen(mapped, "ns02") == "192.168.88.12"

    mapped.sysctl("host", "net.bridge.bridge-nf-call-iptables", 0)
    mapped.firewall("host").run(HAIRPIN)
    assert source_seen(mapped, "ns02") == "192.168.88.1"


def test_hairpin_needs_masquerade(mapped: Lab) -> None:
    """ns01 calls its own mapped port: without MASQUERADE it gets back a packet that it seems to have sent.

    The kernel drops that as a martian. With MASQUERADE it comes from the bridge's address. The document does
    not go into this (section "End-to-end mapping").
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    cell = mapped.ask(tcp(80), "ns01", "host:8080", SERVICE)
    assert (cell.outcome, cell.detail) == (Outcome.FILTERED, "dropped by martian source")
    mapped.firewall("host").run(HAIRPIN)
    assert source_seen(mapped, "ns01") == "192.168.88.1"


@pytest.mark.needs("br_netfilter")
def test_hairpin_with_br_netfilter_needs_hairpin_mode_too(mapped: Lab) -> None:
    """With br_netfilter the bridge itself sends the frame on: back out of the port that it came in on.

    That a bridge does only where the port is in hairpin mode (bridge(8)). The frame vanishes uncounted, so
    sniffers show it: the bridge (br01) still sends it, its port (br-veth01) does not.
    """
    mapped.firewall("host").run(FROM_OUTSIDE)
    mapped.firewall("host").run(HAIRPIN.replace("tcp", "udp"))
    mapped.sysctl("host", "net.bridge.bridge-nf-call-iptables", 1)
    points = [("ns01", "veth01"), ("host", "br-veth01"), ("host", "br01")]

    cell, way = request_way(mapped, points)
    assert not cell.replied
    assert way == [("ns01 veth01", "out"), ("host br-veth01", "in"), ("host br01", "out")]

    mapped.netlink("host", [netlink.set_hairpin(mapped.plan.device("host", "br-veth01"))])
    cell, way = request_way(mapped, points)
    assert (cell.receiver, cell.replied) == ("ns01", True)
    assert way == [
        ("ns01 veth01", "out"),
        ("host br-veth01", "in"),
        ("host br01", "out"),
        ("host br-veth01", "out"),
        ("ns01 veth01", "in"),
    ]


def request_way(lab: Lab, points: list[tuple[str, str]]) -> tuple[Cell, list[tuple[str, str]]]:
    """Let ns01 call its own mapped port; where the request was seen, and in which direction, in order."""
    with lab.nat_view(points) as view:
        cell = lab.ask(udp(80), "ns01", "host:8080", SERVICE)
    sightings = view.flow(lab.flow).leg(Leg.REQUEST)  # more than one round, where it is silent
    return cell, list(dict.fromkeys((s.point, s.direction.value) for s in sightings))


def test_whose_name_the_service_sees(mapped: Lab) -> None:
    """With everything that everybody needs, ns01 still knows the neighbour and the host, and no namespace.

    DNAT keeps the source; only where the answer would miss the host is it hidden (section "End-to-end
    mapping").
    """
    for rule in (FROM_OUTSIDE, FROM_THE_HOST, HAIRPIN):
        mapped.firewall("host").run(rule)
    assert {source: source_seen(mapped, source) for source in EVERYBODY} == {
        "neighbour": "172.22.36.50",
        "host": "172.22.36.202",
        "ns02": "192.168.88.1",
        "ns01": "192.168.88.1",
    }


def test_the_rules_that_decide(mapped: Lab) -> None:
    """The counters name the way: a jump, and the DNAT rule of TESTBR (section "End-to-end mapping")."""
    mapped.firewall("host").run(FROM_OUTSIDE)
    mapped.firewall("host").run(FROM_THE_HOST)
    dnat = "nat TESTBR rule 1: -A TESTBR -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.168.88.11:80"
    prerouting = "nat PREROUTING rule 1: -A PREROUTING -m addrtype --dst-type LOCAL -j TESTBR"
    output = "nat OUTPUT rule 1: -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j TESTBR"

    def moved(source: str) -> set[str]:
        rules = mapped.explain(tcp(80), source, "host:8080", SERVICE).rules
        return {rule.removeprefix("host: ").removesuffix(" [1]") for rule in rules if " rule " in rule}

    assert moved("neighbour") == {prerouting, dnat}
    assert moved("host") == {output, dnat}
