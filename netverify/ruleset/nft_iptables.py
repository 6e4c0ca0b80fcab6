"""Which tables of nftables belong to iptables-nft, and from which of two dumps each is to be read.

iptables-nft keeps its rules in nftables, in tables and chains of fixed names. `nft -j` shows them without the
parameters of extensions, so they must be read from iptables-nft-save. But that tool misreads rules that
others put into its tables: iptables 1.8.9 prints `ip saddr { 10.0.0.1, 10.0.0.2 } drop` as `-j DROP`, and
`ip saddr 10.0.0.1-10.0.0.9` as `-s 10.0.0.9/32`. So a table with a rule that iptables cannot have written
is read from nft, where its extensions are unknown, which is true, instead of wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from netverify.ruleset.errors import RulesetError
from netverify.ruleset.model import Family, Ruleset, Table
from netverify.ruleset.nft import Hook, NftPlace, NftRule, NftRuleset, NftTable
from netverify.ruleset.nft_expressions import (
    Expression,
    Flags,
    Meta,
    Operation,
    Payload,
    Prefix,
    Range,
    Verbatim,
)
from netverify.ruleset.nft_expressions import Verdict as NftVerdict
from netverify.ruleset.nft_statements import Assignment, Comparison, Count, Statement, Xt
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

IPTABLES_FAMILIES: Mapping[str, Family] = MappingProxyType({"ip": "ipv4", "ip6": "ipv6"})
"""Families of nftables that iptables-nft and ip6tables-nft use."""

# The base chains of iptables-nft (xtables_ipv4 in iptables/nft.c). security stands at 150 there, while the
# kernel's NF_IP_PRI_SECURITY is 50.
_PRIORITIES = {"raw": (-300,), "mangle": (-150,), "filter": (0,), "security": (50, 150)}
_NAT_PRIORITIES = {"PREROUTING": -100, "INPUT": 100, "OUTPUT": -100, "POSTROUTING": 100}

# What iptables 1.8.9 translates by itself, seen with one rule of every extension; the rest it leaves to the
# extensions. A later version may translate more: its tables are then read from nft, which is no loss.
_META_KEYS = frozenset({"iif", "oif", "iifname", "oifname", "l4proto", "mark", "pkttype"})
_PORTS = frozenset({"tcp sport", "tcp dport", "udp sport", "udp dport"})
_FIELDS = _PORTS | {
    *("ip saddr", "ip daddr", "ip protocol", "ip frag-off", "ip ttl"),
    *("ip6 saddr", "ip6 daddr", "ip6 nexthdr", "ip6 hoplimit"),
    *("tcp flags", "icmp type", "icmp code", "icmpv6 type", "icmpv6 code"),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """Every table of a host's nftables once, from the dump that tells its rules best.

    `iptables` holds what comes from iptables-nft-save, `native` the rest. `foreign` names the rules in tables
    of iptables that iptables did not write, because of which those tables are in `native`.
    """

    native: NftRuleset
    iptables: tuple[Ruleset, ...]
    foreign: tuple[tuple[NftPlace, NftRule], ...]


def belongs_to_iptables(table: NftTable) -> bool:
    """Whether iptables-nft made the table, judged by its name and its chains' names, hooks and priorities."""
    if table.family not in IPTABLES_FAMILIES or table.name not in BUILTIN_CHAINS:
        return False
    hooks = [(chain.name, chain.hook) for chain in table.chains if chain.hook is not None]
    return bool(hooks) and all(_is_builtin(table.name, name, hook) for name, hook in hooks)


def is_written_by_iptables(rule: NftRule) -> bool:
    """Whether iptables-nft can have written the rule, so that iptables-nft-save reads it as it is."""
    own_counter = any(isinstance(step, Count) and step.name is None for step in rule.statements)
    plain = rule.comment is None and not rule.extra
    return own_counter and plain and all(map(_is_statement, rule.statements))


