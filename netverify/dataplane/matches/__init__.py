"""What each match of a rule means, as a condition. Tables, from extension and option to a function.

Sources: iptables-extensions(8) and net/netfilter/xt_*.c, net/ipv{4,6}/netfilter/*.c of Linux 6.x. A match or
an option that has no entry here becomes an unknown; nothing is guessed and nothing dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from netverify.dataplane.condition import ALWAYS, Condition, all_of
from netverify.dataplane.matches import addresses, conntrack, devices, header, ipsets, others
from netverify.dataplane.matches.meaning import (
    Context,
    Meaning,
    NotModelled,
    Whole,
    in_networks,
    network_condition,
    option_unknown,
    text_of,
)
from netverify.dataplane.matches.others import STATEFUL, USUAL, is_shared
from netverify.ruleset import Match, Option
from netverify.ruleset.vocabulary import MATCHES

__all__ = [
    "MEANINGS",
    "STATEFUL",
    "USUAL",
    "WHOLE",
    "Context",
    "compile_match",
    "in_networks",
    "is_shared",
    "network_condition",
    "text_of",
]

MEANINGS: Mapping[tuple[str, str], Meaning] = {
    **header.MEANINGS,
    **conntrack.MEANINGS,
    **devices.MEANINGS,
    **others.MEANINGS,
}
"""What (extension, option) tests. Options of one match must all hold."""

WHOLE: Mapping[str, Whole] = {
    "addrtype": addresses.addrtype,
    "rpfilter": addresses.rpfilter,
    "set": ipsets.match_set,
    **others.WHOLE,
}
"""What an extension tests whose options decide together."""


def compile_match(match: Match, context: Context) -> Condition:
    """The condition that a match is; unknown where this package does not know its meaning."""
    whole = WHOLE.get(match.name)
    if whole is not None:
        return _whole(whole, match, context)
    if not match.options:
        return ALWAYS if match.name in others.WITHOUT_OPTIONS else others.unknown(match, context)
    if not any((match.name, option.name) in MEANINGS for option in match.options):
        return others.unknown(match, context)
    return all_of(_option(option, match, context) for option in match.options)


def _whole(whole: Whole, match: Match, context: Context) -> Condition:
    """What the options decide together; those that the extension is not known to have are unknowns."""
    known = tuple(option for option in match.options if option.name in MATCHES[match.name])
    strangers = [option_unknown(option, match) for option in match.options if option not in known]
    part = Match(match.name, known)
    try:
        decided = whole(part, context)
    except (NotModelled, ValueError):
        decided = others.unknown(part, context)
    return all_of((decided, *strangers))


def _option(option: Option, match: Match, context: Context) -> Condition:
    meaning = MEANINGS.get((match.name, option.name))
    if meaning is not None:
        try:
            return meaning(option, match, context)
        except (NotModelled, ValueError, KeyError):
            pass
    return option_unknown(option, match)
