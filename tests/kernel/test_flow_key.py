"""Recognising a flow's packets, on frames built by scapy: what the kernel rarely sends is here."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from netverify.kernel.capture import Frame
from netverify.kernel.flow_key import Echo, FlowKey, Handshake, Nonce, read_header
from netverify.reachability.flow import Direction, Leg

NONCE = b"\x93nonce\x07!"
THERE = {"src": "10.0.0.1", "dst": "10.0.0.2"}
BACK = {"src": "10.0.0.2", "dst": "10.0.0.1"}
ROUTER = {"src": "10.0.0.254", "dst": "10.0.0.1"}
SYN = TCP(sport=5000, dport=80, seq=0xFFFFFFFF, flags="S")


def frame(packet: Packet) -> Frame:
    data = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)
    return Frame(0, Direction.IN, data, len(data))


def legs(key: FlowKey, *packets: Packet) -> list[Leg | None]:
    frames = [frame(packet) for packet in packets]
    headers = [read_header(each) for each in frames]
    result = key.legs(headers)
    # The quick look may let strangers in, but must never turn a packet of the flow away.
    for each, leg in zip(frames, result, strict=True):
        assert leg is None or key.may_be_in(each.data)
    return result


def test_what_is_not_ip_has_no_header():
    assert read_header(frame(ARP(pdst="10.0.0.2", psrc="10.0.0.1", hwsrc="02:00:00:00:00:01"))) is None


def test_an_echo_is_known_by_both_numbers():
    def echo(kind: int, identifier: int, sequence: int, **ends) -> Packet:
        return IP(**ends) / ICMP(type=kind, id=identifier, seq=sequence)

    assert legs(
        Echo(38, 31),
        echo(8, 38, 31, **THERE),
        echo(0, 38, 31, **BACK),
        echo(8, 38, 32, **THERE),
        echo(8, 39, 31, **THERE),
        IP(**THERE) / UDP(sport=38, dport=31),
        IP(**THERE) / ICMP(type=13, id=38, seq=31),  # a timestamp request is no echo
    ) == [Leg.REQUEST, Leg.REPLY, None, None, None, None]


def test_a_nonce_is_a_reply_when_it_goes_where_a_request_came_from():
    request = IP(**THERE) / UDP(sport=5000, dport=80) / NONCE
    translated = IP(src="172.17.0.1", dst="172.17.0.2") / UDP(sport=6000, dport=8080) / NONCE
    answer = IP(src="172.17.0.2", dst="172.17.0.1") / UDP(sport=8080, dport=6000) / (b"re: " + NONCE)
    reply = IP(**BACK) / UDP(sport=80, dport=5000) / NONCE
    stranger = IP(**BACK) / UDP(sport=80, dport=5000) / b"another"
    assert legs(Nonce(NONCE), request, translated, answer, reply, stranger) == [
        Leg.REQUEST,
        Leg.REQUEST,
        Leg.REPLY,
        Leg.REPLY,
        None,
    ]


def test_a_nonce_is_found_in_protocols_without_ports():
    assert legs(Nonce(NONCE), IP(**THERE, proto=253) / NONCE, IP(**BACK, proto=253) / NONCE) == [
        Leg.REQUEST,
        Leg.REPLY,
    ]


def test_addresses_that_look_like_the_nonce_are_no_payload():
    nonce = Nonce(bytes([10, 0, 0, 1, 10, 0, 0, 2]))
    assert legs(nonce, IP(**THERE) / UDP(sport=1, dport=2) / b"other") == [None]


def test_a_handshake_is_syn_and_what_acknowledges_it():
    def tcp(flags: str, ends: dict[str, str] = BACK, **numbers) -> Packet:
        return IP(**ends) / TCP(**{"sport": 80, "dport": 5000, **numbers}, flags=flags)

    assert legs(
        Handshake(5000),
        IP(**THERE) / SYN,
        IP(src="172.17.0.1", dst="10.0.0.2") / TCP(sport=6000, dport=80, seq=0xFFFFFFFF, flags="S"),
        tcp("SA", seq=7, ack=0),  # sequence numbers wrap (RFC 9293, 3.4)
        tcp("RA", ack=0),
        tcp("SA", ack=1),
        tcp("A", ack=0),
        tcp("S", THERE, sport=5001, dport=80, seq=9),
        IP(**THERE) / UDP(sport=5000, dport=80) / NONCE,
    ) == [Leg.REQUEST, Leg.REQUEST, Leg.REPLY, Leg.REPLY, None, None, None, None]


@pytest.mark.parametrize("kept", [None, 28])
def test_an_error_quoting_only_eight_bytes_of_tcp_is_enough(kept):
    """RFC 792 promises the header and 64 bits: both ports and the sequence number."""
    quoted = bytes(IP(**THERE) / SYN)[:kept]
    error = IP(**ROUTER) / ICMP(type=3, code=13) / quoted
    assert legs(Handshake(5000), IP(**THERE) / SYN, error) == [Leg.REQUEST, Leg.ERROR]
    assert read_header(frame(error)).summary == (
        "dest-unreach communication-prohibited, about 10.0.0.1:5000 -> 10.0.0.2:80"
    )


def test_an_error_about_another_flow_is_a_stranger():
    other = IP(**THERE) / TCP(sport=5001, dport=80, seq=1, flags="S")
    assert legs(Handshake(5000), IP(**THERE) / SYN, IP(**ROUTER) / ICMP(type=3, code=1) / other)[1] is None
    echo = IP(**THERE) / ICMP(id=1, seq=1)
    assert legs(Echo(1, 2), IP(**ROUTER) / ICMP(type=11) / echo) == [None]
    assert legs(Echo(1, 1), IP(**ROUTER) / ICMP(type=11) / echo) == [Leg.ERROR]


@pytest.mark.parametrize("error", [ICMPv6TimeExceeded(), ICMPv6ParamProblem()])
def test_icmpv6_errors_and_echo(error):
    echo = IPv6(src="fd00::1", dst="fd00::2") / ICMPv6EchoRequest(id=3, seq=4, data=NONCE)
    about = IPv6(src="fd00::9", dst="fd00::1") / error / echo
    for key in (Echo(3, 4), Nonce(NONCE)):
        assert legs(key, echo, about) == [Leg.REQUEST, Leg.ERROR]


@pytest.mark.parametrize("extension", [IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=["fd00::3"])])
def test_ipv6_extension_headers_do_not_hide_the_ports(extension):
    packet = IPv6(src="fd00::1", dst="fd00::2") / extension / UDP(sport=5000, dport=80) / NONCE
    assert str(read_header(frame(packet)).source) == "[fd00::1]:5000"
    assert legs(Nonce(NONCE), packet) == [Leg.REQUEST]
