"""Several hosts and what connects them: a packet followed from sender to receiver, and the answer back.

Between hosts there are wires. Who a packet goes to is found as the kernel finds it: everybody on the wire,
and behind every bridge on it, is asked who has the next hop's address (ARP, RFC 826; neighbour discovery, RFC
4861). Each bridge on the way may show the packet to its host's packet filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from netverify.dataplane.connections import Connections
from netverify.dataplane.discovery import stopped_discovery
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import (
    ACK,
    ICMP,
    ICMPV6,
    RST,
    TCP,
    Address,
    Packet,
)
from netverify.dataplane.stack import (
    HOST_UNREACHABLE,
    PORT_UNREACHABLE,
    Bridged,
    Delivered,
    Fate,
    Redirected,
    Sent,
    Stack,
    Stopped,
)
from netverify.dataplane.targets import Reject
from netverify.dataplane.trace import Recorder, Trace
from netverify.dataplane.view import HostView, Link, Service

Plug = tuple[str, str]
"""A host's name and a device of it."""

MOST_HOPS = 64  # more than any time to live lets a packet go in a sensible network


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
    """How frames get from a device to the one who has an address: bridges passed, then the last device."""

    hops: tuple[Hop, ...]
    host: str
    device: str
    port: str | None
    first_port: str = ""


@dataclass(frozen=True)
class Exchange:
    """A question and its answer: what a probe would see.

    `outcome` is one of delivered, refused, prohibited, unreachable, filtered; `replied` says whether an
    answer came back. `beyond` is what a userland proxy asked in turn.
    """

    request: Trace
    answer: Trace | None
    outcome: str
    replied: bool
    receiver: str | None = None
    beyond: Exchange | None = None

    @property
    def decided(self) -> Trace:
        """The trace that says why: the request's, or the answer's where that one was lost."""
        lost = self.request.verdict == "delivered" and not self.replied
        return self.answer if lost and self.answer is not None else self.request


