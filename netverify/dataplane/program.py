"""A ruleset made ready to run on a host: conditions instead of words, effects instead of targets.

Rules of iptables and of nftables become the same data. Tables of iptables go by their names, native ones by
family and name, such as "inet filter"; a host's legacy tables, where it has both backends, begin with
"legacy ".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from netverify.dataplane.condition import ALWAYS, Condition, Named, leaves
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.matches import Context, compile_match, is_shared, text_of
from netverify.dataplane.rewrite import Rewrite
from netverify.dataplane.targets import Ending, Verdict, changed_sets, compile_target
from netverify.dataplane.view import HostView
from netverify.ruleset import Chain, Match, Rule, RulePlace, Ruleset, Table
from netverify.ruleset.nft import NftPlace, NftRule

Place = RulePlace | NftPlace
"""Where a rule of iptables or of nftables stands; number 0 is the policy of its chain."""


def table_of(place: Place) -> str:
    """The name in a program of the table that a place is in."""
    return f"{place.family} {place.table}" if isinstance(place, NftPlace) else place.table


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a rule, with the words that it was written in."""

    condition: Condition
    text: str


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule: all its tests, and what follows when they hold.

    `not_modelled` says in words what its target would do beyond what is known here; the packet then goes on.

    A rule of nftables can do several things, one after the other. It then calls a chain of its own that holds
    its remaining steps (`part`): what that chain returns, the rule's own chain returns. Among such steps,
    `last` ends the part for the packets that match and are not taken away: no later step sees them. `words`
    are the step's, and `counts` says whether a counter of the rule counts what passes the tests; the rules of
    iptables always count.
    """

    place: Place
    rule: Rule | NftRule
    tests: tuple[Test, ...]
    ending: Ending | None = None
    rewrite: Rewrite | None = None
    callee: str | None = None
    goto: bool = False
    not_modelled: str = ""
    part: bool = False
    last: bool = False
    words: str = ""
    counts: bool = True


@dataclass(frozen=True, slots=True)
class CompiledChain:
    """A chain; `policy` is the ending of what reaches its end, FALL for a user's chain.

    `rewrites` says whether it, or a chain that it calls, writes into packets. `is_part` marks the steps of
    one rule of nftables, which nobody wrote as a chain.
    """

    table: str
    name: str
    rules: tuple[CompiledRule, ...]
    policy: Verdict = Verdict.FALL
    rewrites: bool = False
    place: Place | None = None
    is_part: bool = False

    @property
    def policy_place(self) -> Place:
        """The place under which its policy counts."""
        return self.place or RulePlace(self.table, self.name, 0)


@dataclass(frozen=True)
class Program:
    """Every chain of a ruleset, ready to run. Made by `compile_rules` and `nft.compile_nft`.

    `ruleset` holds iptables' rules; that of a program of native nftables is empty and tells its family.
    """

    ruleset: Ruleset
    host: HostView
    chains: Mapping[tuple[str, str], CompiledChain] = field(repr=False)
    changing: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The sets that rules of the host write into, as it was compiled."""

    def chain(self, table: str, name: str) -> CompiledChain | None:
        """A chain, or None when the ruleset does not have it: then everything passes."""
        return self.chains.get((table, name))

    def devices(self) -> frozenset[str]:
        """Every device that a rule asks for; those that begin with `eth` are `eth+`."""
        rules = (rule for chain in self.chains.values() for rule in chain.rules)
        tested = (leaf for rule in rules for test in rule.tests for leaf in leaves(test.condition))
        return frozenset(leaf.name + "+" * leaf.prefix for leaf in tested if isinstance(leaf, Named)) - {""}


