"""Native nftables rules whose drops can be counted: a counter before each verdict that drops.

The kernel counts what a base chain's policy drops nowhere, and a rule only where it says `counter`. Counters
change no packet's fate, so that a copy of somebody's rules with counters added behaves as the original does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from netverify.ruleset.counters import Counters
from netverify.ruleset.nft import NftChain, NftPlace, NftRule, NftRuleset, NftTable
from netverify.ruleset.nft_expressions import Verdict
from netverify.ruleset.nft_statements import Count, Reject, Statement

POLICY = "netverify: what comes to the policy"
"""The comment of the rule that is put at the end of a base chain with the policy drop."""


def with_counted_drops(ruleset: NftRuleset) -> NftRuleset:
    """The same rules, with an anonymous counter just before everything that drops."""
    return replace(ruleset, tables=tuple(map(_table, ruleset.tables)))


def counted_drops(ruleset: NftRuleset) -> Iterator[tuple[NftPlace, NftRule, Counters, bool]]:
    """Every place that has counted drops: where, its rule, how many, and whether it answers (reject)."""
    for place, rule in ruleset.rules():
        if rule.comment == POLICY:
            if rule.counters is not None:
                yield place, rule, rule.counters, False
            continue
        hook = ruleset.table(place.family, place.table).chain(place.chain).hook
        drops_at_end = hook is not None and hook.policy == "drop"
        for before, statement in pairwise(rule.statements):
            if not isinstance(before, Count) or before.name is not None or before.counters is None:
                continue
            if _drops(statement, drops_at_end):
                yield place, rule, before.counters, isinstance(statement, Reject)


def _table(table: NftTable) -> NftTable:
    return replace(table, chains=tuple(map(_chain, table.chains)))


def _chain(chain: NftChain) -> NftChain:
    drops_at_end = chain.hook is not None and chain.hook.policy == "drop"
    rules = tuple(_rule(rule, drops_at_end) for rule in chain.rules)
    if drops_at_end and not any(rule.comment == POLICY for rule in rules):
        rules += (NftRule((Count(),), POLICY),)
    return replace(chain, rules=rules)


def _rule(rule: NftRule, drops_at_end: bool) -> NftRule:
    statements: list[Statement] = []
    for statement in rule.statements:
        before = statements[-1] if statements else None
        known = isinstance(before, Count) and before.name is None
        if _drops(statement, drops_at_end) and not known:
            statements.append(Count())
        statements.append(statement)
    return replace(rule, statements=tuple(statements))


def _drops(statement: Statement, drops_at_end: bool) -> bool:
    """Whether a statement ends packets; in a base chain with the policy drop, `return` does too (nft(8))."""
    if isinstance(statement, Reject):
        return True
    return isinstance(statement, Verdict) and (
        statement.kind == "drop" or (drops_at_end and statement.kind == "return")
    )
