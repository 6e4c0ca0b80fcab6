"""What a new connection is translated to on one host: a rule's wish, the host's own addresses, the choice."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from netverify.dataplane.connections import DESTINATION, SOURCE, Connection
from netverify.dataplane.packet import ICMP, ICMPV6, Address, Packet
from netverify.dataplane.routing import Routing
from netverify.dataplane.translation import Choice, Nat, NatKind, choose
from netverify.dataplane.view import HostView

DIVERTED = {4: int(ip_address("127.0.0.1")), 6: int(ip_address("::1"))}
"""Where REDIRECT leads the host's own packets (nf_nat_redirect.c)."""


class Mapper:
    """Translations on one host."""

    def __init__(self, view: HostView, routing: Routing) -> None:
        self.view, self.routing = view, routing

    def choice(self, nat: Nat, half: int, packet: Packet, connection: Connection) -> Choice | None:
        """What a translation may make of a half of a connection; None where there is no address to take.

        It begins with what the connection is so far (nf_nat_setup_info), not with what rules wrote into the
        packet.
        """
        found = self._found_address(nat, packet)
        if found is None and nat.kind in (NatKind.REDIRECT, NatKind.MASQUERADE):
            return None
        of_source = half == SOURCE
        so_far = connection.reply.inverse
        old, port = (so_far.source, so_far.sport) if of_source else (so_far.destination, so_far.dport)
        return choose(nat, of_source=of_source, protocol=packet.protocol, old=old, port=port, to=found)

    def fix(self, connection: Connection, half: int, choice: Choice, packet: Packet) -> None:
        """Make the first of a choice a new connection's translation, as the reply that it expects."""
        number, port = choice.first
        reply, ported = connection.reply, packet.protocol not in (ICMP, ICMPV6)
        if half == DESTINATION:
            connection.reply = replace(reply, source=number, sport=port if ported else reply.sport)
        else:
            connection.reply = replace(reply, destination=number, dport=port if ported else reply.dport)

    def _found_address(self, nat: Nat, packet: Packet) -> int | None:
        """The host's own address that REDIRECT and MASQUERADE take, if there is one."""
        version = packet.version
        if nat.kind is NatKind.REDIRECT:
            if not packet.in_interface:
                return DIVERTED[version]
            own = [a.ip for a in self.view.link(packet.in_interface).addresses if a.version == version]
            if version == 6:  # an address of the scope of the one that was asked (nf_nat_redirect_ipv6)
                scope = _scope(packet.destination_address)
                own = [address for address in own if _scope(address) == scope]
            return int(own[0]) if own else None
        if nat.kind is NatKind.MASQUERADE:
            decision = self.routing.decide(packet)
            towards = decision.next_hop or packet.destination_address
            chosen = self.routing.address_of(packet.out_interface, towards)
            return None if chosen is None else int(chosen)
        return None


def _scope(address: Address) -> tuple[bool, bool]:
    return address.is_loopback, address.is_link_local
