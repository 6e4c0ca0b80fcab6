"""The conntrack table as entries: all protocols, both families, NAT, flush."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from netverify.errors import KernelError, MissingCapability
from netverify.kernel import conntrack
from netverify.kernel.conntrack import Conntrack
from netverify.reachability.flow import ConntrackEntry
from tests.kernel.small_net import SmallNet, two_bridges

pytestmark = pytest.mark.needs("veth", "bridge", "iptables", "conntrack netlink", "IPv6")

# Conntrack works in a namespace only while a rule there asks for it (nf_ct_netns_get).
TRACK = "-A FORWARD -m conntrack --ctstate INVALID -j DROP"
MASQUERADE = "-t nat -A POSTROUTING -s 172.19.0.0/16 ! -o br-a -j MASQUERADE"


@pytest.fixture
def net():
    with two_bridges() as made:
        yield made


@pytest.fixture
def table(net):
    with Conntrack(net.visitor, net.namespaces["host"]) as opened:
        yield opened


def ours(table: Conntrack) -> list[ConntrackEntry]:
    """What the test caused; the host itself reports its multicast groups now and then."""
    return [entry for entry in table.entries() if entry.protocol != "igmp"]


def only(table: Conntrack) -> ConntrackEntry:
    [entry] = ours(table)
    return entry


def exchange_udp(net: SmallNet, target: str, port: int, *, rounds: int = 1) -> tuple[str, int]:
    """Send to an echo in b1 and have it answer; returns the client's own address."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    server = net.socket("b1", family, socket.SOCK_DGRAM)
    server.bind(("", port))
    client = net.socket("a1", family, socket.SOCK_DGRAM)
    client.connect((target, port))
    for _ in range(rounds):
        client.send(b"question")
        data, sender = server.recvfrom(100)
        server.sendto(data, sender)
        client.recv(100)
    host, own_port = client.getsockname()[:2]
    return host, own_port


def test_nothing_is_tracked_without_a_rule(net, table):
    net.ping("a1", "172.18.0.2", 1, 1)
    assert ours(table) == []


def test_icmp_with_id_type_and_code(net, table):
    net.run("host", f"iptables {TRACK}")
    net.ping("a1", "172.18.0.2", 38, 31)
    entry = only(table)
    assert (entry.protocol, entry.version) == ("icmp", 4)
    original, reply = entry.original, entry.reply
    assert (str(original.source), str(original.destination)) == ("172.19.0.2", "172.18.0.2")
    assert (str(reply.source), str(reply.destination)) == ("172.18.0.2", "172.19.0.2")
    assert (original.icmp_id, original.icmp_type, original.icmp_code) == (38, 8, 0)
    assert (reply.icmp_id, reply.icmp_type, reply.icmp_code) == (38, 0, 0)
    assert not entry.unreplied
    assert not entry.source_nat
    assert entry.state == ""


def test_icmpv6(net, table):
    net.run("host", f"ip6tables {TRACK}")
    net.ping("a1", "fd00:18::2", 7, 1)
    # Neighbour discovery between host and containers is not tracked (nf_conntrack_proto_icmpv6.c).
    entry = only(table)
    assert (entry.protocol, entry.version) == ("icmpv6", 6)
    assert str(entry.original) == "icmpv6 fd00:19::2 -> fd00:18::2 id 7 type 128"
    assert str(entry.reply) == "icmpv6 fd00:18::2 -> fd00:19::2 id 7 type 129"


def test_masquerade_shows_in_the_reply_tuple(net, table):
    net.run("host", f"iptables {MASQUERADE}")
    net.ping("a1", "172.18.0.2", 38, 31)
    entry = only(table)
    assert entry.source_nat
    assert not entry.destination_nat
    assert str(entry.original.source) == "172.19.0.2"
    assert str(entry.reply.destination) == "172.18.0.1"


def test_destination_nat_shows_in_the_reply_tuple(net, table):
    net.run("host", "iptables -t nat -A PREROUTING -p udp --dport 53 -j DNAT --to 172.18.0.2:5353")
    server = net.socket("b1", socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 5353))
    client = net.socket("a1", socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"question", ("172.19.0.1", 53))
    assert server.recv(100) == b"question"
    entry = only(table)
    assert entry.destination_nat
    assert not entry.source_nat
    assert entry.unreplied
    assert str(entry.original.destination) == "172.19.0.1:53"
    assert str(entry.reply.source) == "172.18.0.2:5353"


