"""Several hosts and what connects them: a packet followed from sender to receiver, and the answer back.

Between hosts there are wires (`wires`). In IPv6 the next hop is asked for by packets, which rules may stop
(`discovery`). Each bridge on the way may show the packet to its host's packet filter.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv6Address

from netverify.dataplane.discovery import Discovered, Discovery, Neighbour, link_local, source_of_question
from netverify.dataplane.exchange import Asking, Exchange
from netverify.dataplane.inquiry import Inquiry
from netverify.dataplane.outcomes import (
    HOST_UNREACHABLE,
    Bridged,
    Delivered,
    Fate,
    Redirected,
    Sent,
    Stopped,
)
from netverify.dataplane.packet import Address, Packet
from netverify.dataplane.stack import Stack
from netverify.dataplane.trace import Recorder, Trace
from netverify.dataplane.view import HostView
from netverify.dataplane.wires import Hop, Plug, Way, Wire, Wiring

__all__ = ["MOST_HOPS", "Exchange", "Hop", "Plug", "Way", "Wire", "World"]

MOST_HOPS = 64  # more than any time to live lets a packet go in a sensible network


class World:
    """Hosts and wires. Made anew for each question that should begin without known connections.

    Nobody knows anybody's Ethernet address in the beginning, and nothing is forgotten while packets are
    followed.
    """

    def __init__(self, views: Iterable[HostView], wires: Iterable[Wire]) -> None:
        self.stacks = {view.name: Stack(view, on_wire=True) for view in views}
        self.wires = tuple(wires)
        self.inquiry = Inquiry()
        for stack in self.stacks.values():
            stack.inquiry = self.inquiry
        self.discovery = Discovery(self.stacks)
        self._wiring = Wiring({name: stack.view for name, stack in self.stacks.items()}, self.wires)
        self._neighbours: set[Neighbour] = set()

    def put(self, stack: Stack) -> None:
        """Put another host in the place of the one of that name: with other rules, say, on the same wires."""
        stack.inquiry = self.inquiry
        self.stacks[stack.view.name] = stack

    def forget(self) -> None:
        """Begin anew: no host knows a connection, or a neighbour."""
        self._neighbours.clear()
        self.inquiry.tables.clear()

    def packet(self, host: str, destination: Address, protocol: str | int, **fields: int) -> Packet | None:
        """The packet that a socket of `host` sends there, with the source that the kernel chooses, if any."""
        routing = self.stacks[host].routing
        decision = routing.lookup(destination.version, int(destination))
        source = routing.source_for(decision, destination) if decision.device else None
        source = source or (destination if decision.kind == "none" else None)
        if source is None:
            return None
        return Packet.of(source, destination, protocol, **fields)

    def resolve(self, host: str, device: str, next_hop: Address) -> Way | None:
        """The way to who has an address and hears a device, whatever rules say; None if there is nobody."""
        return self._wiring.resolve(host, device, next_hop)

    def learns(self, host: str, device: str, neighbour: Address) -> bool:
        """Whether a host finds out who has an address by asking, whatever it wants to send there."""
        way = self.resolve(host, device, neighbour)
        link = self.stacks[host].view.link(device)
        if way is None or not isinstance(neighbour, IPv6Address):
            return way is not None
        if not link.asks or self.discovery.is_open(host, way):
            return True
        own = [address.ip for address in link.addresses if isinstance(address.ip, IPv6Address)]
        sources = {*own, link_local(link)}
        found = (self.discovery.ask(host, device, way, neighbour, source) for source in sources)
        return all(one.failed is None for one in found)

    # --- following ------------------------------------------------------------------------------------------

    def trace(self, packet: Packet, host: str, *, assume: Mapping[str, bool] | None = None) -> Trace:
        """The packet's way from a socket of `host` to its end."""
        return self._follow(packet, host, assume, lambda stack: stack.send(packet))

    def enter(
        self, packet: Packet, host: str, device: str, *, assume: Mapping[str, bool] | None = None
    ) -> Trace:
        """The packet's way from a device of `host`, where it comes in addressed to that host."""
        link = self.stacks[host].view.link(device)
        if link.master is None:
            return self._follow(packet, host, assume, lambda stack: stack.receive(packet, device))
        bridge = link.master
        return self._follow(packet, host, assume, lambda stack: stack.bridge(packet, bridge, device, None))

    def _follow(
        self, packet: Packet, host: str, assume: Mapping[str, bool] | None, begin: Callable[[Stack], Fate]
    ) -> Trace:
        recorder = self.inquiry.recorder = Recorder()
        self.inquiry.assume = assume or {}
        fate: Fate = begin(self.stacks[host])
        for _ in range(MOST_HOPS):
            if isinstance(fate, Sent):
                host, fate = self._carry(host, fate, recorder)
            elif isinstance(fate, Redirected):
                host, fate = self._redirect(host, fate, recorder)
            else:
                break
        return _told(packet, host, fate, recorder)

    def _carry(self, host: str, sent: Sent, recorder: Recorder) -> tuple[str, Fate]:
        """Over the wire, and over all bridges on it."""
        found = self._neighbour(host, sent.device, sent.next_hop, sent.packet, recorder)
        if isinstance(found, Way):
            return self._along(found, sent.packet)
        # A socket of this host, too, is told by a packet, by lo (ipv4_link_failure, ip6_link_failure).
        return host, replace(found, answer=HOST_UNREACHABLE[sent.packet.version])

    def _neighbour(
        self, host: str, device: str, next_hop: Address, packet: Packet, recorder: Recorder
    ) -> Way | Stopped:
        """The way to the next hop, where somebody has the address and the question for it is answered."""
        way = self.resolve(host, device, next_hop)
        found = Discovered()
        reason = "" if way is not None else f"nobody on {device} answers for {next_hop}"
        if way is not None and isinstance(next_hop, IPv6Address):
            found = self._discovered(host, device, way, next_hop, packet)
            recorder.assumed |= dict(found.assumed)
            reason = "" if found.failed is None else found.failed.reason
        if way is not None and not reason:
            return way
        recorder.event(host, "sent", "neighbour", reason, packet)
        return Stopped(packet, reason, discovery=found.failed)

    def _discovered(
        self, host: str, device: str, way: Way, neighbour: IPv6Address, packet: Packet
    ) -> Discovered:
        stack = self.stacks[host]
        if not stack.view.link(device).asks or (host, device, neighbour) in self._neighbours:
            return Discovered()
        source = source_of_question(stack.view, device, packet.source)
        found = self.discovery.ask(host, device, way, neighbour, source, stack.assume)
        self._neighbours |= found.learned
        return found

    def _along(self, way: Way, packet: Packet) -> tuple[str, Fate]:
        for hop in way.hops:
            fate = self.stacks[hop.host].bridge(packet, hop.bridge, hop.port, hop.to_port)
            if not isinstance(fate, Bridged):
                return hop.host, fate
            packet = fate.packet
        stack = self.stacks[way.host]
        if way.port is None:
            return way.host, stack.receive(packet, way.device)
        return way.host, stack.bridge(packet, way.device, way.port, None)

    def _redirect(self, host: str, redirected: Redirected, recorder: Recorder) -> tuple[str, Fate]:
        bridge, packet = redirected.bridge, redirected.packet
        way = self._neighbour(host, bridge, redirected.next_hop, packet, recorder)
        if isinstance(way, Stopped):
            return host, way
        stack = self.stacks[host]
        if way.first_port == redirected.port and not stack.view.link(way.first_port).hairpin:
            reason = f"it would leave {bridge} by the port it came in by, {redirected.port}"
            return host, Stopped(packet, reason)
        fate = stack.bridge_on(packet, bridge, way.first_port)
        return self._along(way, fate.packet) if isinstance(fate, Bridged) else (host, fate)

    # --- asking ---------------------------------------------------------------------------------------------

    def ask(
        self,
        packet: Packet,
        host: str,
        *,
        listening: Container[tuple[str, int]] = frozenset(),
        assume: Mapping[str, bool] | None = None,
    ) -> Exchange:
        """Send a request and follow what comes back.

        A host offers what its `services` say; `listening` adds (host, port) pairs, for any protocol.
        Everybody answers ICMP echo.
        """
        return Asking(self, listening, assume).ask(packet, host)


def _told(packet: Packet, host: str, fate: Fate, recorder: Recorder) -> Trace:
    steps, assumed = tuple(recorder.steps), tuple(recorder.assumed.items())
    if isinstance(fate, Delivered):
        return Trace(packet, fate.packet, "delivered", "to the host's sockets", host, None, steps, assumed)
    if isinstance(fate, Stopped):
        verdict = "dropped"
        if fate.answer is not None:
            verdict = "unreachable" if fate.place is None else "rejected"
        told = Trace(packet, fate.packet, verdict, fate.reason, host, fate.place, steps, assumed)
        return replace(told, answer=fate.answer, locally=fate.locally, discovery=fate.discovery)
    return Trace(packet, fate.packet, "sent", "it goes in circles", host, None, steps, assumed)
