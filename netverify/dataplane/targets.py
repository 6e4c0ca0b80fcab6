"""What each target does: an ending (a verdict, a translation), something written, or nothing that shows.

Sources: iptables-extensions(8), net/netfilter/xt_*.c of Linux 6.x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from netverify.dataplane.rewrite import Bits, CopyBits, Rewrite, Untrack
from netverify.ruleset import Target

ALL_BITS = 0xFFFFFFFF


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


class NatKind(Enum):
    """Whose address is translated, and into what."""

    DNAT = "DNAT"
    REDIRECT = "REDIRECT"
    SNAT = "SNAT"
    MASQUERADE = "MASQUERADE"
    NETMAP = "NETMAP"


@dataclass(frozen=True, slots=True)
class Nat:
    """One translation: a range of addresses and of ports, both ends included; None leaves it as it is."""

    kind: NatKind
    addresses: tuple[int, int] | None = None
    ports: tuple[int, int] | None = None
    network: tuple[int, int] | None = None  # NETMAP: base and mask


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


def _number(text: str) -> int:
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def _value(target: Target, name: str) -> str | None:
    option = target.option(name)
    return None if option is None else option.value


def _masked(text: str) -> tuple[int, int]:
    value, slash, mask = text.partition("/")
    return _number(value), _number(mask) if slash else ALL_BITS


def _set_mark(field: str, target: Target) -> Bits:
    for option in target.options:
        if option.name == "set-xmark":
            value, mask = _masked(option.value)
            return Bits(field, mask, value)
        if option.name == "set-mark":
            value, mask = _masked(option.value)
            return Bits(field, mask | value, value)
        if option.name == "and-mark":
            return Bits(field, ALL_BITS & ~_number(option.value), 0)
        if option.name == "or-mark":
            return Bits(field, _number(option.value), _number(option.value))
        if option.name == "xor-mark":
            return Bits(field, 0, _number(option.value))
    raise ValueError(target.name)


def _mark(target: Target, _version: int) -> Effect:
    return Effect(rewrite=_set_mark("mark", target))


def _connmark(target: Target, _version: int) -> Effect:
    if target.option("left-shift-mark") or target.option("right-shift-mark"):
        raise ValueError(target.name)
    mask = _value(target, "mask")
    packet_mask = _number(_value(target, "nfmask") or mask or "0xffffffff")
    connection_mask = _number(_value(target, "ctmask") or mask or "0xffffffff")
    if target.option("save-mark"):
        return Effect(rewrite=CopyBits("connmark", "mark", connection_mask, packet_mask))
    if target.option("restore-mark"):
        return Effect(rewrite=CopyBits("mark", "connmark", packet_mask, connection_mask))
    return Effect(rewrite=_set_mark("connmark", target))


def _ct(target: Target, _version: int) -> Effect:
    return Effect(rewrite=Untrack()) if target.option("notrack") else Effect()


def _reject(target: Target, version: int) -> Effect:
    default = "icmp-port-unreachable" if version == 4 else "icmp6-port-unreachable"
    words = _value(target, "reject-with") or default
    if words == "tcp-reset":
        return Effect(ending=Reject(0, 0, reset=True, words=words))
    kind, code = REJECTIONS[words]
    return Effect(ending=Reject(kind, code, words=words))


REJECTIONS: Mapping[str, tuple[int, int]] = {
    "icmp-net-unreachable": (3, 0), "net-unreach": (3, 0), "icmp-host-unreachable": (3, 1),
    "host-unreach": (3, 1),
    "icmp-proto-unreachable": (3, 2), "proto-unreach": (3, 2), "icmp-port-unreachable": (3, 3),
    "port-unreach": (3, 3), "icmp-net-prohibited": (3, 9), "net-prohib": (3, 9),
    "icmp-host-prohibited": (3, 10), "host-prohib": (3, 10), "icmp-admin-prohibited": (3, 13),
    "admin-prohib": (3, 13), "icmp6-no-route": (1, 0), "no-route": (1, 0), "icmp6-adm-prohibited": (1, 1),
    "adm-prohibited": (1, 1), "icmp6-addr-unreachable": (1, 3), "addr-unreach": (1, 3),
    "icmp6-port-unreachable": (1, 4), "icmp6-policy-fail": (1, 5), "policy-fail": (1, 5),
    "icmp6-reject-route": (1, 6), "reject-route": (1, 6),
}  # fmt: skip
"""Value of --reject-with -> ICMP type and code (iptables-extensions(8))."""


def _ports(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    low, _, high = text.partition("-")
    if "/" in high:
        raise ValueError(text)  # a base port, for mapping one range to another
    return int(low), int(high or low)


def _range(text: str) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """`[address[-address]][:port[-port]]`, an IPv6 address in brackets where ports follow."""
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
    return found, _ports(ports)


def _nat(kind: NatKind, option: str) -> Callable[[Target, int], Effect]:
    def make(target: Target, _version: int) -> Effect:
        addresses, ports = _range(_value(target, option) or "")
        return Effect(ending=Nat(kind, addresses, ports))

    return make


def _to_ports(kind: NatKind) -> Callable[[Target, int], Effect]:
    def make(target: Target, _version: int) -> Effect:
        return Effect(ending=Nat(kind, ports=_ports(_value(target, "to-ports") or "")))

    return make


def _netmap(target: Target, _version: int) -> Effect:
    network = ip_network(_value(target, "to") or "")
    return Effect(ending=Nat(NatKind.NETMAP, network=(int(network.network_address), int(network.netmask))))


def _ttl(target: Target, _version: int) -> Effect:
    value = _value(target, "ttl-set") or _value(target, "hl-set")
    if value is None:
        raise ValueError(target.name)
    return Effect(rewrite=Bits("ttl", 0xFF, int(value)))


def _tos(target: Target, _version: int) -> Effect:
    text = _value(target, "set-tos")
    if text is None:
        raise ValueError(target.name)
    value, slash, mask = text.partition("/")
    return Effect(rewrite=Bits("tos", _number(mask) if slash else 0xFF, _number(value)))


def _verdict(verdict: Verdict) -> Callable[[Target, int], Effect]:
    return lambda _target, _version: Effect(ending=verdict)


def _nothing(_target: Target, _version: int) -> Effect:
    return Effect()


TARGETS: Mapping[str, Callable[[Target, int], Effect]] = {
    "ACCEPT": _verdict(Verdict.ACCEPT),
    "DROP": _verdict(Verdict.DROP),
    "RETURN": _verdict(Verdict.RETURN),
    "QUEUE": _verdict(Verdict.QUEUE),
    "NFQUEUE": _verdict(Verdict.QUEUE),
    "REJECT": _reject,
    "DNAT": _nat(NatKind.DNAT, "to-destination"),
    "SNAT": _nat(NatKind.SNAT, "to-source"),
    "MASQUERADE": _to_ports(NatKind.MASQUERADE),
    "REDIRECT": _to_ports(NatKind.REDIRECT),
    "NETMAP": _netmap,
    "MARK": _mark,
    "CONNMARK": _connmark,
    "NOTRACK": lambda _target, _version: Effect(rewrite=Untrack()),
    "CT": _ct,
    "TTL": _ttl,
    "HL": _ttl,
    "TOS": _tos,
    # These let the packet go on and change nothing that a rule or the routing can see.
    **dict.fromkeys(
        ("LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "CLASSIFY", "SECMARK",
         "CONNSECMARK", "IDLETIMER", "LED", "RATEEST", "TEE"),
        _nothing,
    ),
}  # fmt: skip
"""Target -> what it does. SET is missing on purpose: later rules may ask the set."""
