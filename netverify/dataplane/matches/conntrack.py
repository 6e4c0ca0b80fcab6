"""Matches on connections and marks.

Sources: net/netfilter/xt_{conntrack,state,connmark,mark,helper}.c of Linux 6.x. A packet without a connection
(invalid or untracked) fails every test of the connection, negated or not; but where a conntrack match also
tests the state, that alone decides for such a packet (`return info->match_flags & XT_CONNTRACK_STATE`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    AnyOf,
    Condition,
    Masked,
    Unknown,
    Within,
    all_of,
    equals,
    negated_if,
)
from netverify.dataplane.matches.header import port, protocol_number
from netverify.dataplane.matches.meaning import (
    Context,
    Meaning,
    NotModelled,
    colon_range,
    network_condition,
    number,
    of_value,
    text_of,
)
from netverify.dataplane.packet import State
from netverify.ruleset import Match, Option

TRACKED = equals("tracked", 1)
_STATES = {state.name: int(state) for state in State}
_VIRTUAL = {"SNAT": 1, "DNAT": 2}


def _states(value: str, _context: Context) -> Condition:
    """States, and the virtual ones SNAT and DNAT of connections that are translated (xt_conntrack.c)."""
    parts: list[Condition] = []
    for name in value.upper().split(","):
        if name in _STATES:
            parts.append(equals("state", _STATES[name]))
        elif name in _VIRTUAL:
            parts.append(all_of((TRACKED, Masked("ct_nat", _VIRTUAL[name], _VIRTUAL[name]))))
        else:
            raise NotModelled
    return AnyOf(tuple(parts))


def _of_connection(make: Callable[[str, Match, Context], Condition]) -> Meaning:
    def meaning(option: Option, match: Match, context: Context) -> Condition:
        tested = negated_if(make(option.value, match, context), option.negated)
        if match.name == "conntrack" and match.option("ctstate") is not None:
            return AnyOf((equals("tracked", 0), tested))
        return all_of((TRACKED, tested))

    return meaning


def _ct_address(field: str) -> Meaning:
    return _of_connection(lambda value, _match, context: network_condition(field, value, context.version))


def _ct_port(field: str) -> Meaning:
    return _of_connection(lambda value, _m, _c: Within(field, (colon_range(value, 65535, port),)))


def _ct_protocol(value: str, _match: Match, _context: Context) -> Condition:
    return equals("ct_protocol", protocol_number(value))


def _ct_direction(value: str, _match: Match, _context: Context) -> Condition:
    return equals("ct_direction", {"ORIGINAL": 0, "REPLY": 1}[value.upper()])


def _ct_status(value: str, match: Match, _context: Context) -> Condition:
    """Bits of the entry's status: some of those named is set; NONE names no bit.

    Whether a reply was seen is known. Whether an entry is assured or came by an expectation is not; that it
    is confirmed is known of a connection with answers, and not of one that is still new.
    """
    parts: list[Condition] = []
    for name in value.upper().split(","):
        if name == "SEEN_REPLY":
            parts.append(equals("ct_seen_reply", 1))
        elif name == "CONFIRMED":
            parts.append(equals("ct_seen_reply", 1))
            parts.append(_status_unknown(name, match))
        elif name in ("ASSURED", "EXPECTED"):
            parts.append(_status_unknown(name, match))
        elif name != "NONE":
            raise NotModelled
    return AnyOf(tuple(parts))


def _status_unknown(name: str, match: Match) -> Unknown:
    return Unknown(text_of(Match(match.name, (Option("ctstatus", (name,)),))))


def _ct_expire(value: str, match: Match, _context: Context) -> Condition:
    """Seconds until the entry is forgotten: nobody here has a clock."""
    return Unknown(text_of(Match(match.name, (Option("ctexpire", (value,)),))))


def _helper(value: str, match: Match, _context: Context) -> Condition:
    """A connection that a helper expected; without one, or without a parent, it is no match (xt_helper.c)."""
    known = Unknown(text_of(Match(match.name, (Option("helper", (value,)),))))
    return all_of((TRACKED, known))


def mask_and_value(text: str) -> tuple[int, int]:
    """A mark and its mask, all ones where none stands there. Raises ValueError."""
    wanted, slash, mask = text.partition("/")
    return number(wanted), number(mask) if slash else 0xFFFFFFFF


def _mark(field: str) -> Callable[[str], Condition]:
    def make(text: str) -> Condition:
        wanted, bits = mask_and_value(text)
        if wanted & ~bits:
            return NEVER
        return Masked(field, wanted, bits) if bits else ALWAYS

    return make


_PACKET_MARK, _CONNECTION_MARK = _mark("mark"), _mark("connmark")

MEANINGS: Mapping[tuple[str, str], Meaning] = {
    ("state", "state"): of_value(_states),
    ("conntrack", "ctstate"): of_value(_states),
    ("conntrack", "ctproto"): _of_connection(_ct_protocol),
    ("conntrack", "ctdir"): _of_connection(_ct_direction),
    ("conntrack", "ctstatus"): _of_connection(_ct_status),
    ("conntrack", "ctexpire"): _of_connection(_ct_expire),
    ("conntrack", "ctorigsrc"): _ct_address("ct_source"),
    ("conntrack", "ctorigdst"): _ct_address("ct_destination"),
    ("conntrack", "ctreplsrc"): _ct_address("reply_source"),
    ("conntrack", "ctrepldst"): _ct_address("reply_destination"),
    ("conntrack", "ctorigsrcport"): _ct_port("ct_sport"),
    ("conntrack", "ctorigdstport"): _ct_port("ct_dport"),
    ("conntrack", "ctreplsrcport"): _ct_port("reply_sport"),
    ("conntrack", "ctrepldstport"): _ct_port("reply_dport"),
    ("mark", "mark"): of_value(lambda value, _context: _PACKET_MARK(value)),
    ("connmark", "mark"): _of_connection(lambda value, _match, _context: _CONNECTION_MARK(value)),
    ("helper", "helper"): lambda option, match, context: negated_if(
        _helper(option.value, match, context), option.negated
    ),
}
"""What (extension, option) tests."""
