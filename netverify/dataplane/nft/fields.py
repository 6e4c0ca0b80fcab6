"""Expressions of nftables -> keys: which field of a packet each looks at, as tables.

Sources: nft(8), net/netfilter/nft_{payload,meta,ct}.c, nftables' src/proto.c. An expression that has no
entry here raises NotModelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netverify.dataplane.condition import ALWAYS, NEVER, Condition, Not, Unknown, Within, all_of, equals
from netverify.dataplane.matches.devices import ETHERNET, MOST_ID
from netverify.dataplane.nft import numbers
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.keys import (
    BitField,
    Chosen,
    Found,
    Key,
    Name,
    NotModelled,
    Number,
    Together,
    Worked,
    address_reader,
    read_mac,
)
from netverify.dataplane.nft.routes import fib
from netverify.dataplane.packet import ICMP, ICMPV6, SCTP, TCP, UDP, WITH_PORTS, State
from netverify.ruleset.nft_expressions import (
    Concatenation,
    Ct,
    Expression,
    Fib,
    Meta,
    Operation,
    Payload,
)

TRACKED = equals("tracked", 1)
_FIRST = equals("fragment", 0)  # a later fragment has no transport header (pkt->fragoff)
ALL_BITS = 0xFFFFFFFF


def key(expression: Expression, context: Context) -> Key:
    """What an expression looks at. Raises NotModelled."""
    if isinstance(expression, Concatenation):
        return Together(tuple(key(part, context) for part in expression.parts))
    if expression == _OFFSET:
        return _FragmentOffset(context.version)
    if isinstance(expression, Operation):
        origin, mask, flipped = worked(expression, context)
        if origin is not None:
            return Worked(origin, mask, flipped)
    elif isinstance(expression, Payload):
        return _payload(expression, context)
    elif isinstance(expression, Meta):
        return _meta(expression, context)
    elif isinstance(expression, Ct):
        return _ct(expression, context)
    elif isinstance(expression, Fib):
        return fib(expression, context)
    raise NotModelled


def worked(expression: Expression, context: Context) -> tuple[Number | None, int, int]:
    """An expression as `origin & mask ^ flipped`; the origin of a constant is None. Raises NotModelled."""
    if not isinstance(expression, Operation):
        found = key(expression, context)
        if not isinstance(found, Number):
            raise NotModelled
        return found, (1 << found.bits) - 1, 0
    if expression.operator not in ("&", "|", "^") or len(expression.operands) < 2:
        raise NotModelled
    first, *rest = expression.operands
    origin, mask, flipped = worked(first, context)
    for operand in rest:
        constant = (origin or _PLAIN).number(operand)
        if expression.operator == "&":
            mask, flipped = mask & constant, flipped & constant
        elif expression.operator == "|":
            mask, flipped = mask & ~constant, flipped & ~constant | constant
        else:
            flipped ^= constant
    return origin, mask, flipped


_PLAIN = Number("", 32)


# --- payload -----------------------------------------------------------------------------------------------


def _of(protocol: int) -> Condition:
    return all_of((equals("protocol", protocol), _FIRST))


def _ports(protocol: int) -> Mapping[str, Key]:
    guard = _of(protocol)
    return {name: Number(name, 16, guard, numbers.PORT_WORDS) for name in ("sport", "dport")}


_ECHO = {
    ICMP: (0, 8, 13, 14, 17, 18),
    ICMPV6: (128, 129),
}
"""Types whose header holds an identifier."""


def _icmp(protocol: int, types: numbers.Words, codes: numbers.Words) -> Mapping[str, Key]:
    guard = _of(protocol)
    return {
        "type": Number("icmp_type", 8, guard, types),
        "code": Number("icmp_code", 8, guard, codes),
        "id": Number("sport", 16, all_of((guard, equals("icmp_type", *_ECHO[protocol])))),
    }


def _constant(value: int, words: numbers.Words | None = None, guard: Condition = ALWAYS) -> Key:
    return Chosen("", 16, guard, words, cases=((value, ALWAYS),))


def _internet(version: int) -> Mapping[str, Key]:
    """The fields of both IP headers that are alike."""
    bits, read = (32, address_reader(4)) if version == 4 else (128, address_reader(6))
    return {
        "saddr": Number("source", bits, read=read),
        "daddr": Number("destination", bits, read=read),
        "dscp": Number("tos", 6, words=numbers.DSCP_WORDS, shift=2, whole=8),
        "ecn": Number("tos", 2, words=numbers.ECN_WORDS, whole=8),
        "version": _constant(version),
    }


_OFFSET = Operation("&", (Payload("ip", "frag-off"), 0x1FFF))


class _FragmentOffset(Key):
    """The offset of a fragment: nothing is known of it but whether it is 0."""

    def __init__(self, version: int) -> None:
        self.guard = ALWAYS if version == 4 else NEVER

    def holds(self, value: Expression) -> Condition:
        """See Key."""
        if value != 0:
            raise NotModelled
        return _FIRST


_HEADERS: Mapping[str, Mapping[str, Key]] = {
    "ip": {
        **_internet(4),
        "protocol": Number("protocol", 8, words=numbers.PROTOCOL_WORDS),
        "ttl": Number("ttl", 8),
        "length": Number("length", 16),
        "hdrlength": _constant(5),
    },
    "ip6": {
        **_internet(6),
        # A fragment's next header is that of fragments (RFC 8200, section 4.5).
        "nexthdr": Number("protocol", 8, _FIRST, numbers.PROTOCOL_WORDS),
        "hoplimit": Number("ttl", 8),
        "length": Number("length", 16, offset=-40),
    },
    "tcp": {**_ports(TCP), "flags": Number("tcp_flags", 8, _of(TCP), numbers.TCP_FLAG_WORDS)},
    "udp": _ports(UDP),
    "udplite": _ports(136),
    "sctp": _ports(SCTP),
    "dccp": _ports(33),
    "icmp": _icmp(ICMP, numbers.ICMP_TYPE_WORDS, numbers.ICMP_CODE_WORDS),
    "icmpv6": _icmp(ICMPV6, numbers.ICMPV6_TYPE_WORDS, numbers.ICMPV6_CODE_WORDS),
    "ether": {"saddr": Number("mac", 48, ETHERNET, read=read_mac)},
}
_VERSION = {"ip": 4, "ip6": 6}


def _payload(expression: Payload, context: Context) -> Key:
    name, wanted = expression.protocol, expression.field
    if name == "th" and wanted in ("sport", "dport"):
        return _any_transport(wanted, context)
    if name == "ether" and wanted == "type":
        return _constant(0x0800 if context.version == 4 else 0x86DD, numbers.ETHERTYPE_WORDS, ETHERNET)
    found = _HEADERS.get(name, {}).get(wanted)
    if found is None:
        raise NotModelled
    if _VERSION.get(name, context.version) != context.version:
        return _without_value(found)
    return found


def _without_value(found: Key) -> Key:
    if not isinstance(found, Number):
        raise NotModelled
    return replace(found, guard=NEVER)


def _any_transport(wanted: str, context: Context) -> Key:
    """Ports of whatever transport header there is; of other headers, the same bytes, which nobody knows."""
    other = Unknown(f"the bytes of th {wanted} in a header without ports ({context.place})")
    return Number(wanted, 16, all_of((_FIRST, _either_ports(other))), numbers.PORT_WORDS)


def _either_ports(other: Unknown) -> Condition:
    return Not(all_of((Not(equals("protocol", *sorted(WITH_PORTS))), Not(other))))


# --- meta --------------------------------------------------------------------------------------------------

_META: Mapping[str, Key] = {
    "iifname": Name("in_interface"),
    "iif": Name("in_interface"),
    "oifname": Name("out_interface"),
    "oif": Name("out_interface"),
    "mark": Number("mark", 32),
    "l4proto": Number("protocol", 8, words=numbers.PROTOCOL_WORDS),
    "length": Number("length", 32),
    "pkttype": Number("pkttype", 8, words=numbers.PACKET_TYPE_WORDS),
    # Without a socket there is no user, whatever is asked (nft_meta_get_eval_skugid).
    "skuid": Number("uid", 32, Within("uid", ((0, MOST_ID),))),
    "skgid": Number("gid", 32, Within("gid", ((0, MOST_ID),))),
    "ipsec": Found(NEVER),  # no packet here was ever under a policy of IPsec
    "secpath": Found(NEVER),
    "nftrace": _constant(0),
}


def _meta(expression: Meta, context: Context) -> Key:
    if expression.key == "nfproto":
        return _constant(2 if context.version == 4 else 10, numbers.FAMILY_WORDS)
    if expression.key == "protocol":
        return _constant(0x0800 if context.version == 4 else 0x86DD, numbers.ETHERTYPE_WORDS)
    if expression.key not in _META:
        raise NotModelled
    return _META[expression.key]


# --- connection tracking -----------------------------------------------------------------------------------

_STATE = Chosen(
    "",
    16,
    words=numbers.STATE_WORDS,
    cases=tuple((bit, equals("state", State[word.upper()])) for word, bit in numbers.STATE_WORDS.items()),
)


def _status() -> BitField:
    """What is known of an entry's status: see `matches.conntrack` on the bits that are not."""
    conditions = (
        (numbers.STATUS_WORDS["seen-reply"], equals("ct_seen_reply", 1)),
        (numbers.STATUS_WORDS["snat"], _nat_bit(1)),
        (numbers.STATUS_WORDS["dnat"], _nat_bit(2)),
        *(
            (numbers.STATUS_WORDS[word], Unknown(f"ct status {word}"))
            for word in ("expected", "assured", "confirmed", "dying")
        ),
    )
    return BitField("", 16, TRACKED, numbers.STATUS_WORDS, conditions=conditions)


