"""How the chains of a program call each other: in which order, from which hooks, and with which packets."""

from __future__ import annotations

from collections.abc import Mapping

from netverify.dataplane.condition import Condition, all_of
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program
from netverify.dataplane.sets import PacketSets, Set

Key = tuple[str, str]
"""A chain: the names of its table and of itself."""


def whole(rule: CompiledRule) -> Condition:
    """All tests of a rule."""
    return all_of(test.condition for test in rule.tests)


def callers_first(program: Program) -> list[CompiledChain]:
    """Every chain, after all chains that call it."""
    order: list[CompiledChain] = []
    done: set[Key] = set()

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


class Hooks:
    """From which chains that the kernel calls others are called; `coming` is what can come to those here."""

    def __init__(self, program: Program, sets: PacketSets, coming: Mapping[Key, Set]) -> None:
        self.sets, self.coming = sets, coming
        self._names: dict[Key, frozenset[str]] = {}
        self._led: dict[Key, Set] = dict(coming)
        self._calls: dict[Key, list[Place]] = {}
        self._here: dict[Key, Set] = {}
        for chain in callers_first(program):
            self._pass_on(chain)

    def _pass_on(self, chain: CompiledChain) -> None:
        key = (chain.table, chain.name)
        if key in self.coming:
            self._names[key] = frozenset({chain.name})
        led, names = self._led.get(key, self.sets.nothing), self._names.get(key, frozenset())
        for rule in chain.rules:
            if rule.callee is None:
                continue
            callee = (chain.table, rule.callee)
            brought = self.sets.both(led, self.sets.satisfying(whole(rule)))
            self._led[callee] = self.sets.either(self._led.get(callee, self.sets.nothing), brought)
            self._names[callee] = self._names.get(callee, frozenset()) | names
            self._calls.setdefault(callee, []).append(rule.place)

    def names(self, chain: CompiledChain) -> list[str]:
        """The kernel's own chains from which a chain is called."""
        return sorted(self._names.get((chain.table, chain.name), ()))

    def here(self, chain: CompiledChain) -> Set:
        """What could come to a chain, were every jump to it taken by everything."""
        key = (chain.table, chain.name)
        if key not in self._here:
            self._here[key] = self.sets.union([self.coming[chain.table, name] for name in self.names(chain)])
        return self._here[key]

    def led(self, chain: CompiledChain) -> Set:
        """What the jumps lead to a chain, if no rule before them took anything."""
        return self._led.get((chain.table, chain.name), self.sets.nothing)

    def calls(self, chain: CompiledChain) -> tuple[Place, ...]:
        """The rules that call a chain."""
        return tuple(dict.fromkeys(self._calls.get((chain.table, chain.name), ())))