def test_udp_is_assured_once_there_was_traffic_both_ways(net, table):
    net.run("host", f"iptables {TRACK}")
    host, port = exchange_udp(net, "172.18.0.2", 53)
    entry = only(table)
    assert entry.protocol == "udp"
    assert (str(entry.original.source), str(entry.original.destination)) == (
        f"{host}:{port}",
        "172.18.0.2:53",
    )
    assert not entry.unreplied
    assert not entry.assured  # that takes two seconds of it (nf_conntrack_proto_udp.c)
    assert 0 < entry.timeout <= 120


def test_udp_over_ipv6(net, table):
    net.run("host", f"ip6tables {TRACK}")
    host, port = exchange_udp(net, "fd00:18::2", 53)
    entry = only(table)
    assert str(entry.original.source) == f"[{host}]:{port}"
    assert str(entry.reply.source) == "[fd00:18::2]:53"


def test_a_tcp_connection_has_a_state_and_is_assured(net, table):
    net.run("host", f"iptables {TRACK}")
    server = net.socket("b1", socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("", 80))
    server.listen()
    client = net.socket("a1", socket.AF_INET, socket.SOCK_STREAM)
    client.connect(("172.18.0.2", 80))
    server.accept()[0].close()
    assert client.recv(1) == b""
    entry = only(table)
    assert entry.protocol == "tcp"
    assert entry.state in ("FIN_WAIT", "CLOSE_WAIT")  # one side has closed
    assert entry.assured


def test_a_syn_that_nobody_answers_is_unreplied(net, table):
    net.run("host", f"iptables {TRACK}")
    net.run("b1", "iptables -A INPUT -p tcp -j DROP")
    client = net.socket("a1", socket.AF_INET, socket.SOCK_STREAM)
    client.setblocking(False)
    client.connect_ex(("172.18.0.2", 80))
    net.settle()
    entry = only(table)
    assert (entry.state, entry.unreplied, entry.assured) == ("SYN_SENT", True, False)


def test_mark_and_both_families_at_once(net, table):
    for program in ("iptables", "ip6tables"):
        net.run("host", f"{program} -t mangle -A FORWARD -j CONNMARK --set-mark 0x2a")
    net.ping("a1", "172.18.0.2", 1, 1)
    net.ping("a1", "fd00:18::2", 1, 1)
    assert {(entry.version, entry.mark) for entry in ours(table)} == {(4, 42), (6, 42)}


def test_flush_forgets_both_families(net, table):
    for program in ("iptables", "ip6tables"):
        net.run("host", f"{program} {TRACK}")
    net.ping("a1", "172.18.0.2", 1, 1)
    net.ping("a1", "fd00:18::2", 1, 1)
    assert len(ours(table)) == 2
    table.flush()
    assert ours(table) == []


def test_entries_about_an_address(net, table):
    net.run("host", f"iptables {TRACK}")
    net.ping("a1", "172.18.0.2", 1, 1)
    net.ping("b1", "172.19.0.2", 2, 1)
    net.ping("a1", "172.18.0.1", 3, 1)
    assert len(table.entries([ip_address("172.18.0.2")])) == 2
    assert len(table.entries([ip_address("10.0.0.1")])) == 0


def test_a_table_of_several_datagrams_is_read_whole(net, table):
    net.run("host", f"iptables {TRACK}")
    for identifier in range(300):
        net.ping("a1", "172.18.0.2", identifier, 1)
    assert {entry.original.icmp_id for entry in ours(table)} == set(range(300))


def test_tables_are_apart(net, table):
    net.run("host", f"iptables {TRACK}")
    net.ping("a1", "172.18.0.2", 1, 1)
    with Conntrack(net.visitor, net.namespaces["a1"]) as other:
        assert other.entries() == ()
    assert len(ours(table)) == 1


def test_what_the_kernel_refuses_is_named(net, table):
    with pytest.raises(KernelError, match="cannot frobnicate of namespace 'host'"):
        table._ask(0x3F, conntrack.NLM_F_ACK, "frobnicate")


def test_a_kernel_without_ctnetlink_is_a_missing_capability(net, table, monkeypatch):
    monkeypatch.setattr(conntrack, "NFNL_SUBSYS_CTNETLINK", 0x7E)  # nobody registers this number
    with pytest.raises(MissingCapability, match="CONFIG_NF_CT_NETLINK"):
        table.entries()