def _nat_bit(bit: int) -> Condition:
    return equals("ct_nat", *(value for value in range(4) if value & bit))


_CT: Mapping[str, Key] = {
    "state": _STATE,
    "status": _status(),
    "direction": Number("ct_direction", 8, TRACKED, numbers.DIRECTION_WORDS),
    "mark": Number("connmark", 32, TRACKED),
    "protocol": Number("ct_protocol", 8, TRACKED, numbers.PROTOCOL_WORDS),
}
_CT_ADDRESSES: Mapping[tuple[str, str], str] = {
    ("original", "saddr"): "ct_source",
    ("original", "daddr"): "ct_destination",
    ("reply", "saddr"): "reply_source",
    ("reply", "daddr"): "reply_destination",
}
_CT_PORTS: Mapping[tuple[str, str], str] = {
    ("original", "proto-src"): "ct_sport",
    ("original", "proto-dst"): "ct_dport",
    ("reply", "proto-src"): "reply_sport",
    ("reply", "proto-dst"): "reply_dport",
}


def _ct(expression: Ct, context: Context) -> Key:
    direction = expression.direction or ""
    family, _space, name = expression.key.rpartition(" ")
    family = family or expression.family or ""
    if (direction, name) in _CT_ADDRESSES:
        guard = TRACKED if _VERSION.get(family, context.version) == context.version else NEVER
        bits = 32 if context.version == 4 else 128
        return Number(_CT_ADDRESSES[direction, name], bits, guard, read=address_reader(context.version))
    if (direction, name) in _CT_PORTS:
        return Number(_CT_PORTS[direction, name], 16, TRACKED, numbers.PORT_WORDS)
    if name == "l3proto":
        return _constant(2 if context.version == 4 else 10, numbers.FAMILY_WORDS, TRACKED)
    if name not in _CT:
        raise NotModelled
    return _CT[name]
