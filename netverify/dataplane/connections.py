"""Connection tracking of one host, for as many packets as a trace sends through it.

Sources: net/netfilter/nf_conntrack_core.c, nf_conntrack_proto_{tcp,icmp,icmpv6}.c, nf_nat_core.c. What a
connection's translation is, is kept as the kernel keeps it: in the tuple that the reply is expected to have.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from netverify.dataplane.packet import ICMP, ICMPV6, RST, TCP, Packet, State, Tuple
from netverify.dataplane.tcp_tracking import Judgement, TcpState, TcpTracker, is_sensible

SOURCE, DESTINATION = 1, 2
"""Which half of a packet a translation writes; the bits of `Packet.ct_nat`."""


@dataclass
class Connection:
    """One entry of the table. `decided` holds the halves for which the nat table has been asked."""

    original: Tuple
    reply: Tuple
    mark: int = 0
    seen_reply: bool = False
    confirmed: bool = False
    decided: set[int] = field(default_factory=set)
    tcp: TcpTracker = field(default_factory=TcpTracker)
    masqueraded: str = ""
    """The device whose address it was given; by another one it must not leave (nf_nat_oif_changed)."""

    def judge(self, packet: Packet, direction: int) -> Judgement:
        """What the tracker of its protocol says of a packet; all but TCP's take everything."""
        if packet.protocol != TCP:
            return Judgement.VALID
        return self.tcp.segment(packet.tcp_flags, direction, seen_reply=self.seen_reply)

    @property
    def translated(self) -> int:
        """Which halves are translated."""
        source = (self.reply.destination, self.reply.dport) != (self.original.source, self.original.sport)
        target = (self.reply.source, self.reply.sport) != (self.original.destination, self.original.dport)
        return SOURCE * source + DESTINATION * target


class Connections:
    """The table of connections of one host."""

    def __init__(self) -> None:
        self._by_tuple: dict[Tuple, tuple[Connection, int]] = {}
        self._attached: tuple[Tuple, Connection, int] | None = None

    def attach(self, packet: Packet, connection: Connection | None, *, reset: bool = False) -> None:
        """The packet is rejected: what its sender is told belongs to its connection (nf_ct_attach).

        That is so even of a connection that nobody confirmed, which no tuple leads to. A `reset` ends one
        that was confirmed (nf_ct_set_closing).
        """
        if reset and connection is not None and connection.confirmed and not packet.tcp_flags & RST:
            connection.tcp.state = TcpState.CLOSE
        # Nobody is told about an ICMP error, and no reset answers another.
        silent = packet.embedded is not None or (reset and packet.tcp_flags & RST)
        if connection is None or silent:
            self._attached = None
        else:
            self._attached = packet.tuple, connection, packet.ct_direction

    def resume(self, packet: Packet) -> tuple[Packet, Connection | None]:
        """A packet that the host sends: what tells a sender has a connection from the very first hook on."""
        attached, self._attached = self._attached, None
        if attached is None or attached[0] not in (packet.embedded, packet.tuple.inverse):
            return packet, None
        _told, connection, direction = attached
        return described(packet, connection, 1 - direction, State.RELATED), connection

    def enter(self, packet: Packet) -> tuple[Packet, Connection | None]:
        """What conntrack says when a packet passes its hook; a new connection is not confirmed yet."""
        if packet.state == State.UNTRACKED:
            return packet, None
        if packet.protocol == ICMPV6 and 130 <= packet.icmp_type <= 137:  # neighbour discovery and its like
            return packet.with_(state=State.UNTRACKED), None
        if packet.embedded is not None:
            known = self._by_tuple.get(packet.embedded.inverse)
            if known is None:
                return packet.with_(state=State.INVALID), None
            return described(packet, known[0], known[1], State.RELATED), known[0]
        if packet.protocol == TCP and not is_sensible(packet.tcp_flags):
            return packet.with_(state=State.INVALID), None
        known = self._by_tuple.get(packet.tuple)
        if known is None:
            return self._begun(packet)
        connection, direction = known
        said = connection.judge(packet, direction)
        if said is Judgement.INVALID:
            return packet.with_(state=State.INVALID), None
        if said is not Judgement.VALID:
            self.forget(connection)
        if said is Judgement.REOPENED:
            return self._begun(packet)
        if direction == 1:
            connection.seen_reply = True
        state = State.ESTABLISHED if connection.seen_reply else State.NEW
        return described(packet, connection, direction, state), connection

    def _begun(self, packet: Packet) -> tuple[Packet, Connection | None]:
        """The packet as the first of a connection, where it can be one."""
        fresh = Connection(packet.tuple, packet.tuple.inverse)
        if not _begins(packet) or fresh.judge(packet, 0) is Judgement.INVALID:
            return packet.with_(state=State.INVALID), None
        return described(packet, fresh, 0, State.NEW), fresh

    def forget(self, connection: Connection) -> None:
        """The connection is taken out of the table."""
        for key in (connection.original, connection.reply):
            if self.known(key) is connection:
                del self._by_tuple[key]

    def known(self, key: Tuple) -> Connection | None:
        """The connection that packets of this tuple belong to, in either direction."""
        found = self._by_tuple.get(key)
        return None if found is None else found[0]

    def confirm(self, packet: Packet, connection: Connection | None) -> None:
        """The packet leaves the host or reaches a socket: from now on others are known by it."""
        if connection is None:
            return
        connection.mark = packet.connmark
        if not connection.confirmed and packet.ct_direction == 0:
            connection.confirmed = True
            self._by_tuple[connection.original] = (connection, 0)
            if connection.reply == connection.original:  # the reply is found first (nf_conntrack_hash_insert)
                self._by_tuple[connection.reply] = (connection, 1)
            self._by_tuple.setdefault(connection.reply, (connection, 1))


