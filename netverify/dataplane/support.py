"""Which fields the rules of a host ask for and write, so that nothing else need be kept of packets."""

from __future__ import annotations

from collections.abc import Iterable

from netverify.dataplane.condition import tested_fields
from netverify.dataplane.entry import fields_of
from netverify.dataplane.program import CompiledChain, CompiledRule, Program


class Support:
    """The fields that programs ask for or write: altogether, and chain by chain with those that it calls."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self._of: dict[tuple[int, str, str], frozenset[str]] = {}
        tested: set[str] = set()
        for program in programs:
            for chain in program.chains.values():
                tested |= self.of(program, chain)
        self.tested = frozenset(tested)

    def of(self, program: Program, chain: CompiledChain) -> frozenset[str]:
        """The fields of one chain and of all that it calls."""
        key = (id(program), chain.table, chain.name)
        known = self._of.get(key)
        if known is not None:
            return known
        found: set[str] = set()
        for rule in chain.rules:
            found |= fields_of_rule(rule)
            if rule.rewrite is not None:
                found |= set(fields_of(rule.rewrite)) | {getattr(rule.rewrite, "origin", "mark"), "tracked"}
            if rule.callee is not None:
                found |= self.of(program, program.chains[chain.table, rule.callee])
        self._of[key] = frozenset(found)
        return self._of[key]


def fields_of_rule(rule: CompiledRule) -> set[str]:
    """The fields that a rule's own tests ask for."""
    return {field for test in rule.tests for field in tested_fields(test.condition)}
