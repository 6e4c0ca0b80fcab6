"""Packets that a host does not believe, by their addresses alone.

Sources: net/ipv4/route.c (`ip_route_input_slow`, `__mkroute_input`), net/ipv4/fib_frontend.c
(`fib_validate_source`), net/ipv6/ip6_input.c (`ip6_rcv_core`) of Linux 6.x; RFC 1812, 5.3.7 and RFC 3704.
"""

from __future__ import annotations

from netverify.dataplane.packet import Packet
from netverify.dataplane.routing import Routing
from netverify.dataplane.view import DEFAULT_RULES, LOOPBACK, HostView


def refused_at_once(packet: Packet, device: str) -> str:
    """Why IPv6 takes no notice of what came in, before any hook; nothing where it does."""
    if packet.version == 4 or device == LOOPBACK:
        return ""
    source, destination = packet.source_address, packet.destination_address
    for end, address in (("source", source), ("destination", destination)):
        if address.is_loopback:
            return f"{end} {address} on {device}: it never leaves a host"
    return f"source {source} is a group" if source.is_multicast else ""


def impossible(packet: Packet, device: str, view: HostView) -> str:
    """Why IPv4 refuses what came in whatever its routes are, or nothing."""
    if packet.version == 6 or device == LOOPBACK:
        return ""
    source, destination = packet.source_address, packet.destination_address
    localnet = any(view.device_sysctl("ipv4", device, "route_localnet"))
    if source.is_multicast or packet.source == _LIMITED_BROADCAST:
        return f"martian source {source}"
    if packet.destination == _LIMITED_BROADCAST:
        return ""
    if packet.source == 0:
        return f"martian source {source}"
    if packet.destination == 0 or (destination.is_loopback and not localnet):
        return f"martian destination {destination} on {device}"
    if source.is_loopback and not destination.is_loopback and not localnet:
        return f"martian source {source} on {device}"
    return ""


def without_way_back(packet: Packet, device: str, routing: Routing) -> str:
    """Why the source cannot be behind that device, or nothing; asked where there is a way on.

    Without rp_filter the kernel looks no further than the host's own addresses, unless it has rules of
    routing that are not the usual ones.
    """
    if packet.version == 6 or device == LOOPBACK or packet.source == 0:
        return ""  # who has no address yet asks everybody (DHCP)
    view, source = routing.view, packet.source_address
    accepts_local = any(view.device_sysctl("ipv4", device, "accept_local"))
    strictness = max(view.device_sysctl("ipv4", device, "rp_filter"))
    if accepts_local and not strictness:
        return ""
    back = routing.lookup(4, packet.source, packet.destination)
    if back.kind == "local" and not accepts_local:
        return f"martian source {source}: it is this host's own"
    if back.kind == "broadcast" and (strictness or view.rules_of(4) != DEFAULT_RULES):
        return f"martian source {source}: it is a broadcast address"
    if strictness and back.kind not in ("unicast", "local"):
        return f"reverse path filter (rp_filter {strictness}): no route back to {source}"
    if strictness == 1 and back.kind == "unicast" and back.device != device:
        return f"reverse path filter (rp_filter 1): the way back to {source} is {back.device}, not {device}"
    return ""


def not_forwarded(packet: Packet, device: str, out_device: str) -> str:
    """Why IPv6 does not forward for such a sender, or nothing (ip6_forward).

    It asks only where the packet leaves by another device than the one by which it came in.
    """
    if packet.version == 4 or device == out_device:
        return ""
    source = packet.source_address
    if source.is_unspecified or source.is_multicast or source.is_loopback:
        return f"source {source} is nobody's to be forwarded"
    return ""


def cannot_leave(packet: Packet, device: str, view: HostView) -> bool:
    """Whether IPv4 has no way out for a packet from a loopback address (`__mkroute_output`)."""
    if packet.version == 6 or device == LOOPBACK or not packet.source_address.is_loopback:
        return False
    return not any(view.device_sysctl("ipv4", device, "route_localnet"))


_LIMITED_BROADCAST = 0xFFFFFFFF