def described(packet: Packet, connection: Connection, direction: int, state: State) -> Packet:
    """The packet with everything that rules can ask about its connection."""
    original, reply = connection.original, connection.reply
    return packet.with_(
        state=state,
        tracked=1,
        ct_direction=direction,
        ct_nat=connection.translated,
        ct_seen_reply=int(connection.seen_reply),
        ct_protocol=original.protocol,
        ct_source=original.source,
        ct_destination=original.destination,
        ct_sport=original.sport,
        ct_dport=original.dport,
        reply_source=reply.source,
        reply_destination=reply.destination,
        reply_sport=reply.sport,
        reply_dport=reply.dport,
        connmark=connection.mark,
    )


def translated(packet: Packet, connection: Connection, half: int) -> Packet:
    """The packet after one half of its connection's translation: the source or the destination."""
    wanted = connection.original if packet.ct_direction else connection.reply
    target = wanted.inverse
    ported = packet.protocol not in (ICMP, ICMPV6)
    if packet.embedded is not None:
        return _translated_error(packet, connection, half)
    if half == DESTINATION:
        changed = packet.with_(destination=target.destination)
        return changed.with_(dport=target.dport) if ported else changed
    changed = packet.with_(source=target.source)
    return changed.with_(sport=target.sport) if ported else changed


def _translated_error(packet: Packet, connection: Connection, half: int) -> Packet:
    """An ICMP error: outside, and the other way round inside (nf_nat_icmp_reply_translation)."""
    if packet.embedded is None or not connection.translated & (
        half if packet.ct_direction == 0 else SOURCE + DESTINATION - half
    ):
        return packet
    seen = connection.original if packet.ct_direction else connection.reply
    if half == DESTINATION:
        inner = replace(packet.embedded, source=seen.source, sport=seen.sport)
        return packet.with_(destination=seen.source, embedded=inner)
    inner = replace(packet.embedded, destination=seen.destination, dport=seen.dport)
    return packet.with_(source=seen.destination, embedded=inner)


def _begins(packet: Packet) -> bool:
    """Whether a packet can be the first of a connection; of TCP, its tracker says that."""
    if packet.protocol == ICMP:
        return packet.icmp_type in (8, 13, 15, 17)
    if packet.protocol == ICMPV6:
        return packet.icmp_type in (128, 139)
    return True
