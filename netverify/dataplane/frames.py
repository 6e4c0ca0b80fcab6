"""What a packet loses on the wire, what a host finds out about one that comes off it, what routing asks."""

from __future__ import annotations

from netverify.dataplane.hooks import StageKind
from netverify.dataplane.packet import Packet
from netverify.dataplane.routing import Routing


def on_the_wire(packet: Packet) -> Packet:
    """The packet with nothing but its headers."""
    return Packet(
        packet.version, packet.source, packet.destination, packet.protocol, packet.sport, packet.dport,
        packet.icmp_type, packet.icmp_code, packet.tcp_flags, length=packet.length, ttl=packet.ttl,
        tos=packet.tos, fragment=packet.fragment, mac=packet.mac, pkttype=packet.pkttype,
        embedded=packet.embedded,
    )  # fmt: skip


def off_the_wire(packet: Packet, device: str, routing: Routing) -> Packet:
    """The packet as it comes in by a device, with the device that leads back to its source."""
    back = routing.lookup(packet.version, packet.source)
    path = 0 if back.kind != "unicast" else 2 if back.device == device else 1
    return on_the_wire(packet).with_(in_interface=device, reverse_path=path)


def routing_fields(stage: StageKind) -> tuple[str, ...]:
    """What a packet is routed again for, where a stage writes it.

    After rules it is all of this (ipt_mangle_out, nf_route_table_hook4); after translation the destination
    alone, even where a rule of the nat table has set a mark (nf_nat_ipv4_local_fn in nf_nat_proto.c).
    """
    return ("destination",) if stage is StageKind.NAT else ("source", "destination", "mark", "tos")
