"""The rules of nftables as data: tables, chains with hooks, rules, sets and maps.

The words for what rules look at and do are in nft_expressions.py and nft_statements.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from netverify.ruleset.counters import Counters
from netverify.ruleset.errors import CountersNotComparable, NoSuchPlace, RulesetError
from netverify.ruleset.nft_expressions import Expression, Verbatim
from netverify.ruleset.nft_statements import Count, Statement

NftFamily = Literal["ip", "ip6", "inet", "arp", "bridge", "netdev"]
"""What packets a table sees; `inet` sees IPv4 and IPv6."""

FAMILIES: tuple[str, ...] = get_args(NftFamily)

Extra = tuple[tuple[str, str], ...]
"""Attributes that this project does not model: name and JSON text, sorted by name."""


@dataclass(frozen=True, slots=True, order=True)
class NftPlace:
    """Where a rule stands: family and name of the table, the chain, and the rule's number in it from 1.

    Number 0 is the chain's policy.
    """

    family: str
    table: str
    chain: str
    number: int

    @property
    def is_policy(self) -> bool:
        """Whether this is the chain's policy and not one of its rules."""
        return self.number == 0

    def __str__(self) -> str:
        last = "policy" if self.is_policy else f"rule:{self.number}"
        return f"{self.family} {self.table}:{self.chain}:{last}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel calls a base chain: the lower the priority number, the earlier.

    `type` is filter, nat or route; `policy` (accept or drop) is for what reaches the end of the chain;
    `devices` is for the hooks ingress and egress only (nft 1.0.6 does not print it in JSON).
    """

    type: str
    hook: str
    priority: int
    policy: str | None = None
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in ("accept", "drop", None):
            raise RulesetError(f"policy {self.policy!r} is neither accept nor drop")


@dataclass(frozen=True, slots=True)
class NftRule:
    """One rule: statements that are carried out from left to right until one does not match or decides."""

    statements: tuple[Statement, ...]
    comment: str | None = None
    handle: int | None = field(default=None, compare=False)
    extra: Extra = ()

    @property
    def counters(self) -> Counters | None:
        """What the first counter of the rule's own counted; None if it has none."""
        counts = (step for step in self.statements if isinstance(step, Count) and step.name is None)
        return next((count.counters for count in counts), None)

    @property
    def is_known(self) -> bool:
        """Whether all statements are modelled. (Expressions inside them may still be `Verbatim`.)"""
        return not self.extra and not any(isinstance(step, Verbatim) for step in self.statements)

    def __str__(self) -> str:
        comment = [] if self.comment is None else [f'comment "{self.comment}"']
        return " ".join([*map(str, self.statements), *comment])


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain: a base chain if it has a hook, else one that only `jump` and `goto` reach."""

    name: str
    hook: Hook | None = None
    rules: tuple[NftRule, ...] = ()
    comment: str | None = None
    handle: int | None = field(default=None, compare=False)
    extra: Extra = ()

    def rule(self, number: int) -> NftRule:
        """The rule of that number, counted from 1. Raises NoSuchPlace."""
        if not 1 <= number <= len(self.rules):
            raise NoSuchPlace(f"chain {self.name} has {len(self.rules)} rules, no rule {number}")
        return self.rules[number - 1]


@dataclass(frozen=True, slots=True)
class NftSet:
    """A named set or, with a `value_type`, a map, whose elements are `Pair`s; verdict is such a type too.

    Times are in seconds. `size` is the most elements it may have.
    """

    name: str
    key_types: tuple[str, ...]
    value_type: str | None = None
    flags: tuple[str, ...] = ()
    elements: tuple[Expression, ...] = ()
    timeout: int | None = None
    size: int | None = None
    comment: str | None = None
    handle: int | None = field(default=None, compare=False)
    extra: Extra = ()

    @property
    def is_map(self) -> bool:
        """Whether elements have values."""
        return self.value_type is not None


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table of one family, with its chains, sets and maps; `others` are its counters, quotas, helpers."""

    family: NftFamily
    name: str
    chains: tuple[NftChain, ...] = ()
    sets: tuple[NftSet, ...] = ()
    flags: tuple[str, ...] = ()
    others: tuple[Verbatim, ...] = field(default=(), compare=False)
    comment: str | None = None
    handle: int | None = field(default=None, compare=False)
    extra: Extra = ()

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise RulesetError(f"no family {self.family!r}: expected one of {', '.join(FAMILIES)}")
        for kind, names in (("chain", [c.name for c in self.chains]), ("set", [s.name for s in self.sets])):
            if len(set(names)) != len(names):
                raise RulesetError(f"table {self.family} {self.name} has a {kind} twice")

    @property
    def is_dormant(self) -> bool:
        """Whether the kernel ignores the table for now.

        nft 1.0.6 prints the table's own name where the flag's name belongs, so that counts as well.
        """
        return "dormant" in self.flags or self.name in self.flags

    def chain(self, name: str) -> NftChain:
        """The chain of that name. Raises NoSuchPlace."""
        for chain in self.chains:
            if chain.name == name:
                return chain
        raise NoSuchPlace(f"table {self.family} {self.name} has no chain {name}")

    def set(self, name: str) -> NftSet:
        """The set or map of that name. Raises NoSuchPlace."""
        for found in self.sets:
            if found.name == name:
                return found
        raise NoSuchPlace(f"table {self.family} {self.name} has no set or map {name}")


