"""A ruleset made ready to run on a host: conditions instead of words, effects instead of targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from netverify.dataplane.condition import ALWAYS, Condition
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.matches import STATEFUL, Context, compile_match, text_of
from netverify.dataplane.rewrite import Rewrite
from netverify.dataplane.targets import Ending, Verdict, compile_target
from netverify.dataplane.view import HostView
from netverify.ruleset import Chain, Match, Rule, RulePlace, Ruleset, Table


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a rule, with the words that it was written in."""

    condition: Condition
    text: str


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule: all its tests, and what follows when they hold.

    `not_modelled` says in words what its target would do beyond what is known here; the packet then goes on.
    """

    place: RulePlace
    rule: Rule
    tests: tuple[Test, ...]
    ending: Ending | None = None
    rewrite: Rewrite | None = None
    callee: str | None = None
    goto: bool = False
    not_modelled: str = ""


@dataclass(frozen=True, slots=True)
class CompiledChain:
    """A chain; `policy` is the ending of what reaches its end, FALL for a user's chain.

    `rewrites` says whether it, or a chain that it calls, writes into packets.
    """

    table: str
    name: str
    rules: tuple[CompiledRule, ...]
    policy: Verdict = Verdict.FALL
    rewrites: bool = False

    @property
    def policy_place(self) -> RulePlace:
        """The place under which its policy counts."""
        return RulePlace(self.table, self.name, 0)


@dataclass(frozen=True)
class Program:
    """Every chain of a ruleset, ready to run. Made by `compile_rules`."""

    ruleset: Ruleset
    host: HostView
    chains: Mapping[tuple[str, str], CompiledChain] = field(repr=False)

    def chain(self, table: str, name: str) -> CompiledChain | None:
        """A chain, or None when the ruleset does not have it: then everything passes."""
        return self.chains.get((table, name))


def compile_rules(ruleset: Ruleset, host: HostView) -> Program:
    """Make a ruleset ready to run on `host`, whose addresses and sets its rules may ask for.

    Raises DataplaneError where chains call each other in a circle, which the kernel refuses as well.
    """
    chains: dict[tuple[str, str], CompiledChain] = {}
    version = 4 if ruleset.family == "ipv4" else 6
    tests: dict[Match, Test] = {}
    for table in ruleset.tables:
        compiler = _TableCompiler(table, version, host, tests)
        for chain in table.chains:
            compiler.compile(chain, ())
        chains |= {(table.name, name): chain for name, chain in compiler.done.items()}
    return Program(ruleset, host, MappingProxyType(chains))


@dataclass
class _TableCompiler:
    table: Table
    version: int
    host: HostView
    tests: dict[Match, Test]
    done: dict[str, CompiledChain] = field(default_factory=dict)

    def compile(self, chain: Chain, callers: tuple[str, ...]) -> CompiledChain:
        if chain.name in self.done:
            return self.done[chain.name]
        if chain.name in callers:
            circle = " -> ".join((*callers[callers.index(chain.name) :], chain.name))
            raise DataplaneError(
                f"host {self.host.name}, table {self.table.name}: chains in a circle: {circle}"
            )
        for rule in chain.rules:
            callee = self.table.callee(rule)
            if callee is not None:
                self.compile(callee, (*callers, chain.name))
        rules = tuple(self._rule(chain.name, number, rule) for number, rule in enumerate(chain.rules, 1))
        policy = Verdict.FALL
        if self.table.is_builtin(chain.name):
            policy = Verdict.DROP if chain.policy == "DROP" else Verdict.ACCEPT
        writes = any(r.rewrite is not None or (r.callee and self.done[r.callee].rewrites) for r in rules)
        compiled = CompiledChain(self.table.name, chain.name, rules, policy, writes)
        self.done[chain.name] = compiled
        return compiled

    def _rule(self, chain: str, number: int, rule: Rule) -> CompiledRule:
        place = RulePlace(self.table.name, chain, number)
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
            known = Test(compile_match(match, Context(self.version, self.host, where)), text_of(match))
            if match.is_core or match.name not in STATEFUL:
                self.tests[match] = known
        return None if known.condition == ALWAYS else known
