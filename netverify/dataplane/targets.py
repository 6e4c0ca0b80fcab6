"""What each target does: an ending (a verdict, a translation), something written, or nothing that shows.

Sources: iptables-extensions(8), net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_{REJECT,ECN,SYNPROXY}.c of
Linux 6.x. What a target does beyond that, or instead, is said in `Effect.not_modelled`; the packet
then goes on.

QUEUE and NFQUEUE are an ending of their own: a program decides. Where none listens the packet is dropped, or
with --queue-bypass goes on; nobody here can know which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from netverify.dataplane.matches.conntrack import mask_and_value
from netverify.dataplane.matches.meaning import number
from netverify.dataplane.matches.names import DSCP_CLASSES, masked_tos
from netverify.dataplane.rewrite import ALL_BITS, Add, Bits, CopyBits, Rewrite, Then, Untrack
from netverify.dataplane.translation import Nat, NatKind, Range
from netverify.ruleset import Ruleset, Target

__all__ = [
    "TARGETS",
    "Effect",
    "Ending",
    "Nat",
    "NatKind",
    "Reject",
    "Verdict",
    "changed_sets",
    "compile_target",
]


class Verdict(Enum):
    """How a walk through a chain can end; FALL is the end of a chain without any ending."""

    ACCEPT = "ACCEPT"
    DROP = "DROP"
    QUEUE = "QUEUE"
    RETURN = "RETURN"
    FALL = "end of chain"


@dataclass(frozen=True, slots=True)
class Reject:
    """Dropped, and the sender is told: with an ICMP type and code, or with a TCP reset."""

    icmp_type: int = 3
    icmp_code: int = 3
    reset: bool = False
    words: str = "icmp-port-unreachable"


Ending = Verdict | Reject | Nat


@dataclass(frozen=True, slots=True)
class Effect:
    """What a target is: at most one of them, or a note on why it is not modelled."""

    ending: Ending | None = None
    rewrite: Rewrite | None = None
    not_modelled: str = ""


def compile_target(target: Target, version: int) -> Effect:
    """The effect of a target that is no jump."""
    make = TARGETS.get(target.name)
    if make is None:
        return Effect(not_modelled=f"target {target.name}")
    try:
        return make(target, version)
    except (ValueError, KeyError):
        return Effect(not_modelled=f"these options of target {target.name}")


def changed_sets(*rulesets: Ruleset) -> frozenset[str]:
    """The ipsets that rules write into (target SET), whose contents are then not known."""
    return frozenset(
        option.values[0]
        for ruleset in rulesets
        for _place, rule in ruleset.rules()
        if rule.target is not None and rule.target.name == "SET"
        for option in rule.target.options
        if option.name in ("add-set", "del-set") and option.values
    )


def _value(target: Target, name: str) -> str | None:
    option = target.option(name)
    return None if option is None else option.value


# --- marks -----------------------------------------------------------------------------------------------


def _set_mark(field: str, target: Target) -> Bits:
    """The forms of setting a mark, all of which are `mark & ~clear ^ value` (libxt_MARK.c)."""
    for option in target.options:
        if option.name == "set-xmark":
            value, mask = mask_and_value(option.value)
            return Bits(field, mask, value)
        if option.name == "set-mark":
            value, mask = mask_and_value(option.value)
            return Bits(field, mask | value, value)
        if option.name == "and-mark":
            return Bits(field, ALL_BITS & ~number(option.value), 0)
        if option.name == "or-mark":
            return Bits(field, number(option.value), number(option.value))
        if option.name == "xor-mark":
            return Bits(field, 0, number(option.value))
    raise ValueError(target.name)


def _mark(target: Target, _version: int) -> Effect:
    return Effect(rewrite=_set_mark("mark", target))


def _connmark(target: Target, _version: int) -> Effect:
    """To the connection's mark, or between it and the packet's (connmark_tg_shift in xt_connmark.c)."""
    left, right = _value(target, "left-shift-mark"), _value(target, "right-shift-mark")
    shift = number(left, 31) if left is not None else -number(right, 31) if right is not None else 0
    mask = _value(target, "mask")
    packet_mask = number(_value(target, "nfmask") or mask or "0xffffffff")
    connection_mask = number(_value(target, "ctmask") or mask or "0xffffffff")
    if target.option("save-mark"):
        return Effect(rewrite=CopyBits("connmark", "mark", connection_mask, packet_mask, shift))
    if target.option("restore-mark"):
        return Effect(rewrite=CopyBits("mark", "connmark", packet_mask, connection_mask, shift))
    written = _set_mark("connmark", target)
    if not shift:
        return Effect(rewrite=written)
    shifted = CopyBits("connmark", "connmark", ALL_BITS, ALL_BITS, shift)
    return Effect(rewrite=Then((written, shifted)))


def _ct(target: Target, _version: int) -> Effect:
    """--notrack; a helper, a zone or a timeout is given to the connection to come, which has none here."""
    if target.option("notrack"):
        return Effect(rewrite=Untrack())
    said = ", ".join(f"--{option.name} {option.value}".strip() for option in target.options)
    return Effect(not_modelled=f"target CT {said}".strip())


# --- rejecting -------------------------------------------------------------------------------------------

REJECTIONS: Mapping[int, Mapping[str, tuple[int, int]]] = {
    4: {
        "icmp-net-unreachable": (3, 0), "net-unreach": (3, 0), "icmp-host-unreachable": (3, 1),
        "host-unreach": (3, 1), "icmp-proto-unreachable": (3, 2), "proto-unreach": (3, 2),
        "icmp-port-unreachable": (3, 3), "port-unreach": (3, 3), "icmp-net-prohibited": (3, 9),
        "net-prohib": (3, 9), "icmp-host-prohibited": (3, 10), "host-prohib": (3, 10),
        "icmp-admin-prohibited": (3, 13), "admin-prohib": (3, 13),
    },
    6: {
        "icmp6-no-route": (1, 0), "no-route": (1, 0), "icmp6-adm-prohibited": (1, 1),
        "adm-prohibited": (1, 1), "icmp6-addr-unreachable": (1, 3), "addr-unreach": (1, 3),
        "icmp6-port-unreachable": (1, 4), "port-unreach": (1, 4), "icmp6-policy-fail": (1, 5),
        "policy-fail": (1, 5), "icmp6-reject-route": (1, 6), "reject-route": (1, 6),
    },
}  # fmt: skip
"""IP version -> value of --reject-with -> ICMP type and code (iptables-extensions(8))."""
_RESETS = ("tcp-reset", "tcp-rst")


def _reject(target: Target, version: int) -> Effect:
    """Names may be cut short, as iptables takes them (libipt_REJECT.c)."""
    default = "icmp-port-unreachable" if version == 4 else "icmp6-port-unreachable"
    words = (_value(target, "reject-with") or default).lower()
    if words in _RESETS:
        return Effect(ending=Reject(0, 0, reset=True, words=words))
    known = REJECTIONS[version]
    full = words if words in known else next((name for name in known if name.startswith(words)), words)
    kind, code = known[full]
    return Effect(ending=Reject(kind, code, words=words))


# --- translation -----------------------------------------------------------------------------------------


def _ports(text: str) -> tuple[Range | None, int | None]:
    """`LOW[-HIGH[/BASE]]`: a range of ports, and the port that it is counted from."""
    if not text:
        return None, None
    words, slash, base = text.partition("/")
    low, _, high = words.partition("-")
    first, last = number(low, 65535), number(high or low, 65535)
    return (first, last), (number(base, 65535) if slash else None)


def _range(text: str) -> tuple[Range | None, str]:
    """`[address[-address]][:ports]`, an IPv6 address in brackets where ports follow."""
    ports = ""
    if text.startswith("["):
        inner, _, rest = text[1:].partition("]")
        if rest.startswith("-["):
            second, _, rest = rest[2:].partition("]")
            inner += f"-{second}"
        addresses, ports = inner, rest.removeprefix(":")
    elif text.count(":") > 1:
        addresses = text
    else:
        addresses, _, ports = text.partition(":")
    low, _, high = addresses.partition("-")
    found = (int(ip_address(low)), int(ip_address(high or low))) if low else None
    return found, ports


def _nat(kind: NatKind, option: str) -> Callable[[Target, int], Effect]:
    """DNAT and SNAT to addresses, MASQUERADE and REDIRECT to ports alone."""

    def make(target: Target, _version: int) -> Effect:
        words = _value(target, option) or ""
        addresses, ports = (None, words) if option == "to-ports" else _range(words)
        wanted, base = _ports(ports)
        random = any(target.option(name) is not None for name in ("random", "random-fully"))
        persistent = target.option("persistent") is not None
        return Effect(ending=Nat(kind, addresses, wanted, None, base, random, persistent))

    return make


def _netmap(target: Target, _version: int) -> Effect:
    network = ip_network(_value(target, "to") or "")
    return Effect(ending=Nat(NatKind.NETMAP, network=(int(network.network_address), int(network.netmask))))


# --- header fields ---------------------------------------------------------------------------------------


def _ttl(target: Target, _version: int) -> Effect:
    """Set, or moved within 0 to 255 (xt_HL.c)."""
    prefix = target.name.lower()
    written = _value(target, f"{prefix}-set")
    if written is not None:
        return Effect(rewrite=Bits("ttl", 0xFF, number(written, 255)))
    more, less = _value(target, f"{prefix}-inc"), _value(target, f"{prefix}-dec")
    if more is not None:
        return Effect(rewrite=Add("ttl", number(more, 255)))
    return Effect(rewrite=Add("ttl", -number(less or "", 255)))


def _tos(target: Target, _version: int) -> Effect:
    """`tos & ~mask ^ value` in all forms (tos_tg in xt_DSCP.c, libxt_TOS.c)."""
    for option in target.options:
        if option.name == "set-tos":
            value, mask = masked_tos(option.value)
            return Effect(rewrite=Bits("tos", mask, value))
        bits = number(option.value, 0xFF)
        forms = {"and-tos": (0xFF & ~bits, 0), "or-tos": (bits, bits), "xor-tos": (0, bits)}
        if option.name in forms:
            return Effect(rewrite=Bits("tos", *forms[option.name]))
    raise ValueError(target.name)


def _dscp(target: Target, _version: int) -> Effect:
    """The upper six bits of the TOS field (dscp_tg in xt_DSCP.c)."""
    named = _value(target, "set-dscp-class")
    value = DSCP_CLASSES[named.upper()] if named is not None else number(_value(target, "set-dscp") or "", 63)
    return Effect(rewrite=Bits("tos", 0xFC, value << 2))


def _ecn(target: Target, _version: int) -> Effect:
    """ECE and CWR of the TCP header, the lower two bits of the TOS field (ipt_ECN.c)."""
    parts: list[Bits] = []
    for option in target.options:
        if option.name == "ecn-tcp-remove":
            parts.append(Bits("tcp_flags", 0xC0, 0))
        elif option.name == "ecn-ip-ect":
            parts.append(Bits("tos", 0x03, number(option.value, 3)))
        else:
            bit = {"ecn-tcp-ece": 0x40, "ecn-tcp-cwr": 0x80}[option.name]
            parts.append(Bits("tcp_flags", bit, bit * number(option.value, 1)))
    return Effect(rewrite=parts[0] if len(parts) == 1 else Then(tuple(parts)))


# --- the rest --------------------------------------------------------------------------------------------


def _set(target: Target, _version: int) -> Effect:
    """Adding and deleting changes what later rules find (`changed_sets`), and nothing of the packet."""
    mapped = target.option("map-set") is not None
    return Effect(not_modelled="target SET --map-set: what the set says of the packet" if mapped else "")


def _verdict(verdict: Verdict) -> Callable[[Target, int], Effect]:
    return lambda _target, _version: Effect(ending=verdict)


def _nothing(_target: Target, _version: int) -> Effect:
    return Effect()


def _says(words: str) -> Callable[[Target, int], Effect]:
    return lambda target, _version: Effect(not_modelled=f"target {target.name}: {words}")


TARGETS: Mapping[str, Callable[[Target, int], Effect]] = {
    "ACCEPT": _verdict(Verdict.ACCEPT),
    "DROP": _verdict(Verdict.DROP),
    "RETURN": _verdict(Verdict.RETURN),
    "QUEUE": _verdict(Verdict.QUEUE),
    "NFQUEUE": _verdict(Verdict.QUEUE),
    "REJECT": _reject,
    "DNAT": _nat(NatKind.DNAT, "to-destination"),
    "SNAT": _nat(NatKind.SNAT, "to-source"),
    "MASQUERADE": _nat(NatKind.MASQUERADE, "to-ports"),
    "REDIRECT": _nat(NatKind.REDIRECT, "to-ports"),
    "NETMAP": _netmap,
    "MARK": _mark,
    "CONNMARK": _connmark,
    "NOTRACK": lambda _target, _version: Effect(rewrite=Untrack()),
    "CT": _ct,
    "TTL": _ttl,
    "HL": _ttl,
    "TOS": _tos,
    "DSCP": _dscp,
    "ECN": _ecn,
    "SET": _set,
    # These let the packet go on and change nothing that a rule or the routing can see: TCPMSS and TCPOPTSTRIP
    # write options of the TCP header, of which only `tcp --tcp-option` and `tcpmss` ask, which are unknowns.
    **dict.fromkeys(
        ("LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "CLASSIFY", "SECMARK",
         "CONNSECMARK", "IDLETIMER", "LED", "RATEEST"),
        _nothing,
    ),
    "TEE": _says("the copy that it sends"),
    "HMARK": _says("the mark, a hash of addresses and ports"),
    "TPROXY": _says("the socket that gets the packet, without which it is dropped"),
    "SYNPROXY": _says("the handshake that it answers in place of the server"),
    "SNPT": _says("the source's new prefix"),
    "DNPT": _says("the destination's new prefix"),
    "CLUSTERIP": _says("which node of the cluster takes the packet"),
}  # fmt: skip
"""Target -> what it does."""