class World:
    """Hosts and wires. Made anew for each question that should begin without known connections."""

    def __init__(self, views: Iterable[HostView], wires: Iterable[Wire]) -> None:
        self.stacks = {view.name: Stack(view, on_wire=True) for view in views}
        self.wires = tuple(wires)
        self._on: dict[Plug, list[Wire]] = {}
        self._discovered: dict[tuple[str, str, str, str, IPv6Address], str] = {}
        for wire in self.wires:
            for plug in wire.plugs:
                if plug[0] not in self.stacks:
                    raise DataplaneError(f"a wire is plugged into {plug[0]}, which is no host")
                self._on.setdefault(plug, []).append(wire)

    def forget(self) -> None:
        """Begin anew: no host knows a connection."""
        for stack in self.stacks.values():
            stack.connections = Connections()

    def packet(self, host: str, destination: Address, protocol: str | int, **fields: int) -> Packet | None:
        """The packet that a socket of `host` sends there, with the source that the kernel chooses, if any."""
        routing = self.stacks[host].routing
        decision = routing.lookup(destination.version, int(destination))
        source = routing.source_for(decision, destination) if decision.device else None
        source = source or (destination if decision.kind == "none" else None)
        if source is None:
            return None
        return Packet.of(source, destination, protocol, **fields)

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
        recorder = Recorder()
        for stack in self.stacks.values():
            stack.recorder, stack.assume = recorder, assume or {}
        fate: Fate = begin(self.stacks[host])
        for _ in range(MOST_HOPS):
            if isinstance(fate, Sent):
                host, fate = self._carry(host, fate, recorder)
            elif isinstance(fate, Redirected):
                host, fate = self._redirect(host, fate)
            else:
                break
        return _told(packet, host, fate, recorder)

    def _carry(self, host: str, sent: Sent, recorder: Recorder) -> tuple[str, Fate]:
        """Over the wire, and over all bridges on it."""
        way = self.resolve(host, sent.device, sent.next_hop)
        if way is None:
            reason = f"nobody on {sent.device} answers for {sent.next_hop}"
            recorder.event(host, "sent", "neighbour", reason, sent.packet)
            answer = HOST_UNREACHABLE[sent.packet.version]
            return host, Stopped(sent.packet, reason, answer=answer, locally=sent.locally)
        if isinstance(sent.next_hop, IPv6Address):
            unheard = self._undiscovered(host, sent.device, way, sent.next_hop)
            if unheard:
                recorder.event(host, "sent", "neighbour", unheard, sent.packet)
        return self._along(way, sent.packet)

    def _undiscovered(self, host: str, device: str, way: Way, neighbour: IPv6Address) -> str:
        """Why neighbour discovery would fail; the packet goes on, as to a neighbour known for good."""
        key = (host, device, way.host, way.device, neighbour)
        if key not in self._discovered:
            ends = self.stacks[host], device, self.stacks[way.host], way.device
            self._discovered[key] = stopped_discovery(*ends, neighbour)
        return self._discovered[key]

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

    def _redirect(self, host: str, redirected: Redirected) -> tuple[str, Fate]:
        way = self.resolve(host, redirected.bridge, redirected.next_hop)
        stack = self.stacks[host]
        if way is None:
            return host, Stopped(
                redirected.packet, f"nobody on {redirected.bridge} answers for {redirected.next_hop}"
            )
        if way.first_port == redirected.port and not stack.view.link(way.first_port).hairpin:
            reason = f"it would leave {redirected.bridge} by the port it came in by, {redirected.port}"
            return host, Stopped(redirected.packet, reason)
        fate = stack.bridge_on(redirected.packet, redirected.bridge, way.first_port)
        return self._along(way, fate.packet) if isinstance(fate, Bridged) else (host, fate)

    def resolve(self, host: str, device: str, next_hop: Address) -> Way | None:
        """Ask everybody who can hear a device for an address: the way there, None where nobody answers."""
        view = self.stacks[host].view
        ports = [port.name for port in view.ports(device)] if view.link(device).is_bridge else [device]
        queue: deque[tuple[Plug, tuple[Hop, ...], str]] = deque(((host, port), (), port) for port in ports)
        seen: set[Plug] = {(host, port) for port in ports}
        while queue:
            plug, hops, first = queue.popleft()
            for heard in self._heard_by(plug):
                if heard in seen:
                    continue
                seen.add(heard)
                other = self.stacks[heard[0]].view
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

    def _heard_by(self, plug: Plug) -> Iterable[Plug]:
        if not self.stacks[plug[0]].view.link(plug[1]).up:
            return
        for wire in self._on.get(plug, ()):
            for other in sorted(wire.plugs - {plug}):
                if not {(plug, other), (other, plug)} & wire.apart:
                    yield other

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
        request = self.trace(packet, host, assume=assume)
        if request.verdict != "delivered":
            return self._refused(request, host, listening, assume)
        service = self._service(request, listening)
        if service is None:
            return self._closed(request, host, assume)
        if not service.answers and packet.protocol != TCP:
            return Exchange(request, None, "delivered", replied=False, receiver=request.host)
        if service.upstream is not None and packet.protocol != TCP:
            return self._proxied(request, None, service.upstream, listening, assume)
        answer = self.trace(request.final.reply(), request.host, assume=assume)
        arrived = answer.verdict == "delivered" and answer.host == host
        if service.upstream is None:  # the kernel completes a handshake, but says nothing for a service
            return Exchange(request, answer, "delivered", arrived and service.answers, request.host)
        if not arrived:  # without a handshake, the proxy never learns of the request
            return Exchange(request, answer, "filtered", replied=False)
        return self._proxied(request, answer, service.upstream, listening, assume)

    def _service(self, request: Trace, listening: Container[tuple[str, int]]) -> Service | None:
        packet = request.final
        if packet.protocol in (ICMP, ICMPV6):
            return Service(packet.protocol, 0)
        address = packet.destination_address
        offered = [
            service
            for service in self.stacks[request.host].view.services
            if (service.protocol, service.port) == (packet.protocol, packet.dport)
            and service.address in (None, address)
            and service.version in (None, packet.version)
        ]
        exact = [service for service in offered if service.address is not None]
        if exact or offered:
            return (exact or offered)[0]
        return Service(packet.protocol, packet.dport) if (request.host, packet.dport) in listening else None

    def _proxied(
        self,
        request: Trace,
        answer: Trace | None,
        upstream: tuple[Address, int],
        listening: Container[tuple[str, int]],
        assume: Mapping[str, bool] | None,
    ) -> Exchange:
        """A proxy opens a connection of its own, and passes on what comes back."""
        address, port = upstream
        sport = request.packet.sport
        packet = self.packet(request.host, address, request.packet.protocol, dport=port, sport=sport)
        if packet is None:
            return Exchange(request, answer, "refused", replied=False)
        beyond = self.ask(packet, request.host, listening=listening, assume=assume)
        if beyond.replied:
            return Exchange(request, answer, "delivered", True, beyond.receiver, beyond)
        silent = beyond.outcome in ("filtered", "delivered")
        return Exchange(request, answer, "filtered" if silent else "refused", replied=False, beyond=beyond)

    def _closed(self, request: Trace, host: str, assume: Mapping[str, bool] | None) -> Exchange:
        """Nobody listens: a TCP reset, or an ICMP error."""
        answer = PORT_UNREACHABLE[request.final.version]
        if request.final.protocol == TCP:
            answer = Reject(reset=True, words="TCP reset")
        back = self.trace(self._error(request.final, answer, request.host), request.host, assume=assume)
        arrived = back.verdict == "delivered" and back.host == host
        return Exchange(request, back, "refused" if arrived else "filtered", replied=False)

    def _refused(
        self,
        request: Trace,
        host: str,
        listening: Container[tuple[str, int]],
        assume: Mapping[str, bool] | None,
    ) -> Exchange:
        """The request did not arrive; perhaps the sender is told why."""
        answer, locally = request.answer, request.locally
        if answer is None:
            return Exchange(request, None, "filtered", replied=False)
        if locally and request.place is None:
            return Exchange(request, None, _outcome(answer), replied=False)
        back = self.trace(self._error(request.final, answer, request.host), request.host, assume=assume)
        arrived = back.verdict == "delivered" and back.host == host
        outcome = _outcome(answer) if arrived else "filtered"
        if outcome == "refused" and request.place is not None:
            # A filter speaks in the target's name, by a reset or where translation gives its error that
            # address. It is caught in the lie where somebody is known to listen there.
            packet = request.packet
            honest = back.final.source != packet.destination
            if honest or (self._owner(packet, host), packet.dport) in listening:
                outcome = "prohibited"
        return Exchange(request, back, outcome, replied=False)

    def _owner(self, packet: Packet, host: str) -> str:
        """The host that has the address which the sender asked; a loopback address is the sender's own."""
        address = packet.destination_address
        if address.is_loopback:
            return host
        owners = (n for n, stack in self.stacks.items() if address in stack.view.local_addresses)
        return next(owners, "")

    def _error(self, packet: Packet, answer: Reject, host: str) -> Packet:
        """The packet that tells a sender."""
        if answer.reset:
            reset = packet.reply()
            return reset.with_(tcp_flags=RST | ACK)
        routing = self.stacks[host].routing
        decision = routing.lookup(packet.version, packet.source)
        source: Address | None = packet.destination_address
        if source not in self.stacks[host].view.local_addresses:
            source = routing.source_for(decision, packet.source_address) if decision.device else None
        number = int(source) if source is not None else packet.destination
        protocol = ICMP if packet.version == 4 else ICMPV6
        return Packet(
            packet.version,
            number,
            packet.source,
            protocol,
            icmp_type=answer.icmp_type,
            icmp_code=answer.icmp_code,
            embedded=packet.tuple,
        )


