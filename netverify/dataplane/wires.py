"""Wires between hosts, and the way of a frame over them: who hears whom, over which bridges.

Who a packet goes to is found as the kernel finds it: everybody on the wire, and behind every bridge on it, is
asked who has the next hop's address (ARP, RFC 826; neighbour discovery, RFC 4861). Whether packet filters let
that question pass is the subject of `discovery`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import Address
from netverify.dataplane.view import HostView, Link

Plug = tuple[str, str]
"""A host's name and a device of it."""


@dataclass(frozen=True)
class Wire:
    """Devices that hear each other: a cable, a switch.

    Pairs in `apart` do not: a device, and what stands on it (a macvlan).
    """

    plugs: frozenset[Plug]
    apart: frozenset[tuple[Plug, Plug]] = frozenset()


@dataclass(frozen=True, slots=True)
class Hop:
    """One bridge on the way: in by a port, out by another."""

    host: str
    bridge: str
    port: str
    to_port: str


@dataclass(frozen=True, slots=True)
class Way:
    """How frames get from a device to the one who has an address: bridges passed, then the last device.

    That is `device`, and where it is a bridge, `port` is the port of it by which they come in. `first_port`
    is the device by which they leave: a port where the first device is a bridge, else that device itself.
    """

    hops: tuple[Hop, ...]
    host: str
    device: str
    port: str | None
    first_port: str = ""

    def back(self, host: str, device: str) -> Way:
        """The way of an answer to who asked: `device` of `host`, over the same bridges."""
        hops = tuple(replace(hop, port=hop.to_port, to_port=hop.port) for hop in reversed(self.hops))
        port = None if self.first_port == device else self.first_port
        return Way(hops, host, device, port, self.port or self.device)


class Wiring:
    """The wires between hosts, ready to be asked."""

    def __init__(self, views: Mapping[str, HostView], wires: Iterable[Wire]) -> None:
        self._views = views
        self._on: dict[Plug, list[Wire]] = {}
        for wire in wires:
            for plug in wire.plugs:
                if plug[0] not in views:
                    raise DataplaneError(f"a wire is plugged into {plug[0]}, which is no host")
                self._on.setdefault(plug, []).append(wire)

    def resolve(self, host: str, device: str, next_hop: Address) -> Way | None:
        """Ask everybody who can hear a device for an address: the way there, None where nobody answers."""
        view = self._views[host]
        ports = [port.name for port in view.ports(device)] if view.link(device).is_bridge else [device]
        queue: deque[tuple[Plug, tuple[Hop, ...], str]] = deque(((host, port), (), port) for port in ports)
        seen: set[Plug] = {(host, port) for port in ports}
        while queue:
            plug, hops, first = queue.popleft()
            for heard in self._heard_by(plug):
                if heard in seen:
                    continue
                seen.add(heard)
                other = self._views[heard[0]]
                link = other.link(heard[1])
                if not link.up:
                    continue
                if link.master is None:
                    if _answers(other, link, next_hop):
                        return Way(hops, heard[0], link.name, None, first)
                    continue
                if _answers(other, other.link(link.master), next_hop):
                    return Way(hops, heard[0], link.master, link.name, first)
                for port in other.ports(link.master):
                    onward = (heard[0], port.name)
                    if onward not in seen and port.up:
                        seen.add(onward)
                        hop = Hop(heard[0], link.master, link.name, port.name)
                        queue.append((onward, (*hops, hop), first))
        return None

    def _heard_by(self, plug: Plug) -> Iterator[Plug]:
        if not self._views[plug[0]].link(plug[1]).up:
            return
        for wire in self._on.get(plug, ()):
            for other in sorted(wire.plugs - {plug}):
                if not {(plug, other), (other, plug)} & wire.apart:
                    yield other


def _answers(view: HostView, link: Link, address: Address) -> bool:
    """Whether a host answers for an address on a device: IPv4 for any of its own, IPv6 for the device's.

    That is Linux' default (arp_ignore 0); in IPv6 an address belongs to its device (ndisc_recv_ns).
    """
    if not link.up:
        return False
    if address.version == 6:
        return any(own.ip == address for own in link.addresses)
    return address in view.local_addresses and not address.is_loopback
