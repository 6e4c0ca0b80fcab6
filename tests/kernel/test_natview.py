"""One flow seen at several points: which addresses show where, with NAT and without."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from netverify.errors import InputError
from netverify.kernel.capture import CaptureError, CaptureOverflowError
from netverify.kernel.flow_key import Echo, Handshake, Nonce
from netverify.kernel.natview import NatView, Point
from netverify.reachability.flow import Direction, Leg
from tests.kernel.small_net import BRIDGES, SmallNet, two_bridges

pytestmark = pytest.mark.needs("veth", "bridge", "AF_PACKET", "iptables", "conntrack netlink", "IPv6")

NONCE = bytes.fromhex("6e6f6e63650a1b2c")
MASQUERADE = "-t nat -A POSTROUTING -s 172.19.0.0/16 ! -o br-a -j MASQUERADE"


@pytest.fixture
def net():
    """Bridges as the kernel makes them; what br_netfilter changes, a test asks for."""
    with two_bridges() as made:
        bridge_netfilter(made, 0)
        yield made


def bridge_netfilter(net: SmallNet, value: int) -> None:
    if not value and not Path("/proc/sys/net/bridge").exists():
        return  # a kernel without br_netfilter: bridges never call iptables
    for program in ("iptables", "ip6tables"):
        net.sysctl("host", f"bridge.bridge-nf-call-{program}", value)


def watch(net: SmallNet, *, conntrack: bool = True, **options) -> NatView:
    points = [
        Point("bridge br-a", net.namespaces["host"], "br-a"),
        Point("bridge br-b", net.namespaces["host"], "br-b"),
        Point("container b1", net.namespaces["b1"], "eth0"),
    ]
    tables = [net.namespaces["host"]] if conntrack else []
    return NatView(net.visitor, points, conntrack=tables, **options)


def test_without_nat_every_point_shows_the_same(net):
    with watch(net) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
    flow = view.flow(Echo(38, 31))
    there, back = ("172.19.0.2", "172.18.0.2"), ("172.18.0.2", "172.19.0.2")
    assert flow.path(Leg.REQUEST) == tuple((point, *there) for point in flow.points)
    assert flow.path(Leg.REPLY) == tuple((point, *back) for point in reversed(flow.points))
    assert flow.connections == ()
    assert "conntrack host  -" in view.table(Echo(38, 31))


def test_masquerade_between_two_bridges(net):
    """Seed document 001, section 7, on bridges that do not call iptables."""
    net.run("host", f"iptables {MASQUERADE}")
    with watch(net) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
    rewritten_back = "destination rewritten 172.18.0.1 -> 172.19.0.2"
    assert view.table(Echo(38, 31)).splitlines() == [
        "ICMP echo id 38 seq 31",
        "point           direction    source      destination  note",
        "bridge br-a     request in   172.19.0.2  172.18.0.2",
        "bridge br-b     request out  172.18.0.1  172.18.0.2   source rewritten 172.19.0.2 -> 172.18.0.1",
        "container b1    request in   172.18.0.1  172.18.0.2",
        "container b1    reply out    172.18.0.2  172.18.0.1",
        "bridge br-b     reply in     172.18.0.2  172.18.0.1",
        f"bridge br-a     reply out    172.18.0.2  172.19.0.2   {rewritten_back}",
        "conntrack host  original     172.19.0.2  172.18.0.2   icmp SRC_NAT, ICMP id 38",
        "conntrack host  reply        172.18.0.2  172.18.0.1   expected of the answer, ICMP id 38",
    ]


@pytest.mark.needs("br_netfilter")
def test_with_br_netfilter_the_reply_is_translated_before_the_bridge_sees_it(net):
    """Seed document 001, section 7: at 172.18.0.1 the reply already goes to 172.19.0.2.

    That is so where bridges call iptables, as on a Docker host: the reply meets PREROUTING on the bridge's
    port. A capture on that port shows that the container answered 172.18.0.1 all the same.
    """
    bridge_netfilter(net, 1)
    net.run("host", f"iptables {MASQUERADE}")
    points = [
        Point("br-a", net.namespaces["host"], "br-a"),
        Point("br-b", net.namespaces["host"], "br-b"),
        Point("port of b1", net.namespaces["host"], "veth-b1"),
        Point("b1", net.namespaces["b1"], "eth0"),
    ]
    with NatView(net.visitor, points) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
    flow = view.flow(Echo(38, 31))
    assert flow.path(Leg.REQUEST) == (
        ("br-a", "172.19.0.2", "172.18.0.2"),
        ("br-b", "172.18.0.1", "172.18.0.2"),
        ("port of b1", "172.18.0.1", "172.18.0.2"),
        ("b1", "172.18.0.1", "172.18.0.2"),
    )
    assert flow.path(Leg.REPLY) == (
        ("b1", "172.18.0.2", "172.18.0.1"),
        ("port of b1", "172.18.0.2", "172.18.0.1"),
        ("br-b", "172.18.0.2", "172.19.0.2"),
        ("br-a", "172.18.0.2", "172.19.0.2"),
    )


def test_masquerade_over_ipv6(net):
    net.run("host", "ip6tables -t nat -A POSTROUTING -s fd00:19::/64 ! -o br-a -j MASQUERADE")
    with watch(net) as view:
        net.ping("a1", "fd00:18::2", 38, 31)
    flow = view.flow(Echo(38, 31))
    assert flow.path(Leg.REQUEST) == (
        ("bridge br-a", "fd00:19::2", "fd00:18::2"),
        ("bridge br-b", "fd00:18::1", "fd00:18::2"),
        ("container b1", "fd00:18::1", "fd00:18::2"),
    )
    assert flow.path(Leg.REPLY)[-1] == ("bridge br-a", "fd00:18::2", "fd00:19::2")
    [tracked] = flow.connections
    assert (tracked.namespace, tracked.entry.protocol, tracked.entry.source_nat) == ("host", "icmpv6", True)


def test_published_udp_port_with_both_ends_rewritten(net):
    """DNAT at PREROUTING and MASQUERADE at POSTROUTING: b1 reaches itself, seen twice on its bridge."""
    net.run(
        "host", "iptables -t nat -A PREROUTING -p udp -d 172.18.0.1 --dport 80 -j DNAT --to 172.18.0.2:8080"
    )
    net.run("host", "iptables -t nat -A POSTROUTING -s 172.18.0.2 -d 172.18.0.2 -j MASQUERADE")
    net.sysctl("host", "ipv4.conf.all.send_redirects", 0)
    server = net.socket("b1", socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("172.18.0.2", 8080))
    client = net.socket("b1", socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("172.18.0.2", 5000))
    with watch(net) as view:
        client.sendto(NONCE, ("172.18.0.1", 80))
        data, sender = server.recvfrom(100)
        server.sendto(b"re: " + data, sender)
        assert client.recvfrom(100) == (b"re: " + NONCE, ("172.18.0.1", 80))
    flow = view.flow(Nonce(NONCE))
    assert [
        (sighting.direction, str(sighting.source), str(sighting.destination))
        for leg in (Leg.REQUEST, Leg.REPLY)
        for sighting in flow.at("bridge br-b", leg)
    ] == [
        (Direction.IN, "172.18.0.2:5000", "172.18.0.1:80"),
        (Direction.OUT, "172.18.0.1:5000", "172.18.0.2:8080"),
        (Direction.IN, "172.18.0.2:8080", "172.18.0.1:5000"),
        (Direction.OUT, "172.18.0.1:80", "172.18.0.2:5000"),
    ]
    assert flow.unseen(Leg.REQUEST) == ("bridge br-a",)
    [tracked] = flow.connections
    assert tracked.entry.source_nat
    assert tracked.entry.destination_nat
    assert "bridge br-a     request      -" in view.table(Nonce(NONCE))
    assert (
        "source rewritten 172.18.0.2:5000 -> 172.18.0.1:5000; destination rewritten 172.18.0.1:80 -> "
        "172.18.0.2:8080"
    ) in view.table(Nonce(NONCE))


def test_other_packets_do_not_mix_in(net):
    with watch(net) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
        net.ping("a1", "172.18.0.2", 38, 32)
        net.ping("a1", "172.18.0.2", 39, 31)
        net.ping("b1", "172.19.0.2", 40, 31)
    assert len(view.flow(Echo(38, 31)).sightings) == 6
    assert view.flow(Echo(40, 31)).path(Leg.REQUEST)[0] == ("container b1", "172.18.0.2", "172.19.0.2")
    assert view.flow(Echo(41, 31)).sightings == ()


def test_a_nonce_finds_an_echo_whose_identifier_was_rewritten(net):
    """Two clients with one identifier behind one address: the second gets another (nf_nat_core.c)."""
    net.run("host", f"iptables {MASQUERADE}")
    net.run("a1", "ip addr add 172.19.0.3/16 dev eth0")
    net.introduce("host", BRIDGES["br-a"][0], 101, "172.19.0.3/16")
    with watch(net) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
        net.ping("a1", "172.18.0.2", 38, 31, NONCE, source="172.19.0.3")
    flow = view.flow(Nonce(NONCE))
    identifiers = [sighting.identifier for sighting in flow.leg(Leg.REQUEST)]
    assert identifiers[0] == 38
    assert identifiers[1] == identifiers[2] != 38
    assert f"ICMP id rewritten 38 -> {identifiers[1]}" in view.table(Nonce(NONCE))
    [tracked] = flow.connections
    assert str(tracked.entry.original.source) == "172.19.0.3"
    assert tracked.entry.reply.icmp_id == identifiers[1]


def test_handshake_of_an_open_and_of_a_closed_port(net):
    net.run("host", f"iptables {MASQUERADE}")
    server = net.socket("b1", socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("", 80))
    server.listen()
    ports = []
    with watch(net) as view:
        for port in (80, 81):
            client = net.socket("a1", socket.AF_INET, socket.SOCK_STREAM)
            client.bind(("172.19.0.2", 0))
            ports.append(client.getsockname()[1])
            client.connect_ex(("172.18.0.2", port))
    for own, port in zip(ports, (80, 81), strict=True):
        flow = view.flow(Handshake(own))
        assert flow.path(Leg.REQUEST) == (
            ("bridge br-a", f"172.19.0.2:{own}", f"172.18.0.2:{port}"),
            ("bridge br-b", f"172.18.0.1:{own}", f"172.18.0.2:{port}"),
            ("container b1", f"172.18.0.1:{own}", f"172.18.0.2:{port}"),
        )
        assert flow.path(Leg.REPLY)[-1] == ("bridge br-a", f"172.18.0.2:{port}", f"172.19.0.2:{own}")
        assert len(flow.leg(Leg.REPLY)) == 3
        # Conntrack forgets a connection whose only answer was a reset (nf_conntrack_proto_tcp.c).
        states = [tracked.entry.state for tracked in flow.connections]
        assert states == (["ESTABLISHED"] if port == 80 else [])


def test_a_handshake_is_followed_although_its_port_is_rewritten(net):
    net.run("host", "iptables -t nat -A POSTROUTING -p tcp -o br-b -j SNAT --to 172.18.0.1:6000-6001")
    net.socket("b1", socket.AF_INET, socket.SOCK_STREAM)
    with watch(net) as view:
        client = net.socket("a1", socket.AF_INET, socket.SOCK_STREAM)
        client.bind(("172.19.0.2", 5000))
        assert client.connect_ex(("172.18.0.2", 80)) != 0
    flow = view.flow(Handshake(5000))
    before, after, received = (str(sighting.source) for sighting in flow.leg(Leg.REQUEST))
    assert before == "172.19.0.2:5000"
    assert after == received
    assert after in ("172.18.0.1:6000", "172.18.0.1:6001")
    assert str(flow.leg(Leg.REPLY)[-1].destination) == "172.19.0.2:5000"


@pytest.mark.parametrize(
    ("protocol", "option", "key"),
    [
        ("udp", "icmp-admin-prohibited", Nonce(NONCE)),
        ("tcp", "icmp-port-unreachable", Handshake(5000)),
        ("icmp", "icmp-host-prohibited", Echo(38, 31)),
    ],
)
def test_an_icmp_error_belongs_to_the_flow_that_it_quotes(net, protocol, option, key):
    net.run("host", f"iptables -A FORWARD -p {protocol} -j REJECT --reject-with {option}")
    with watch(net) as view:
        if protocol == "icmp":
            net.send_echo("a1", "172.18.0.2", 38, 31)
        else:
            kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
            client = net.socket("a1", socket.AF_INET, kind)
            client.bind(("172.19.0.2", 5000))
            client.connect_ex(("172.18.0.2", 80))
            if protocol == "udp":
                client.send(NONCE)
        net.settle()
    flow = view.flow(key)
    port = "" if protocol == "icmp" else ":80"
    own = "" if protocol == "icmp" else ":5000"
    assert flow.path(Leg.REQUEST) == (("bridge br-a", f"172.19.0.2{own}", f"172.18.0.2{port}"),)
    [error] = flow.leg(Leg.ERROR)
    assert (str(error.source), str(error.destination)) == ("172.19.0.1", "172.19.0.2")
    assert error.note.startswith("dest-unreach ")
    assert error.note.endswith(f", about 172.19.0.2{own} -> 172.18.0.2{port}")
    assert flow.unseen(Leg.REQUEST) == ("bridge br-b", "container b1")
    assert flow.leg(Leg.REPLY) == ()


def test_an_icmpv6_error_belongs_to_the_flow_that_it_quotes(net):
    with watch(net) as view:
        client = net.socket("a1", socket.AF_INET6, socket.SOCK_DGRAM)
        client.sendto(NONCE, ("fd00:18::2", 9))
        net.settle()
    [first, *_] = view.flow(Nonce(NONCE)).leg(Leg.ERROR)
    assert (first.point, str(first.source)) == ("container b1", "fd00:18::2")
    assert first.note.startswith("Destination unreachable Port unreachable, about [fd00:19::2]:")


def test_a_dropped_request_is_seen_up_to_where_it_was_dropped(net):
    net.run("host", "iptables -A FORWARD -j DROP")
    with watch(net) as view:
        net.send_echo("a1", "172.18.0.2", 38, 31)
        net.settle()
    flow = view.flow(Echo(38, 31))
    assert flow.path(Leg.REQUEST) == (("bridge br-a", "172.19.0.2", "172.18.0.2"),)
    assert view.table(Echo(38, 31)).count("not seen") == 5


def test_repeated_packets_are_counted_and_not_repeated(net):
    client = net.socket("a1", socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("172.19.0.2", 5000))
    with watch(net, bpf="udp") as view:
        for _ in range(3):
            client.sendto(NONCE, ("172.18.0.2", 9))
        net.settle()
    assert [sighting.count for sighting in view.flow(Nonce(NONCE)).leg(Leg.REQUEST)] == [3, 3, 3]
    assert "3 packets" in view.table(Nonce(NONCE))


@pytest.mark.needs("vxlan")
def test_a_tunnelled_packet_shows_its_inner_addresses_and_names_the_tunnel(net):
    """A vxlan device in b1 and one in a1: the bridges between them see UDP 4789 alone."""
    vxlan = "type vxlan id 7 dstport 4789 dev eth0"
    for name, number, own, other in (
        ("a1", 1, "172.19.0.2", "172.18.0.2"),
        ("b1", 2, "172.18.0.2", "172.19.0.2"),
    ):
        peer = 3 - number
        net.run(name, f"ip link add vx0 address 02:00:00:00:00:0{number} {vxlan} local {own} remote {other}")
        net.run(name, f"ip addr add 10.0.0.{number}/24 dev vx0")
        net.run(name, "ip link set vx0 up")
        net.run(name, f"ip neigh add 10.0.0.{peer} lladdr 02:00:00:00:00:0{peer} dev vx0")
    with watch(net) as view:
        net.ping("a1", "10.0.0.2", 38, 31)
    request = view.flow(Echo(38, 31)).at("bridge br-a", Leg.REQUEST)[0]
    assert (str(request.source), str(request.destination)) == ("10.0.0.1", "10.0.0.2")
    assert request.note == "tunnelled in 172.19.0.2 -> 172.18.0.2"
    assert len(view.flow(Echo(38, 31)).sightings) == 6


def test_a_flow_can_be_asked_for_while_watching(net):
    net.run("host", f"iptables {MASQUERADE}")
    with watch(net) as view:
        net.ping("a1", "172.18.0.2", 38, 31)
        during = view.flow(Echo(38, 31))
    after = view.flow(Echo(38, 31))
    assert after.sightings == during.sightings
    assert len(after.connections) == len(during.connections) == 1


def test_overflow_at_one_point_spoils_the_view(net):
    client = net.socket("a1", socket.AF_INET, socket.SOCK_DGRAM)
    view = watch(net, bpf="udp", capacity=32)
    view.__enter__()
    for _ in range(100):
        client.sendto(NONCE, ("172.18.0.2", 9))
    net.settle()
    with pytest.raises(CaptureOverflowError):
        view.__exit__(None, None, None)
    with pytest.raises(CaptureOverflowError):
        view.flow(Nonce(NONCE))


def test_a_view_that_never_ran_says_so(net):
    with pytest.raises(CaptureError, match="never been started"):
        watch(net).flow(Echo(1, 1))


def test_one_point_that_cannot_be_watched_stops_the_view(net):
    points = [
        Point("there", net.namespaces["host"], "br-a"),
        Point("not there", net.namespaces["host"], "br-z"),
    ]
    view = NatView(net.visitor, points, conntrack=[net.namespaces["host"]])
    with pytest.raises(CaptureError, match="host/br-z"):
        view.__enter__()


@pytest.mark.parametrize("names", [[], ["twice", "twice"]])
def test_points_have_names_of_their_own(net, names):
    with pytest.raises(InputError, match="names of their own"):
        NatView(net.visitor, [Point(name, net.namespaces["host"], "br-a") for name in names])


def test_one_pcap_for_each_point(net, tmp_path):
    with watch(net, bpf="icmp") as view:
        net.ping("a1", "172.18.0.2", 38, 31)
    paths = view.write(tmp_path)
    assert [path.name for path in paths] == [
        "1-bridge-br-a.pcap",
        "2-bridge-br-b.pcap",
        "3-container-b1.pcap",
    ]
    from scapy.utils import rdpcap

    assert [len(rdpcap(str(path))) for path in paths] == [2, 2, 2]


def test_a_nonce_that_would_match_by_accident_is_refused():
    with pytest.raises(ValueError, match="3 bytes"):
        Nonce(b"abc")
