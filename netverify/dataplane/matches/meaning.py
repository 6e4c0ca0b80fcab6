"""What meanings of matches are made of: their context, and readers of numbers, ranges and networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    AnyOf,
    Condition,
    Masked,
    Unknown,
    negated_if,
)
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Option, Rule


@dataclass(frozen=True, slots=True)
class Context:
    """Where a match stands: family, host and the rule's place (for unknowns that are a rule's own).

    `changing` are the ipsets that rules of the same host write into: what they hold is not known then.
    """

    version: int
    host: HostView
    place: str = ""
    changing: frozenset[str] = frozenset()


class NotModelled(Exception):
    """An option or a value that has no meaning here; it becomes an unknown and never leaves this package."""


Meaning = Callable[[Option, Match, Context], Condition]
"""What one option tests; the options of a match must all hold."""

Whole = Callable[[Match, Context], Condition]
"""What a match tests whose options decide together."""


def text_of(match: Match) -> str:
    """A match in the words of iptables-save."""
    return Rule("X", (match,)).render().removeprefix("-A X ")


def of_value(make: Callable[[str, Context], Condition]) -> Meaning:
    """A meaning that only depends on the value, and that `!` turns around."""
    return lambda option, _match, context: negated_if(make(option.value, context), option.negated)


def option_unknown(option: Option, match: Match, *, usual: bool = False) -> Condition:
    """An option that is not modelled. `!` makes another unknown of it: both may fail, as where a header is
    missing."""
    return Unknown(text_of(Match(match.name, (option,))), usual != option.negated)


# --- numbers and ranges --------------------------------------------------------------------------------


def number(text: str, top: int = 0xFFFFFFFF) -> int:
    """A number as iptables reads it, strtoul(3) with base 0: hexadecimal after 0x, octal after 0."""
    digits = text.lower()
    if digits.startswith("0x"):
        read = int(digits, 16)
    else:
        read = int(digits, 8) if len(digits) > 1 and digits.startswith("0") else int(digits)
    if not 0 <= read <= top:
        raise ValueError(text)
    return read


def colon_range(
    text: str, top: int, read: Callable[[str, int], int] = number, separator: str = ":"
) -> tuple[int, int]:
    """`N`, `N:M`, `:M` or `N:`, both ends included; nothing is in one that ends before it begins."""
    low, colon, high = text.partition(separator)
    if not colon:
        return read(low, top), read(low, top)
    return (read(low, top) if low else 0), (read(high, top) if high else top)


# --- addresses -------------------------------------------------------------------------------------------


def network_condition(field: str, text: str, version: int) -> Condition:
    """An address, a network or an address with a dotted netmask, as a condition on a field."""
    bits = 32 if version == 4 else 128
    base, slash, mask = text.partition("/")
    address = ip_address(base)
    if address.version != version:
        return NEVER
    if not slash:
        value = (1 << bits) - 1
    elif mask.isdecimal():
        if int(mask) > bits:
            raise ValueError(text)
        value = ((1 << int(mask)) - 1) << (bits - int(mask))
    else:
        value = int(ip_address(mask))
    return Masked(field, int(address) & value, value) if value else ALWAYS


def in_networks(field: str, networks: Iterable[IPv4Network | IPv6Network]) -> Condition:
    """A field lies in one of the networks."""
    return AnyOf(tuple(Masked(field, int(n.network_address), int(n.netmask)) for n in networks))
