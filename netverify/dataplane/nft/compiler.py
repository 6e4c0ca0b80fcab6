"""Tables, chains and rules of nftables -> the chains of a program.

A rule becomes one compiled rule. Where it does more than test and then do one thing, its remaining steps
become a chain of their own, which the rule calls as a part of itself (`CompiledRule.part`): so rewriting,
then testing what was written, then deciding is what it is in the kernel, and a verdict map has a step for
each element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from netverify.dataplane.condition import ALWAYS, Condition
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.nft.actions import steps, written_sets
from netverify.dataplane.nft.context import Context
from netverify.dataplane.nft.steps import Choose, Counted, Do, Need, Step
from netverify.dataplane.program import CompiledChain, CompiledRule, Program, Test
from netverify.dataplane.targets import Verdict
from netverify.dataplane.view import HostView
from netverify.ruleset import Ruleset
from netverify.ruleset.nft import NftChain, NftPlace, NftRule, NftRuleset, NftTable

FAMILIES = {4: ("ip", "inet"), 6: ("ip6", "inet")}
"""The families whose chains see packets of an IP version."""


def table_key(table: NftTable) -> str:
    """The name of a table in a program."""
    return f"{table.family} {table.name}"


def compile_nft(ruleset: NftRuleset, host: HostView, version: int) -> Program:
    """Make the native rules for one IP version ready to run on `host`.

    The program's own `ruleset` is empty. Raises DataplaneError where chains call each other in a circle.
    """
    chains: dict[tuple[str, str], CompiledChain] = {}
    for table in ruleset.tables:
        if table.family in FAMILIES[version]:
            compiler = _TableCompiler(table, host, version)
            for chain in table.chains:
                compiler.compile(chain, ())
            chains |= compiler.done
    return Program(Ruleset("ipv4" if version == 4 else "ipv6"), host, MappingProxyType(chains))


@dataclass
class _TableCompiler:
    table: NftTable
    host: HostView
    version: int
    done: dict[tuple[str, str], CompiledChain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = table_key(self.table)
        changing = {
            name
            for chain in self.table.chains
            for rule in chain.rules
            for statement in rule.statements
            for name in written_sets(statement)
        }
        self.context = Context(self.version, self.host, self.table, changing=frozenset(changing))
        self.chains = {chain.name: chain for chain in self.table.chains}

    def compile(self, chain: NftChain, callers: tuple[str, ...]) -> CompiledChain:
        known = self.done.get((self.key, chain.name))
        if known is not None:
            return known
        if chain.name in callers:
            circle = " -> ".join((*callers[callers.index(chain.name) :], chain.name))
            raise DataplaneError(f"host {self.host.name}, table {self.key}: chains in a circle: {circle}")
        rules = tuple(
            self._rule(chain, number, rule, (*callers, chain.name))
            for number, rule in enumerate(chain.rules, 1)
        )
        policy = Verdict.FALL
        if chain.hook is not None:
            policy = Verdict.DROP if chain.hook.policy == "drop" else Verdict.ACCEPT
        place = NftPlace(self.table.family, self.table.name, chain.name, 0)
        return self._add(CompiledChain(self.key, chain.name, rules, policy, self._writes(rules), place))

    def _rule(self, chain: NftChain, number: int, rule: NftRule, callers: tuple[str, ...]) -> CompiledRule:
        place = NftPlace(self.table.family, self.table.name, chain.name, number)
        context = self.context.at(f"{self.host.name}: {place}")
        taken = [step for statement in rule.statements for step in steps(statement, context)]
        for step in taken:
            for callee in _callees(step):
                if callee in self.chains:
                    self.compile(self.chains[callee], callers)
        first = next((index for index, step in enumerate(taken) if isinstance(step, Counted)), -1)
        wanted = [
            step
            for index, step in enumerate(taken)
            if not _is_nothing(step) and (index == first or not isinstance(step, Counted))
        ]
        return _RuleCompiler(self, place, rule).rule(wanted)

    def add_part(self, place: NftPlace, number: int, rules: tuple[CompiledRule, ...]) -> str:
        """Keep the steps of a rule as a chain, and say its name, which no chain of a user can have."""
        name = f"{place.chain}:{place.number}" + (f":{number}" if number else "")
        self._add(
            CompiledChain(self.key, name, rules, rewrites=self._writes(rules), place=place, is_part=True)
        )
        return name

    def _add(self, chain: CompiledChain) -> CompiledChain:
        self.done[self.key, chain.name] = chain
        return chain

    def _writes(self, rules: Sequence[CompiledRule]) -> bool:
        return any(
            rule.rewrite is not None
            or (rule.callee is not None and self.done[self.key, rule.callee].rewrites)
            for rule in rules
        )


@dataclass
class _RuleCompiler:
    """One rule; `parts` counts the chains that its steps became."""

    table: _TableCompiler
    place: NftPlace
    rule_: NftRule
    parts: int = 0

    def rule(self, steps_: Sequence[Step], *, inside: bool = False) -> CompiledRule:
        """Tests, perhaps a counter, and then what is done: one thing, or a part with all the rest."""
        tests: list[Test] = []
        rest = list(steps_)
        while rest and isinstance(rest[0], Need):
            need = rest.pop(0)
            if isinstance(need, Need) and need.condition != ALWAYS:
                tests.append(Test(need.condition, need.words))
        counts = bool(rest) and isinstance(rest[0], Counted)
        rest = rest[1:] if counts else rest
        words = " ".join(test.text for test in tests) if inside else ""
        if len(rest) == 1 and isinstance(rest[0], Do) and rest[0].only_if == ALWAYS:
            done = rest[0]
            return self._do(
                done, tuple(tests), counts=counts, words=f"{words} {done.words}".strip() if inside else ""
            )
        if not rest:
            return CompiledRule(self.place, self.rule_, tuple(tests), words=words, counts=counts)
        callee = self._part(rest)
        return CompiledRule(
            self.place, self.rule_, tuple(tests), callee=callee, part=True, words=words, counts=counts
        )

    def _part(self, rest: Sequence[Step]) -> str:
        number, self.parts = self.parts, self.parts + 1
        rules: list[CompiledRule] = []
        for index, step in enumerate(rest):
            following = rest[index + 1 :]
            if isinstance(step, Need):
                rules.append(self.rule(rest[index:], inside=True))
                break
            if isinstance(step, Counted):
                rules.append(CompiledRule(self.place, self.rule_, (), words="counter"))
            elif isinstance(step, Choose):
                rules += [self._branch(condition, done, following) for condition, done in step.branches]
                break
            else:
                tests = () if step.only_if == ALWAYS else (Test(step.only_if, step.words),)
                rules.append(self._do(step, tests, counts=False, words=step.words))
        return self.table.add_part(self.place, number, tuple(rules))

    def _branch(self, condition: Condition, done: tuple[Do, ...], following: Sequence[Step]) -> CompiledRule:
        """One element of a map; who took it sees none of the others."""
        tests = (Test(condition, done[0].words),)
        onward: list[Step] = [step for step in (*done, *following) if not _is_nothing(step)]
        if not onward:
            return CompiledRule(self.place, self.rule_, tests, last=True, words=done[0].words, counts=False)
        only = onward[0]
        if len(onward) == 1 and isinstance(only, Do) and only.only_if == ALWAYS:
            return self._do(only, tests, counts=False, words=done[0].words, last=True)
        callee = self._part(onward)
        return CompiledRule(
            self.place,
            self.rule_,
            tests,
            callee=callee,
            part=True,
            last=True,
            words=done[0].words,
            counts=False,
        )

    def _do(
        self, done: Do, tests: tuple[Test, ...], *, counts: bool, words: str, last: bool = False
    ) -> CompiledRule:
        callee, strange = done.callee, done.not_modelled
        if callee is not None and callee not in self.table.chains:
            callee, strange = None, f"{done.words}: there is no such chain"
        goto = done.goto and callee is not None
        return CompiledRule(
            self.place, self.rule_, tests, done.ending, done.rewrite, callee, goto, strange,
            last=last, words=words, counts=counts,
        )  # fmt: skip


def _callees(step: Step) -> list[str]:
    if isinstance(step, Do):
        return [] if step.callee is None else [step.callee]
    if isinstance(step, Choose):
        return [done.callee for _condition, branch in step.branches for done in branch if done.callee]
    return []


def _is_nothing(step: Step) -> bool:
    return isinstance(step, Do) and step.is_nothing
