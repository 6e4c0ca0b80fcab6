"""A question and its answer between the hosts of a world: what a probe would see."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from netverify.dataplane import answers
from netverify.dataplane.outcomes import PORT_UNREACHABLE
from netverify.dataplane.packet import ICMP, ICMPV6, TCP, Address, Packet
from netverify.dataplane.targets import Reject
from netverify.dataplane.trace import Trace
from netverify.dataplane.view import Service

if TYPE_CHECKING:
    from netverify.dataplane.world import World


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
        """The trace that says why: the request's, or the answer's where that one was lost.

        Where one of them waited in vain for a neighbour, it is that of the question for that neighbour.
        """
        lost = self.request.verdict == "delivered" and not self.replied
        told = self.answer if lost and self.answer is not None else self.request
        return told.discovery or told


@dataclass(frozen=True)
class Asking:
    """Asks in one world. `listening` are (host, port) pairs beside the hosts' services, for any protocol."""

    world: World
    listening: Container[tuple[str, int]] = frozenset()
    assume: Mapping[str, bool] | None = None

    def ask(self, packet: Packet, host: str) -> Exchange:
        """Send a request from a socket of `host` and follow what comes back."""
        request = self._trace(packet, host)
        if request.verdict != "delivered":
            return self._refused(request, host)
        service = self._service(request)
        if service is None:
            return self._closed(request, host)
        if not service.answers and packet.protocol != TCP:
            return Exchange(request, None, "delivered", replied=False, receiver=request.host)
        if service.upstream is not None and packet.protocol != TCP:
            return self._datagram_proxied(request, host, service, service.upstream)
        answer = self._trace(request.final.reply(), request.host)
        arrived = answer.verdict == "delivered" and answer.host == host
        if service.upstream is None:  # the kernel completes a handshake, but says nothing for a service
            return Exchange(request, answer, "delivered", arrived and service.answers, request.host)
        if not arrived:  # without a handshake, the proxy never learns of the request
            return Exchange(request, answer, "filtered", replied=False)
        return self._proxied(request, answer, service.upstream)

    def _datagram_proxied(
        self, request: Trace, host: str, service: Service, upstream: tuple[Address, int]
    ) -> Exchange:
        """A proxy passes a datagram on, and an answer back from its own socket; clients look who answers."""
        found = self._proxied(request, None, upstream)
        if not found.replied:
            return found
        answer = request.final.reply()
        if service.address is None and not service.answers_as_asked:
            routing = self.world.stacks[request.host].routing
            decision = routing.lookup(answer.version, answer.destination)
            picked = routing.source_for(decision, answer.destination_address) if decision.device else None
            answer = answer if picked is None else answer.with_(source=int(picked))
        back = self._trace(answer, request.host)
        arrived = back.verdict == "delivered" and back.host == host
        # Translation may have given the answer another source on its way, or the right one again.
        if arrived and back.final.source != request.packet.destination:
            said, asked = back.final.source_address, request.packet.destination_address
            back = replace(back, reason=f"answered from {said}, and {asked} was asked: clients discard that")
            arrived = False
        return replace(found, answer=back, replied=arrived)

    def _trace(self, packet: Packet, host: str) -> Trace:
        return self.world.trace(packet, host, assume=self.assume)

    def _service(self, request: Trace) -> Service | None:
        packet = request.final
        if packet.protocol in (ICMP, ICMPV6):
            return Service(packet.protocol, 0)
        address = packet.destination_address
        offered = [
            service
            for service in self.world.stacks[request.host].view.services
            if (service.protocol, service.port) == (packet.protocol, packet.dport)
            and service.address in (None, address)
            and service.version in (None, packet.version)
        ]
        exact = [service for service in offered if service.address is not None]
        if exact or offered:
            return (exact or offered)[0]
        heard = (request.host, packet.dport) in self.listening
        return Service(packet.protocol, packet.dport) if heard else None

    def _proxied(self, request: Trace, answer: Trace | None, upstream: tuple[Address, int]) -> Exchange:
        """A proxy opens a connection of its own, and passes on what comes back."""
        address, port = upstream
        sport = request.packet.sport
        packet = self.world.packet(request.host, address, request.packet.protocol, dport=port, sport=sport)
        if packet is None:
            return Exchange(request, answer, "refused", replied=False)
        beyond = self.ask(packet, request.host)
        if beyond.replied:
            return Exchange(request, answer, "delivered", True, beyond.receiver, beyond)
        silent = beyond.outcome in ("filtered", "delivered")
        return Exchange(request, answer, "filtered" if silent else "refused", replied=False, beyond=beyond)

    def _closed(self, request: Trace, host: str) -> Exchange:
        """Nobody listens: a TCP reset, or an ICMP error."""
        said = PORT_UNREACHABLE[request.final.version]
        if request.final.protocol == TCP:
            said = Reject(reset=True, words="TCP reset")
        back, arrived = self._told(request, said, host)
        return Exchange(request, back, "refused" if arrived else "filtered", replied=False)

    def _refused(self, request: Trace, host: str) -> Exchange:
        """The request did not arrive; perhaps the sender is told why."""
        said, locally = request.answer, request.locally
        if said is None:
            return Exchange(request, None, "filtered", replied=False)
        if locally and request.place is None:
            return Exchange(request, None, _outcome(said), replied=False)
        back, arrived = self._told(request, said, host)
        outcome = _outcome(said) if arrived else "filtered"
        if back is not None and outcome == "refused" and request.place is not None:
            # A filter speaks in the target's name, by a reset or where translation gives its error that
            # address. It is caught in the lie where somebody is known to listen there.
            packet = request.packet
            honest = back.final.source != packet.destination
            if honest or (self._owner(packet, host), packet.dport) in self.listening:
                outcome = "prohibited"
        return Exchange(request, back, outcome, replied=False)

    def _told(self, request: Trace, said: Reject, host: str) -> tuple[Trace | None, bool]:
        """What tells the sender, where anything may, and whether it gets there."""
        routing = self.world.stacks[request.host].routing
        packet = answers.refusal(request.final, said, routing, filtered=request.place is not None)
        if packet is None:
            return None, False
        back = self._trace(packet, request.host)
        return back, back.verdict == "delivered" and back.host == host

    def _owner(self, packet: Packet, host: str) -> str:
        """The host that has the address which the sender asked; a loopback address is the sender's own."""
        address = packet.destination_address
        if address.is_loopback:
            return host
        stacks = self.world.stacks.items()
        return next((name for name, stack in stacks if address in stack.view.local_addresses), "")


def _outcome(answer: Reject) -> str:
    """What a sender makes of an error: refused, prohibited or unreachable (ip(7), RFC 4443)."""
    if answer.reset or (answer.icmp_type, answer.icmp_code) in ((3, 3), (3, 2), (1, 4)):
        return "refused"
    if (answer.icmp_type, answer.icmp_code) in ((3, 9), (3, 10), (3, 13), (1, 1), (1, 5), (1, 6)):
        return "prohibited"
    return "unreachable"
