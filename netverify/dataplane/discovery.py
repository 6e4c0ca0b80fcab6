"""Neighbour discovery through the packet filter: rules that stop it cut a host off, without a word about it.

IPv6 asks for a neighbour's Ethernet address with ICMPv6 (RFC 4861), which passes the hooks like any packet:
the question leaves by OUTPUT and arrives in INPUT, and so does the answer. ARP passes none of them. A
neighbour whose address is known for good is reached all the same, so this says what is stopped and decides
nothing.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from netverify.dataplane.outcomes import Stopped
from netverify.dataplane.packet import ICMPV6, Packet
from netverify.dataplane.stack import Stack

SOLICITATION, ADVERTISEMENT = 135, 136
LENGTH = 72  # of both, with the option that holds an Ethernet address (RFC 4861, 4.3, 4.4, 4.6.1)
HOP_LIMIT = 255
_SOLICITED_NODES = int(IPv6Address("ff02::1:ff00:0"))


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast address that who has an address listens to (RFC 4291, 2.7.1)."""
    return IPv6Address(_SOLICITED_NODES | int(address) & 0xFFFFFF)


def stopped_discovery(
    asker: Stack, device: str, answerer: Stack, answering: str, neighbour: IPv6Address
) -> str:
    """Why `asker` does not learn who has `neighbour`, behind its `device`; empty where it does.

    `answering` is the device by which the answerer hears the question.
    """
    source = asker.routing.address_of(device, neighbour) or IPv6Address("fe80::1")
    group = solicited_node(neighbour)
    question = Packet.of(source, group, ICMPV6, icmp_type=SOLICITATION, ttl=HOP_LIMIT, length=LENGTH, sport=0)
    answer = Packet.of(
        neighbour, source, ICMPV6, icmp_type=ADVERTISEMENT, ttl=HOP_LIMIT, length=LENGTH, sport=0
    )
    ways = ((asker, device, answerer, answering, question), (answerer, answering, asker, device, answer))
    for sender, out, receiver, into, packet in ways:
        leaving = packet.with_(out_interface=out)
        arriving = packet.with_(in_interface=into, pkttype=2 if packet is question else 0)
        for stack, hook, seen in (
            (sender, "OUTPUT", leaving),
            (sender, "POSTROUTING", leaving),
            (receiver, "PREROUTING", arriving),
            (receiver, "INPUT", arriving),
        ):
            stopped = stack.passes(hook, seen)
            if isinstance(stopped, Stopped):
                what = "the question" if packet is question else "the answer"
                return f"neighbour discovery of {neighbour}: {what} is {stopped.reason} on {stack.view.name}"
    return ""
