"""Which devices the rules of nftables name, and which networks they connect with them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from netverify.dataplane.view import Network
from netverify.ruleset import NftRuleset
from netverify.ruleset.nft_expressions import AnonymousSet, Element, Meta, Pair, Payload, Prefix
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


_NEAR = {("iifname", "=="): "saddr", ("oifname", "=="): "daddr", ("oifname", "!="): "saddr"}
"""How a rule says that a network is behind a device, as masquerading does: from there and not back to it."""


def nft_networks(ruleset: NftRuleset) -> Iterator[tuple[str, Network]]:
    """Devices with networks behind them, as far as single rules say so."""
    for _place, rule in ruleset.rules():
        tests = [each for each in rule.statements if isinstance(each, Comparison)]
        devices = [each for each in tests if isinstance(each.left, Meta) and isinstance(each.right, str)]
        for device in devices:
            if not isinstance(device.left, Meta) or device.right == LOOPBACK:
                continue
            field = _NEAR.get((device.left.key, device.operator))
            for test in tests:
                is_address = isinstance(test.left, Payload) and test.left.field == field
                network = _network(test.right) if is_address and test.operator == "==" else None
                if network is not None:
                    yield str(device.right), network


def _network(value: object) -> Network | None:
    """The network in a comparison, if it is one."""
    if not isinstance(value, Prefix) or not isinstance(value.address, str):
        return None
    try:
        return ip_network(f"{value.address}/{value.length}", strict=False)
    except ValueError:
        return None


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
