"""Two rulesets of the same host, one written and one found, chain by chain."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import ndiff

from netverify.ruleset import Ruleset

Chains = dict[tuple[str, str], tuple[str, ...]]


def differences(written: Ruleset, found: Ruleset) -> list[str]:
    """What is not the same in both, rule by rule in order; empty if nothing.

    Each chain that differs is a line `TABLE CHAIN`, and then one line for each rule in only one of the two,
    `-` for written and `+` for found. A table that nobody touched and one with nothing in it are the same.
    """
    return list(_differences(_chains(written), _chains(found)))


def _differences(written: Chains, found: Chains) -> Iterator[str]:
    for place in sorted({*written, *found}):
        here, there = written.get(place, ()), found.get(place, ())
        if here == there:
            continue
        yield " ".join(place)
        yield from (line for line in ndiff(here, there) if line[0] in "-+")


def _chains(ruleset: Ruleset) -> Chains:
    """Every chain's policy, if it has one, and its rules as text."""
    found = {
        (table.name, chain.name): (
            *([f"policy {chain.policy}"] if chain.policy is not None else ["a chain"]),
            *map(str, chain.rules),
        )
        for table in ruleset.tables
        for chain in table.chains
    }
    return {place: rules for place, rules in found.items() if rules != ("policy ACCEPT",)}