@dataclass(frozen=True, slots=True)
class NftRuleset:
    """Everything that nftables holds in one network namespace.

    `version` is that of the nft that printed it; `others` are objects outside of any table.
    """

    tables: tuple[NftTable, ...] = ()
    version: str | None = field(default=None, compare=False)
    others: tuple[Verbatim, ...] = ()

    def __post_init__(self) -> None:
        places = [(table.family, table.name) for table in self.tables]
        if len(set(places)) != len(places):
            raise RulesetError("the ruleset has a table of the same family and name twice")

    @classmethod
    def parse(cls, text: str) -> NftRuleset:
        """Read the output of `nft -j list ruleset`. Raises RulesetSyntaxError with line and column."""
        from netverify.ruleset.nft_reader import parse_nft  # the file format builds on this module

        return parse_nft(text)

    def render(self) -> str:
        """JSON that `nft -j -f -` loads, and that reads as this ruleset again."""
        from netverify.ruleset.nft_writer import render_nft  # the file format builds on this module

        return render_nft(self)

    def table(self, family: str, name: str) -> NftTable:
        """The table of that family and name. Raises NoSuchPlace."""
        for table in self.tables:
            if (table.family, table.name) == (family, name):
                return table
        raise NoSuchPlace(f"nftables has no table {family} {name}")

    def rules(self) -> Iterator[tuple[NftPlace, NftRule]]:
        """Every rule with its place, in the order of the file."""
        for table in self.tables:
            for chain in table.chains:
                for number, rule in enumerate(chain.rules, 1):
                    yield NftPlace(table.family, table.name, chain.name, number), rule

    def base_chains(self) -> Iterator[tuple[NftTable, NftChain, Hook]]:
        """Every chain that the kernel calls, by hook and then in the order in which it calls them.

        Of chains of equal priority, the kernel calls the one that was registered last before the others, and
        the file has them in the order of registration (net/netfilter/core.c, nf_hook_entries_grow).
        """
        found = [(t, c, c.hook) for t in self.tables for c in t.chains if c.hook is not None][::-1]
        yield from sorted(found, key=lambda base: (base[2].hook, base[2].priority))

    def counters_since(self, before: NftRuleset) -> Mapping[NftPlace, Counters]:
        """What the rules' own counters counted since the reading `before`: only those that moved.

        Rules without a counter cannot show, and policies have none. Raises CountersNotComparable when the
        rules differ, or when a counter went down because somebody reset it.
        """
        if self != before:
            raise CountersNotComparable("the rules changed between the two readings of their counters")
        moved: dict[NftPlace, Counters] = {}
        for (place, now), (_, then) in zip(self.rules(), before.rules(), strict=True):
            if now.counters is None or then.counters is None:
                continue
            if now.counters.packets < then.counters.packets or now.counters.bytes < then.counters.bytes:
                raise CountersNotComparable(
                    f"{place} went from {then.counters} to {now.counters}: it was reset"
                )
            if now.counters != then.counters:
                moved[place] = now.counters - then.counters
        return moved
