"""Which of the two addresses stands first among the variables of packet sets, by what a host's rules test.

A list of thousands of forbidden sources, before rules that are about destinations and ports, multiplies with
them when the destinations come first: below each destination with ports of its own the whole list stands once
more. With the sources first it stands once; and the other way round for lists of destinations. Where there
are no such lists the order hardly matters.
"""

from __future__ import annotations

from collections.abc import Iterable

from netverify.dataplane.condition import tested_fields
from netverify.dataplane.fields import FIRST, SOURCE_FIRST
from netverify.dataplane.program import CompiledRule, Program

_PORTS = {"sport", "dport"}


def order_for(programs: Iterable[Program]) -> tuple[str, ...]:
    """`SOURCE_FIRST` where more rules list sources than destinations, else `FIRST`."""
    rules = (rule for program in programs for chain in program.chains.values() for rule in chain.rules)
    return SOURCE_FIRST if sum(map(_leaning, rules)) > 0 else FIRST


def _leaning(rule: CompiledRule) -> int:
    """1 for a rule that is about sources and nothing behind them, -1 for one about destinations."""
    tested = {field for test in rule.tests for field in tested_fields(test.condition)}
    return 0 if tested & _PORTS else ("source" in tested) - ("destination" in tested)
