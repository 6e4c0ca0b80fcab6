"""Rules that do nothing, or not what they say: shadowed, impossible here, unreached, jumps to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netverify.dataplane.condition import Condition, all_of
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import TARGETS, Nat
from netverify.ruleset import RulePlace
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from netverify.ruleset.vocabulary import TARGETS as KNOWN_TARGETS


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding: which rule (a number 0 is the chain itself), what is wrong, and the rules that cause it.

    `kind` is shadowed, impossible, unreached-rule, unreached-chain, jump-to-nothing or pre-dnat-port.
    """

    kind: str
    place: RulePlace
    text: str
    by: tuple[RulePlace, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def lint(program: Program) -> list[Lint]:
    """Everything that can be said of a ruleset on its host, by tables and chains."""
    sets = PacketSets.of(program, others=False)
    seen = _Seen(sets)
    evaluator = Evaluator(program, sets)
    for chain in _callers_first(program):
        entering = seen.entering.get((chain.table, chain.name), sets.nothing)
        if chain.name in BUILTIN_CHAINS[chain.table]:
            entering = sets.entering(chain.name)
        if not sets.is_empty(entering):
            seen.chains.add((chain.table, chain.name))
            seen.entering[chain.table, chain.name] = entering
            _inspect(chain, entering, evaluator, seen)
    found = [*_jumps(program), *_chains(program, seen)]
    for compiled in program.chains.values():
        if (compiled.table, compiled.name) in seen.chains:
            found += _rules(compiled, sets, seen)
    found += _pre_dnat(program)
    return sorted(found, key=lambda each: each.place)


def _inspect(chain: CompiledChain, entering: Set, evaluator: Evaluator[Set], seen: _Seen) -> None:
    """Take down which rules of a chain some of the packets match."""
    if chain.rewrites:  # what a rule meets depends on what was written before it
        evaluator.inspect(chain, entering, seen)
        return
    sets = seen.sets
    for index, rule in enumerate(chain.rules):
        own = sets.both(entering, sets.satisfying(_whole(rule)))
        matched = own if sets.is_empty(own) else evaluator.reaching(chain, index, own)
        seen.tested(rule, 0 if sets.is_empty(matched) else -1, matched)


class _Seen:
    """Which rules some packet matched, and what came to each chain by the rules that call it."""

    def __init__(self, sets: PacketSets) -> None:
        self.sets = sets
        self.matched: set[RulePlace] = set()
        self.chains: set[tuple[str, str]] = set()
        self.entering: dict[tuple[str, str], Set] = {}

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        if failed >= 0:
            return
        self.matched.add(rule.place)
        if rule.callee is not None:
            key = (rule.place.table, rule.callee)
            self.entering[key] = self.sets.either(self.entering.get(key, self.sets.nothing), matched)

    def reached_policy(self, chain: CompiledChain, packets: Set, /) -> None:
        """Policies are no rules."""


def _callers_first(program: Program) -> list[CompiledChain]:
    """Every chain, after all chains that call it."""
    order: list[CompiledChain] = []
    done: set[tuple[str, str]] = set()

    def visit(chain: CompiledChain) -> None:
        key = (chain.table, chain.name)
        if key in done:
            return
        done.add(key)
        for callee in dict.fromkeys(rule.callee for rule in chain.rules if rule.callee is not None):
            visit(program.chains[chain.table, callee])
        order.append(chain)

    for chain in program.chains.values():
        visit(chain)
    return order[::-1]


def _rules(chain: CompiledChain, sets: PacketSets, seen: _Seen) -> Iterator[Lint]:
    for index, rule in enumerate(chain.rules):
        if rule.place in seen.matched:
            continue
        own = sets.both(sets.everything, sets.satisfying(_whole(rule)))
        if sets.is_empty(own):
            yield Lint("impossible", rule.place, f"no packet on this host can match it: {rule.rule}")
            continue
        coming = sets.both(own, seen.entering[chain.table, chain.name])
        by = () if sets.is_empty(coming) else tuple(_covering(chain.rules[:index], coming, sets))
        if by:
            names = ", ".join(str(place) for place in by)
            yield Lint("shadowed", rule.place, f"it never matches, because of {names}: {rule.rule}", by)
        else:
            text = f"nothing that it matches comes to its chain, or earlier jumps take all of it: {rule.rule}"
            yield Lint("unreached-rule", rule.place, text)


def _covering(earlier: tuple[CompiledRule, ...], own: Set, sets: PacketSets) -> Iterator[RulePlace]:
    """Rules with an ending of their own that take what a later rule would match; nothing if some is left."""
    taking = []
    for rule in earlier:
        if rule.ending is None:
            continue
        taken = sets.both(own, sets.satisfying(_whole(rule)))
        if not sets.is_empty(taken):
            taking.append(rule.place)
            own = sets.without(own, taken)
        if sets.is_empty(own):
            yield from taking
            return


def _whole(rule: CompiledRule) -> Condition:
    return all_of(test.condition for test in rule.tests)


def _jumps(program: Program) -> Iterator[Lint]:
    for place, rule in program.ruleset.rules():
        target = rule.target
        if target is None or program.ruleset.table(place.table).callee(rule) is not None:
            continue
        unheard = target.name not in KNOWN_TARGETS and target.name not in TARGETS
        if target.goto or (unheard and not target.options):
            yield Lint("jump-to-nothing", place, f"there is no chain {target.name}: {rule}")


def _chains(program: Program, seen: _Seen) -> Iterator[Lint]:
    for (table, name), chain in program.chains.items():
        if name not in BUILTIN_CHAINS[table] and chain.rules and (table, name) not in seen.chains:
            yield Lint("unreached-chain", chain.policy_place, f"no packet comes to chain {name}")


def _pre_dnat(program: Program) -> Iterator[Lint]:
    """DOCKER-USER sees packets after destination translation, so a published host port is not to be seen."""
    user, nat = program.chain("filter", "DOCKER-USER"), program.chain("nat", "DOCKER")
    if user is None or nat is None:
        return
    published: dict[int, RulePlace] = {}
    inside: set[int] = set()
    for rule in nat.rules:
        if isinstance(rule.ending, Nat) and rule.ending.ports is not None:
            inside.add(rule.ending.ports[0])
            for port in _ports(rule):
                published.setdefault(port, rule.place)
    for rule in user.rules:
        for port in _ports(rule):
            if port in published and port not in inside:
                text = (
                    f"port {port} is published, and already translated when a packet comes here: {rule.rule}"
                )
                yield Lint("pre-dnat-port", rule.place, text, (published[port],))


def _ports(rule: CompiledRule) -> Iterator[int]:
    """The single destination ports that a rule asks for."""
    for match in rule.rule.matches:
        for option in match.options:
            if option.name in ("dport", "dports") and not option.negated:
                yield from (int(port) for port in option.value.split(",") if port.isdecimal())
