"""Every match that is modelled, on packets just inside and just outside of it, judged by the kernel.

A router gets one ruleset of many rules without targets, so that each counts what it matches and lets it go
on. Packets are sent one at a time, by the cable that leads there; after each, the counters that moved must
be those that the model says.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netverify.dataplane.packet import Packet
from netverify.kernel import sandbox
from netverify.kernel.firewall import Backend
from tests.kernel.match_cases import (
    ANYWHERE,
    LEAVING,
    ONLY,
    STATES,
    V4,
    V6,
    conversations,
    plain_shots,
    shot,
    shots,
)
from tests.kernel.match_router import SILENCE, Router, compare, match_router, ruleset

pytestmark = pytest.mark.needs("veth", "AF_PACKET", "iptables", "IPv6")
each_backend = pytest.mark.parametrize("backend", list(Backend))


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """left - host - right."""
    with match_router() as made:
        yield made


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_matches_on_packets_that_come_in(router: Router, backend: Backend, version: int) -> None:
    rules = [("mangle", "PREROUTING", text) for text in ANYWHERE + ONLY[version]]
    compare(router, backend, ruleset(version, rules), shots(version))


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_matches_on_packets_that_are_forwarded(router: Router, backend: Backend, version: int) -> None:
    rules = [("mangle", "FORWARD", text) for text in LEAVING]
    rules += [
        ("mangle", "POSTROUTING", text)
        for text in LEAVING
        if not any(words in text for words in ("-i ", "iface-in", "-m mac"))  # refused there
    ]
    rules += [("filter", "INPUT", text) for text in ("-i eth0", "! -i eth1", *LEAVING[7:8])]
    compare(router, backend, ruleset(version, [*rules, *SILENCE]), plain_shots(version))


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_matches_on_connections(router: Router, backend: Backend, version: int) -> None:
    rules = [("mangle", chain, text) for chain in ("PREROUTING", "FORWARD") for text in STATES]
    rules.append(("raw", "PREROUTING", "-p udp -m udp --dport 54 -j NOTRACK"))
    compare(router, backend, ruleset(version, rules), conversations(version))


@each_backend
def test_matches_on_fragments(router: Router, backend: Backend) -> None:
    """Where nobody asks for connections, fragments reach the rules: the later ones have no ports.

    iptables-nft writes some tests as expressions of nftables. Of these a negated one takes what stands first
    in a later fragment for the ports: there the kernel differs from its xt matches, which the model follows.
    """
    texts = [
        "-f", "! -f", "-p udp -m udp --dport 80", "-p udp -m udp ! --dport 80", "-p tcp -m tcp --syn",
        "-p tcp -m tcp ! --tcp-flags SYN SYN", "-p udp -m multiport --dports 80",
        "-p sctp -m sctp ! --dport 1", "-p udp -m multiport ! --dports 80",
        "-p icmp -m icmp --icmp-type any", "-p icmp -m icmp ! --icmp-type 8", "-p udp", "-p tcp",
    ]  # fmt: skip
    if backend is Backend.NFT:
        texts = [text for text in texts if "! --dport 80" not in text and "! --tcp" not in text]
    packets = [
        shot(protocol, fragment=fragment, sport=5000)
        for protocol in ("udp", "tcp", "sctp", "icmp")
        for fragment in (0, 1)
    ]
    compare(router, backend, ruleset(4, [("mangle", "PREROUTING", text) for text in texts]), packets)


@each_backend
@pytest.mark.parametrize("version", [4, 6])
def test_matches_on_the_host_s_own_packets(router: Router, backend: Backend, version: int) -> None:
    """They have no Ethernet header, a socket of root's, and come in by lo where the host sends to itself."""
    texts = [
        "-m owner --uid-owner 0", "-m owner ! --uid-owner 0", "-m owner --uid-owner 1-5",
        "-m owner ! --uid-owner 1-5", "-m owner --gid-owner 0-9", "-m owner ! --gid-owner 0",
        "-m owner --socket-exists", "-m owner ! --socket-exists", "-m owner --uid-owner 0 --gid-owner 1",
        "-m owner --uid-owner 0 ! --gid-owner 1", "-m owner --gid-owner 0 --suppl-groups", "-o lo",
        "! -o lo", "-o eth+", "-m pkttype --pkt-type unicast", "-m addrtype --src-type LOCAL",
        "-m addrtype --dst-type LOCAL", "-m addrtype --dst-type LOCAL --limit-iface-out",
        "-m mark --mark 0",
    ]  # fmt: skip
    if sandbox.require().rootless:  # only root's numbers exist there, and rules of others are refused
        texts = [text for text in texts if not any(ids in text for ids in ("1-5", "0-9", "owner 1"))]
    coming = [
        "-i lo", "! -i lo", "-m mac --mac-source 02:00:00:00:00:02",
        "-m mac ! --mac-source 02:00:00:00:00:02", "-m rpfilter", "-m rpfilter --invert",
        "-m pkttype --pkt-type unicast", "-m conntrack --ctstate NEW",
        "-m addrtype --dst-type LOCAL --limit-iface-in", "-m addrtype --dst-type LOCAL",
        "-m conntrack --ctstate UNTRACKED",
    ]  # fmt: skip
    rules = [("mangle", chain, text) for chain in ("OUTPUT", "POSTROUTING") for text in texts]
    rules += [("mangle", "PREROUTING", text) for text in coming]
    rules.append(("raw", "PREROUTING", "-p udp -m udp --dport 99 -j NOTRACK"))
    rules.append(("raw", "OUTPUT", "-p udp -m udp --dport 98 -j NOTRACK"))
    own = {4: ("10.0.0.1", "10.0.0.2", "127.0.0.1"), 6: ("fd00::1", "fd00::2", "::1")}[version]
    packets = [
        shot("udp", own[0], own[1], "host", mac=None, sport=6000),
        shot("tcp", own[0], own[1], "host", mac=None, sport=6000, tcp_flags=0x10),
        *(shot("udp", own[2], own[2], "host", mac=None, sport=6001, dport=port) for port in (97, 98, 99)),
        shot("udp", own[0], own[0], "host", mac=None, sport=6002, dport=97),
        shot("udp", *(V4 if version == 4 else V6), sport=6003),
    ]
    packets = [
        (origin, packet.with_(uid=0, gid=0) if origin == "host" else packet) for origin, packet in packets
    ]
    compare(router, backend, ruleset(version, [*rules, *SILENCE]), packets)