def split_sources(dump: NftRuleset, saved: Iterable[Ruleset]) -> Sources:
    """Decide for every table whether to believe `nft -j list ruleset` or what ip(6)tables-nft-save printed.

    Raises RulesetError when the dumps do not fit together: from different times, or from the legacy backend.
    """
    by_family: dict[Family, Ruleset] = {}
    for ruleset in saved:
        if ruleset.family in by_family:
            raise RulesetError(f"two dumps of {ruleset.family} rules: expected one of each family")
        by_family[ruleset.family] = ruleset
    taken: set[tuple[Family, str]] = set()
    native: list[NftTable] = []
    foreign: list[tuple[NftPlace, NftRule]] = []
    for table in dump.tables:
        theirs = belongs_to_iptables(table)
        strange = _strange_rules(table) if theirs else []
        foreign += strange
        family = IPTABLES_FAMILIES.get(table.family)
        known = family is not None and family in by_family and by_family[family].has_table(table.name)
        if family is not None and theirs and known and not strange and not table.sets:
            _check_same(table, by_family[family].table(table.name))
            taken.add((family, table.name))
        else:
            native.append(table)
    for family, ruleset in by_family.items():
        _check_complete(ruleset, {t.name for t in dump.tables if IPTABLES_FAMILIES.get(t.family) == family})
    iptables = (
        replace(ruleset, tables=tuple(table for table in ruleset.tables if (family, table.name) in taken))
        for family, ruleset in by_family.items()
    )
    return Sources(replace(dump, tables=tuple(native)), tuple(iptables), tuple(foreign))


def _is_builtin(table: str, name: str, hook: Hook) -> bool:
    if name not in BUILTIN_CHAINS[table] or hook.hook != name.lower():
        return False
    if table == "nat":
        return hook.type == "nat" and hook.priority == _NAT_PRIORITIES[name]
    kind = "route" if (table, name) == ("mangle", "OUTPUT") else "filter"
    return hook.type == kind and hook.priority in _PRIORITIES[table]


def _is_statement(statement: Statement) -> bool:
    match statement:
        case Xt() | NftVerdict() | Assignment(Meta("nftrace"), 1):
            return True
        case Count(name=name):
            return name is None
        case Verbatim("limit"):
            return '"inv":true' not in statement.text
        case Verbatim("log"):
            return True
        case Comparison(operator, left, right):
            return _is_field(left) and _is_value(operator, left, right)
    return False


def _is_field(left: Expression) -> bool:
    match left:
        case Meta(key):
            return key in _META_KEYS
        case Payload():
            return str(left) in _FIELDS
        case Operation("&", (Meta() | Payload() as masked, int() | str() | Flags())):
            return _is_field(masked)
    return False


def _is_value(operator: str, left: Expression, right: Expression) -> bool:
    match right:
        case int() | str() if operator == "in":
            return left == Payload("tcp", "flags")
        case int() | str():
            return operator in ("==", "!=") or str(left) in _PORTS
        case Prefix(str()):
            return operator in ("==", "!=")
        case Range(int(), int()):
            return operator in ("==", "!=") and str(left) in _PORTS
    return False


def _strange_rules(table: NftTable) -> list[tuple[NftPlace, NftRule]]:
    return [
        (NftPlace(table.family, table.name, chain.name, number), rule)
        for chain in table.chains
        for number, rule in enumerate(chain.rules, 1)
        if not is_written_by_iptables(rule)
    ]


def _check_same(dumped: NftTable, saved: Table) -> None:
    in_nft = {chain.name: len(chain.rules) for chain in dumped.chains}
    in_save = {chain.name: len(chain.rules) for chain in saved.chains}
    for name in {**in_nft, **in_save}:
        if in_nft.get(name, 0) != in_save.get(name, 0):
            raise RulesetError(
                f"chain {name} of table {dumped.family} {dumped.name} has {in_nft.get(name, 0)} rules in nft"
                f" and {in_save.get(name, 0)} in iptables-save: expected two dumps of the same moment"
            )


def _check_complete(saved: Ruleset, in_nft: set[str]) -> None:
    for table in saved.tables:
        if table.name not in in_nft and any(chain.rules for chain in table.chains):
            raise RulesetError(
                f"table {table.name} of {saved.family} has rules in iptables-save and is not in nft:"
                " expected the dump of iptables-nft-save, of the same moment"
            )
