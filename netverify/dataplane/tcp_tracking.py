"""How connection tracking follows TCP by its flags, and which segments it calls invalid.

The states and what leads from one to the other are those of net/netfilter/nf_conntrack_proto_tcp.c
(`tcp_conntracks`, `nf_conntrack_tcp_packet`, `tcp_error`) of Linux 6.x. A packet here has no sequence
numbers: every segment counts as inside the window, every reset as the right one, and a SYN+ACK as
acknowledging the SYN before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from netverify.dataplane.packet import ACK, FIN, PSH, RST, SYN, URG


class TcpState(IntEnum):
    """What the tracker believes of a connection."""

    NONE = 0
    SYN_SENT = 1
    SYN_RECV = 2
    ESTABLISHED = 3
    FIN_WAIT = 4
    CLOSE_WAIT = 5
    LAST_ACK = 6
    TIME_WAIT = 7
    CLOSE = 8
    SYN_SENT2 = 9


class Judgement(Enum):
    """What the tracker says of a segment: REOPENED means that the connection is forgotten and begins anew."""

    VALID = "valid"
    INVALID = "invalid"
    REOPENED = "reopened"
    OVER = "valid, and the connection is forgotten"


_STATES = {
    "NO": TcpState.NONE, "SS": TcpState.SYN_SENT, "SR": TcpState.SYN_RECV, "ES": TcpState.ESTABLISHED,
    "FW": TcpState.FIN_WAIT, "CW": TcpState.CLOSE_WAIT, "LA": TcpState.LAST_ACK, "TW": TcpState.TIME_WAIT,
    "CL": TcpState.CLOSE, "S2": TcpState.SYN_SENT2,
}  # fmt: skip
_INVALID, _IGNORED = "IV", "IG"


def _row(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# One row for each kind of segment; its columns are the states in TcpState's order.
_NEXT: tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = (
    {
        "syn": _row("SS SS IG IG IG IG IG SS SS S2"),
        "syn+ack": _row("IV IV SR IV IV IV IV IV IV SR"),
        "fin": _row("IV IV FW FW LA LA LA TW CL IV"),
        "ack": _row("ES IV ES ES CW CW TW TW CL IV"),
        "rst": _row("IV CL CL CL CL CL CL CL CL CL"),
    },
    {
        "syn": _row("IV S2 IV IV IV IV IV SS IV S2"),
        "syn+ack": _row("IV SR IG IG IG IG IG IG IG SR"),
        "fin": _row("IV IV FW FW LA LA LA TW CL IV"),
        "ack": _row("IV IG SR ES CW CW TW TW CL IG"),
        "rst": _row("IV CL CL CL CL CL CL CL CL CL"),
    },
)
_SENSIBLE = frozenset({SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG})


def is_sensible(flags: int) -> bool:
    """Whether a segment with these flags can be valid at all (tcp_error)."""
    return flags & 0x3F & ~PSH in _SENSIBLE


def _kind(flags: int) -> str:
    if flags & RST:
        return "rst"
    if flags & SYN:
        return "syn+ack" if flags & ACK else "syn"
    return "fin" if flags & FIN else "ack"


@dataclass
class TcpTracker:
    """One connection's state, and the segment that was seen last."""

    state: TcpState = TcpState.NONE
    assured: bool = False
    _last: tuple[str, int] = ("", 0)  # kind and direction
    _closing: bool = False  # somebody has sent a FIN in due order
    _simultaneous: bool = False
    _challenged: bool = False  # a SYN came late: the next ACK of the other side may be about that (RFC 5961)

    def segment(self, flags: int, direction: int, *, seen_reply: bool) -> Judgement:
        """A segment passes. `seen_reply` tells whether one has passed the other way before."""
        kind, old = _kind(flags), self.state
        word = _NEXT[direction][kind][old]
        if word == _INVALID:
            return Judgement.INVALID
        if word == "SS" and old >= TcpState.TIME_WAIT:
            if self._closing or self._last == ("rst", direction):
                return Judgement.REOPENED
            word = _IGNORED
        if word == _IGNORED:
            if not (kind == "syn+ack" and self._last == ("syn", 1 - direction)):
                return self._ignored(kind, direction)
            word = "SR"  # both ends are in step, the tracker was not: it takes over what they say
            old = TcpState.SYN_SENT
        new = _STATES[word]
        ends = new is TcpState.TIME_WAIT and old is TcpState.LAST_ACK and kind == "ack"
        if ends and self._challenged and self._last == ("syn", 1 - direction):
            self._challenged = False
            return Judgement.VALID
        if new is TcpState.SYN_SENT2:
            self._simultaneous = True
        if new is TcpState.SYN_RECV and direction == 1 and kind == "ack" and self._simultaneous:
            new = TcpState.ESTABLISHED
        return self._entered(old, new, kind, direction, seen_reply=seen_reply)

    def _ignored(self, kind: str, direction: int) -> Judgement:
        """A segment that may mean that the ends know better; it changes nothing yet."""
        self._last = kind, direction
        if kind == "syn" and direction == 0 and self.state is TcpState.LAST_ACK:
            self._challenged = True
        return Judgement.VALID

    def _entered(
        self, old: TcpState, new: TcpState, kind: str, direction: int, *, seen_reply: bool
    ) -> Judgement:
        self._last = kind, direction
        self.state = new
        if new is TcpState.FIN_WAIT and old is not new:
            self._closing = True
        if not seen_reply:
            return Judgement.OVER if kind == "rst" else Judgement.VALID
        if new is TcpState.ESTABLISHED and old in (TcpState.SYN_RECV, TcpState.ESTABLISHED):
            self.assured = True
        return Judgement.VALID