def _answers(view: HostView, link: Link, address: Address) -> bool:
    """Whether a host answers for an address on a device: IPv4 for any of its own, IPv6 for the device's.

    That is Linux' default (arp_ignore 0); in IPv6 an address belongs to its device (ndisc_recv_ns).
    """
    if not link.up:
        return False
    if address.version == 6:
        return any(own.ip == address for own in link.addresses)
    return address in view.local_addresses and not address.is_loopback


def _outcome(answer: Reject) -> str:
    """What a sender makes of an error: refused, prohibited or unreachable (ip(7), RFC 4443)."""
    if answer.reset or (answer.icmp_type, answer.icmp_code) in ((3, 3), (3, 2), (1, 4)):
        return "refused"
    if (answer.icmp_type, answer.icmp_code) in ((3, 9), (3, 10), (3, 13), (1, 1), (1, 5), (1, 6)):
        return "prohibited"
    return "unreachable"


def _told(packet: Packet, host: str, fate: Fate, recorder: Recorder) -> Trace:
    steps, assumed = tuple(recorder.steps), tuple(recorder.assumed.items())
    if isinstance(fate, Delivered):
        return Trace(packet, fate.packet, "delivered", "to the host's sockets", host, None, steps, assumed)
    if isinstance(fate, Stopped):
        verdict = "dropped"
        if fate.answer is not None:
            verdict = "unreachable" if fate.place is None else "rejected"
        told = Trace(packet, fate.packet, verdict, fate.reason, host, fate.place, steps, assumed)
        return replace(told, answer=fate.answer, locally=fate.locally)
    return Trace(packet, fate.packet, "sent", "it goes in circles", host, None, steps, assumed)
