"""Statements that end a rule with more than a verdict: translations, and rejections that tell the sender.

Sources: net/netfilter/nft_{nat,masq,redir,reject,reject_inet}.c of Linux 6.x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from netverify.dataplane.condition import ALWAYS, NEVER, Condition, all_of, equals
from netverify.dataplane.nft import numbers
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.keys import NotModelled, Number
from netverify.dataplane.nft.lookups import Found, values_of
from netverify.dataplane.nft.steps import Choose, Do, Need, Step
from netverify.dataplane.packet import TCP
from netverify.dataplane.targets import Reject, Verdict
from netverify.dataplane.translation import Nat, NatKind
from netverify.ruleset import nft_statements as said
from netverify.ruleset.nft_expressions import Concatenation, Expression, Prefix, Range

_KINDS = {
    "dnat": NatKind.DNAT,
    "snat": NatKind.SNAT,
    "masquerade": NatKind.MASQUERADE,
    "redirect": NatKind.REDIRECT,
}
_FAMILIES = {"ip": 4, "ip6": 6}


def translated(statement: said.Nat, context: Context) -> Iterator[Step]:
    """A translation; one of the other family's addresses does nothing (nft_nat_inet_eval)."""
    if _FAMILIES.get(statement.family or "", context.version) != context.version:
        return
    try:
        branches = tuple(_translations(statement, context))
    except (NotModelled, ValueError):
        yield Do(str(statement), not_modelled=str(statement))
        return
    if len(branches) == 1 and branches[0][0] == ALWAYS:
        yield branches[0][1][0]
    else:
        yield Choose(branches)


def _translations(statement: said.Nat, context: Context) -> Iterator[tuple[Condition, tuple[Do, ...]]]:
    nothing = (Found(ALWAYS, "", ""),)
    for address in values_of(statement.address, context) or nothing:
        for port in values_of(statement.port, context) or nothing:
            condition = all_of(c for c in (address.condition, port.condition) if c != ALWAYS)
            yield condition, (Do(str(statement), ending=_translation(statement, address.value, port.value)),)


def _translation(statement: said.Nat, address: Expression, port: Expression) -> Nat:
    if isinstance(address, Concatenation) and len(address.parts) == 2:
        address, port = address.parts
    random = bool({"random", "fully-random"} & set(statement.flags))
    made = Nat(
        _KINDS[statement.kind],
        _addresses(address),
        _ports(port),
        random=random,
        persistent="persistent" in statement.flags,
    )
    if "netmap" in statement.flags or "prefix" in statement.type_flags:
        if not isinstance(address, Prefix):
            raise NotModelled
        low, high = _addresses(address) or (0, 0)
        bits = ip_address(str(address.address)).max_prefixlen
        made = replace(
            made, kind=NatKind.NETMAP, addresses=None, network=(low, (1 << bits) - 1 ^ (high - low))
        )
    return made


def _addresses(value: Expression) -> tuple[int, int] | None:
    if value == "":
        return None
    if isinstance(value, Range):
        low, high = _addresses(value.low), _addresses(value.high)
        return (low[0], high[0]) if low and high else None
    if isinstance(value, Prefix):
        base, bits = ip_address(str(value.address)), ip_address(str(value.address)).max_prefixlen
        rest = (1 << bits - value.length) - 1
        return int(base) & ~rest, int(base) | rest
    if not isinstance(value, str):
        raise NotModelled
    return int(ip_address(value)), int(ip_address(value))


_PORT = Number("dport", 16, words=numbers.PORT_WORDS)


def _ports(value: Expression) -> tuple[int, int] | None:
    return None if value == "" else _PORT.range(value)


# --- reject ------------------------------------------------------------------------------------------------

_CODES: Mapping[str, tuple[int, numbers.Words, int]] = {
    "icmp": (4, numbers.ICMP_CODE_WORDS, 3),
    "icmpv6": (6, numbers.ICMPV6_CODE_WORDS, 1),
}
"""Kind -> the IP version, the words for codes, and the ICMP type of what the sender is told."""

_BOTH = {4: {0: (3, 0), 1: (3, 3), 2: (3, 1), 3: (3, 13)}, 6: {0: (1, 0), 1: (1, 4), 2: (1, 3), 3: (1, 1)}}
"""Codes of icmpx -> type and code in each family (icmp_code_v4 and _v6 in nft_reject.c)."""


def rejected(statement: said.Reject, context: Context) -> Iterator[Step]:
    """Tells the sender; of the wrong protocol or family it is no match (nft tests that and does not say)."""
    words = str(statement)
    if statement.type == "tcp reset":
        yield Need(equals("protocol", TCP), words)
        yield Do(words, ending=Reject(0, 0, reset=True, words=words))
        return
    kind = statement.type or (
        "icmpx" if context.table.family == "inet" else {4: "icmp", 6: "icmpv6"}[context.version]
    )
    try:
        if kind == "icmpx":
            code = Number("", 8, words=numbers.ICMPX_CODE_WORDS).number(statement.code or "port-unreachable")
            told = _BOTH[context.version][code]
        else:
            version, codes, told_type = _CODES[kind]
            if version != context.version:
                yield Need(NEVER, words)
                return
            told = told_type, Number("", 8, words=codes).number(statement.code or "port-unreachable")
    except (NotModelled, KeyError):
        yield Do(words, ending=Verdict.DROP, not_modelled=f"what the sender is told by {words}")
        return
    yield Do(words, ending=Reject(*told, words=words))
