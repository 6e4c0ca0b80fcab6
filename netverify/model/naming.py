"""How rules and targets are written for people: `HOST: TABLE CHAIN rule N: TEXT`, `NAME@ADDRESS:PORT`."""

from __future__ import annotations

from ipaddress import ip_address

from netverify.errors import InputError
from netverify.reachability.text import printable
from netverify.ruleset import NftPlace, NftRule, Rule, RulePlace
from netverify.topology.model import Address


def describe(host: str, place: RulePlace | NftPlace, rule: Rule | NftRule | None) -> str:
    """A rule as people find it again: host, table, chain, number, text."""
    text = "" if rule is None else f": {rule}"
    return f"{host}: {place_words(place)}{text}"


def place_words(place: RulePlace | NftPlace) -> str:
    """Where a rule stands: `filter FORWARD rule 3`, `inet firewalld filter_FWD policy`."""
    table = place.table if isinstance(place, RulePlace) else f"{place.family} {place.table}"
    return f"{table} {place.chain} " + ("policy" if place.number == 0 else f"rule {place.number}")


def split_target(text: str) -> tuple[str, Address | None, int | None]:
    """NAME, ADDRESS and PORT of a target, where ADDRESS and PORT may be missing.

    It is written NAME, NAME:PORT, NAME@ADDRESS, NAME@ADDRESS:PORT or NAME@[ADDRESS]:PORT. Raises InputError.
    """
    name, at, rest = text.partition("@")
    if not at:
        name, colon, port = text.partition(":")
        return name, None, _port(port, text) if colon else None
    if rest.startswith("["):
        inner, _, tail = rest[1:].partition("]")
        return name, _address(inner, text), _port(tail[1:], text) if tail else None
    if rest.count(":") > 1:
        return name, _address(rest, text), None
    host, colon, port = rest.partition(":")
    return name, _address(host, text), _port(port, text) if colon else None


def _address(text: str, whole: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise InputError(f"target '{printable(whole)}': '{printable(text)}' is not an IP address") from error


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise InputError(f"target '{printable(whole)}': '{printable(text)}' is not a port from 1 to 65535")
    return int(text)