def test_anycast_and_groups_are_delivered_where_the_kernel_has_joined_them(router: Router) -> None:
    """INPUT or FORWARD sees a packet, or neither: by the kernel's own lists of addresses."""
    targets = ["fd00::", "fd01::", "fd07::", "fd00::1", "fd01::2", "2001:db8:2::"]
    targets += [
        "ff02::1",
        "ff02::2",
        "ff05::2",
        "ff02::1:ff00:1",
        "ff02::1:ff00:0",
        "ff02::1:ff00:7",
        "ff02::5",
    ]
    rules = [("filter", chain, f"-d {target}") for chain in ("INPUT", "FORWARD") for target in targets]
    sent = [
        (side, Packet.of(source, target, "udp", dport=7000))
        for side, source in (("left", "fd00::2"), ("right", "fd01::2"))
        for target in targets
    ]
    traces = compare(router, Backend.NFT, ruleset(6, [*rules, *SILENCE]), sent)
    delivered = {
        str(packet.destination_address)
        for (_, packet), t in zip(sent, traces, strict=True)
        if t.verdict == "delivered"
    }
    assert {
        "fd00::",
        "fd01::",
        "ff02::1",
        "ff02::2",
        "ff05::2",
        "ff02::1:ff00:1",
        "ff02::1:ff00:0",
    } <= delivered
    assert "ff02::5" not in delivered
