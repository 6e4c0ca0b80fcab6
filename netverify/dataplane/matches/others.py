"""Matches of which nothing, or nothing but a fixed answer, is modelled: what becomes an unknown, and which.

Sources: iptables-extensions(8); net/netfilter/xt_{recent,policy}.c, net/ipv6/netfilter/ip6t_rt.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netverify.dataplane.condition import (
    ALWAYS,
    NEVER,
    Condition,
    Unknown,
    all_of,
    negated_if,
)
from netverify.dataplane.matches.conntrack import TRACKED
from netverify.dataplane.matches.devices import HAS_SOCKET
from netverify.dataplane.matches.meaning import Context, Meaning, Whole, text_of
from netverify.ruleset import Match, Option

STATEFUL = frozenset(
    {"limit", "hashlimit", "connlimit", "statistic", "quota", "recent", "connbytes", "rateest", "nfacct"}
)
"""Matches that keep count: two rules with the same words can decide differently."""

USUAL = frozenset(
    {("limit", "limit"), ("hashlimit", "hashlimit-upto"), ("connlimit", "connlimit-upto"), ("quota", "quota")}
)
"""Unknowns whose sensible reading is that they match: a rate or a number that is not exceeded."""

SINGLE: Mapping[str, frozenset[str]] = {
    "string": frozenset({"string", "hex-string"}),
    "connlimit": frozenset({"connlimit-above", "connlimit-upto"}),
    "statistic": frozenset({"probability", "every"}),
    "quota": frozenset({"quota"}),
    "connbytes": frozenset({"connbytes"}),
    "connlabel": frozenset({"label"}),
    "cgroup": frozenset({"path", "cgroup"}),
    "realm": frozenset({"realm"}),
    "cpu": frozenset({"cpu"}),
    "u32": frozenset({"u32"}),
    "set": frozenset({"match-set"}),
}
"""Extensions with one test, whose other options are its parameters: `!` at that test turns them around.

So a rule and its negation share one unknown. Of other extensions both may fail (a header is missing), or
the options are several tests; there the negated words are an unknown of their own.
"""

_BEFORE: Mapping[str, Condition] = {"connbytes": TRACKED, "cgroup": HAS_SOCKET}
"""What such an extension needs of a packet, without which it fails negated or not."""


def is_shared(match: Match, changing: frozenset[str] = frozenset()) -> bool:
    """Whether rules with the same words decide alike; not so where a match keeps count, or a set changes."""
    if match.name != "set":
        return match.name not in STATEFUL
    asked = match.option("match-set")
    return asked is None or not asked.values or asked.values[0] not in changing


def unknown(match: Match, context: Context) -> Condition:
    """A match of which nothing is modelled: one unknown, and its rule's own where the match keeps count."""
    own = f" ({context.place})" if context.place and not is_shared(match, context.changing) else ""
    usual = match.name == "limit" or any((match.name, option.name) in USUAL for option in match.options)
    tests = SINGLE.get(match.name, frozenset())
    turned = [option for option in match.options if option.negated]
    if tests and {option.name for option in turned} <= tests:
        plain = replace(match, options=tuple(replace(option, negated=False) for option in match.options))
        known = negated_if(Unknown(text_of(plain) + own, usual), bool(turned))
    else:
        known = Unknown(text_of(match) + own, usual != bool(turned))
    needed = _BEFORE.get(match.name)
    return known if needed is None else all_of((needed, known))


def recent(match: Match, context: Context) -> Condition:
    """`--set` always matches; whether an address is listed already is unknown, usually not (xt_recent.c)."""
    first = next((o for o in match.options if o.name in ("set", "rcheck", "update", "remove")), None)
    if first is not None and first.name == "set":
        return NEVER if first.negated else ALWAYS
    negated = first is not None and first.negated
    plain = replace(match, options=tuple(replace(option, negated=False) for option in match.options))
    own = f" ({context.place})" if context.place else ""
    return negated_if(Unknown(text_of(plain) + own), negated)


def policy(match: Match, _context: Context) -> Condition:
    """IPsec: no packet here was ever under a policy, so `--pol none` holds of all (match_policy_in, _out).

    A rule for packets that were is not for nothing, though: whether it matches is unknown, usually not.
    """
    chosen = match.option("pol")
    plain = {option.name for option in match.options} <= {"dir", "pol"}
    if plain and chosen is not None and chosen.value == "none" and not chosen.negated:
        return ALWAYS
    return Unknown(text_of(match))


def rt(_match: Match, _context: Context) -> Condition:
    """A routing header, which no packet here carries (RFC 8200, 4.4): without one it is no match."""
    return NEVER


def _always(_option: Option, _match: Match, _context: Context) -> Condition:
    return ALWAYS


MEANINGS: Mapping[tuple[str, str], Meaning] = {("comment", "comment"): _always}

WHOLE: Mapping[str, Whole] = {"recent": recent, "policy": policy, "rt": rt}

WITHOUT_OPTIONS = frozenset({"tcp", "udp", "sctp", "dccp", "icmp", "icmp6", "comment"})
"""Extensions that test nothing of their own where no option follows: `-p` has tested the protocol."""
