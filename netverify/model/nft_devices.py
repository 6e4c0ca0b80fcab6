"""Which devices the rules of nftables name."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.ruleset import NftRuleset
from netverify.ruleset.nft_expressions import AnonymousSet, Element, Meta, Pair
from netverify.ruleset.nft_statements import Comparison, VerdictMap

_KEYS = frozenset({"iif", "oif", "iifname", "oifname", "ibrname", "obrname"})
LOOPBACK = "lo"


def nft_devices(ruleset: NftRuleset) -> tuple[str, ...]:
    """Every device that a rule compares a packet's with, in order; no beginnings of names, and not lo."""
    found: dict[str, None] = {}
    for _place, rule in ruleset.rules():
        for statement in rule.statements:
            compared: tuple[object, object] | None = None
            if isinstance(statement, Comparison):
                compared = statement.left, statement.right
            elif isinstance(statement, VerdictMap):
                compared = statement.key, statement.data
            if compared is not None and isinstance(compared[0], Meta) and compared[0].key in _KEYS:
                found |= dict.fromkeys(_names(compared[1]))
    return tuple(name for name in found if name != LOOPBACK and not name.endswith("*"))


def _names(value: object) -> Iterator[str]:
    """The texts in a value that are compared: those of a set, the keys of a map, none of its verdicts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, AnonymousSet):
        for element in value.elements:
            yield from _names(element)
    elif isinstance(value, Element):
        yield from _names(value.value)
    elif isinstance(value, Pair):
        yield from _names(value.key)