def compile_rules(
    ruleset: Ruleset, host: HostView, *, prefix: str = "", like: Program | None = None
) -> Program:
    """Make a ruleset ready to run on `host`, whose addresses and sets its rules may ask for.

    `prefix` is put before the names of its tables, to tell them from another backend's. What `like`, a
    program of the same host and prefix, has made of the same rules is used again; it changes nothing but the
    time. Raises DataplaneError where chains call each other in a circle, which the kernel refuses as well.
    """
    chains: dict[tuple[str, str], CompiledChain] = {}
    version = 4 if ruleset.family == "ipv4" else 6
    tests: dict[Match, Test] = {}
    changing = changed_sets(ruleset, host.ipv4, host.ipv6)
    made: Mapping[tuple[str, str], CompiledChain] = {}
    if like is not None and like.host is host and like.changing == changing:
        made = like.chains if like.ruleset.family == ruleset.family else {}
    for table in ruleset.tables:
        compiler = _TableCompiler(table, prefix + table.name, version, host, tests, changing, made)
        for chain in table.chains:
            compiler.compile(chain, ())
        chains |= {(compiler.name, name): chain for name, chain in compiler.done.items()}
    return Program(ruleset, host, MappingProxyType(chains), changing)


@dataclass
class _TableCompiler:
    table: Table
    name: str
    version: int
    host: HostView
    tests: dict[Match, Test]
    changing: frozenset[str] = frozenset()
    made: Mapping[tuple[str, str], CompiledChain] = field(default_factory=dict)
    done: dict[str, CompiledChain] = field(default_factory=dict)

    def compile(self, chain: Chain, callers: tuple[str, ...]) -> CompiledChain:
        if chain.name in self.done:
            return self.done[chain.name]
        if chain.name in callers:
            circle = " -> ".join((*callers[callers.index(chain.name) :], chain.name))
            raise DataplaneError(f"host {self.host.name}, table {self.name}: chains in a circle: {circle}")
        callees = [self.table.callee(rule) for rule in chain.rules]
        for callee in callees:
            if callee is not None:
                self.compile(callee, (*callers, chain.name))
        like = self.made.get((self.name, chain.name))
        known = {} if like is None else {id(compiled.rule): compiled for compiled in like.rules}
        rules = tuple(
            self._again(known.get(id(rule)), chain.name, number, callee)
            or self._rule(chain.name, number, rule)
            for number, (rule, callee) in enumerate(zip(chain.rules, callees, strict=True), 1)
        )
        policy = Verdict.FALL
        if self.table.is_builtin(chain.name):
            policy = Verdict.DROP if chain.policy == "DROP" else Verdict.ACCEPT
        writes = any(r.rewrite is not None or (r.callee and self.done[r.callee].rewrites) for r in rules)
        compiled = CompiledChain(self.name, chain.name, rules, policy, writes)
        self.done[chain.name] = compiled
        return compiled

    def _again(
        self, made: CompiledRule | None, chain: str, number: int, callee: Chain | None
    ) -> CompiledRule | None:
        """A rule that another program has compiled, if it says the same where it stands now."""
        if made is None or made.callee != (None if callee is None else callee.name):
            return None
        if made.place.number == number:
            return made
        if not all(is_shared(match, self.changing) for match in made.rule.matches):  # type: ignore[union-attr]
            return None  # an unknown of its own has its place in its name
        return replace(made, place=RulePlace(self.name, chain, number))

    def _rule(self, chain: str, number: int, rule: Rule) -> CompiledRule:
        place = RulePlace(self.name, chain, number)
        tests = tuple(
            test for test in (self._test(match, place) for match in rule.matches) if test is not None
        )
        if rule.target is None:
            return CompiledRule(place, rule, tests)
        callee = self.table.callee(rule)
        if callee is not None:
            return CompiledRule(place, rule, tests, callee=callee.name, goto=rule.target.goto)
        effect = compile_target(rule.target, self.version)
        return CompiledRule(
            place, rule, tests, effect.ending, effect.rewrite, not_modelled=effect.not_modelled
        )

    def _test(self, match: Match, place: RulePlace) -> Test | None:
        known = self.tests.get(match)
        if known is None:
            where = f"{self.host.name}: {place}"
            context = Context(self.version, self.host, where, self.changing)
            known = Test(compile_match(match, context), text_of(match))
            if is_shared(match, self.changing):
                self.tests[match] = known
        return None if known.condition == ALWAYS else known
