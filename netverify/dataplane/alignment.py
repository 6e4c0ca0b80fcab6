"""Which rules of two rulesets are the same: what was removed, what was added, and what merely moved along.

Rules that keep count (a rate, a quota) are unknowns that bear their rule's place in their name. A rule that
an insertion moved down is still the same rule with the same count; so the new program is returned with the
unknowns of the old one where rules are aligned, and with names of their own where they are not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from netverify.dataplane.condition import All, AnyOf, Condition, Not, Unknown, unknowns
from netverify.dataplane.matches.others import STATEFUL
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.view import HostView
from netverify.ruleset import Rule, Ruleset

Place = tuple[str, str]
"""A table and a chain."""


_COUNTING = STATEFUL | {"set"}


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of one chain: indices (from 0) of rules that only the old, and only the new one has.

    `kept` are pairs of indices of one rule in both, in order.
    """

    removed: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    kept: tuple[tuple[int, int], ...] = ()


def align(old: Program, new: Program) -> tuple[Program, Mapping[Place, Edit]]:
    """The new program with the old one's unknowns, and the edits of every chain that is not as it was.

    A chain that is in one program alone is all removed or all added.
    """
    edits: dict[Place, Edit] = {}
    same_host = old.host is new.host or _facts(old.host) == _facts(new.host)
    chains: dict[Place, CompiledChain] = {}
    for where in {**old.chains, **new.chains}:
        before, after = old.chain(*where), new.chain(*where)
        if any(chain is not None and chain.is_part for chain in (before, after)):
            continue  # its rule speaks for it
        edit = _edit(_Pair(before, old, after, new, same_host))
        if edit.removed or edit.added:
            edits[where] = edit
        elif old.host.name == new.host.name:
            continue
        if after is not None and any(map(_counts, after.rules)):
            chains[where] = replace(after, rules=_renamed(before, after, edit, new.host.name))
    if chains:
        new = Program(new.ruleset, new.host, MappingProxyType({**new.chains, **chains}))
    return new, edits


@dataclass(frozen=True)
class _Pair:
    """One chain in both programs. On one host, a rule that is the same object means the same."""

    before: CompiledChain | None
    old: Program
    after: CompiledChain | None
    new: Program
    same_host: bool

    def rules(self) -> tuple[tuple[CompiledRule, ...], tuple[CompiledRule, ...]]:
        """Both versions' rules."""
        return tuple(() if chain is None else chain.rules for chain in (self.before, self.after))  # type: ignore[return-value]

    def same(self, one: CompiledRule, other: CompiledRule) -> bool:
        """Whether two rules say the same."""
        if one.rule is other.rule and self.same_host and not one.part and not _counts(one):
            return one.callee == other.callee
        words = _word(one, one.place.table, self.old), _word(other, other.place.table, self.new)
        return words[0] == words[1]


def _facts(host: HostView) -> HostView:
    """What rules can ask of a host: all but its rules."""
    return replace(host, ipv4=Ruleset("ipv4"), ipv6=Ruleset("ipv6"))


def _words(rules: Sequence[CompiledRule], table: str, program: Program) -> list[Hashable]:
    """What each rule says, wherever it stands and however the chains are made that it calls."""
    return [_word(rule, table, program) for rule in rules]


def _word(rule: CompiledRule, table: str, program: Program) -> Hashable:
    tests: Sequence[Condition] = [test.condition for test in rule.tests]
    if _counts(rule):
        own = partial(_replaced, _own(rule, program.host.name), "")
        tests = [_named_anew(each, own) for each in tests]
    words = strange_words(rule) if rule.not_modelled else ""
    callee: Hashable = rule.callee
    if rule.part and rule.callee is not None:  # a part has no name of its own
        callee = tuple(_words(program.chains[table, rule.callee].rules, table, program))
    return (*tests, rule.ending, rule.rewrite, callee, rule.goto, rule.last, words)


def _edit(pair: _Pair) -> Edit:
    """Align two lists: what begins and ends both, and between that what is unique (patience diff)."""
    before, after = pair.rules()
    shortest = min(len(before), len(after))
    head = next((i for i in range(shortest) if not pair.same(before[i], after[i])), shortest)
    most = shortest - head
    tail = next((i for i in range(most) if not pair.same(before[-1 - i], after[-1 - i])), most)
    old_end, new_end = len(before) - tail, len(after) - tail
    middle = []
    if head < old_end and head < new_end:
        table = before[head].place.table
        middle = _patience(
            _words(before[head:old_end], table, pair.old), _words(after[head:new_end], table, pair.new)
        )
    kept = [(i, i) for i in range(head)]
    kept += [(head + i, head + j) for i, j in middle]
    kept += [(old_end + i, new_end + i) for i in range(tail)]
    olds, news = {i for i, _ in kept}, {j for _, j in kept}
    return Edit(
        tuple(i for i in range(head, old_end) if i not in olds),
        tuple(j for j in range(head, new_end) if j not in news),
        tuple(kept),
    )


def _patience(before: list[Hashable], after: list[Hashable]) -> list[tuple[int, int]]:
    """The longest series of pairs, in order on both sides, of what either list has exactly once."""
    if not (before and after):
        return []
    once = {word for word, count in Counter(before).items() if count == 1}
    once &= {word for word, count in Counter(after).items() if count == 1}
    places = {word: index for index, word in enumerate(after) if word in once}
    pairs = [(index, places[word]) for index, word in enumerate(before) if word in once]
    ends: list[int] = []  # of the best series of each length, where it ends in `after`
    series: list[int] = []  # and which pair that is
    previous: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(ends, place)
        previous.append(series[length - 1] if length else -1)
        if length == len(ends):
            ends.append(place)
            series.append(number)
        else:
            ends[length], series[length] = place, number
    found = []
    number = series[-1] if series else -1
    while number >= 0:
        found.append(pairs[number])
        number = previous[number]
    return found[::-1]


def _renamed(
    before: CompiledChain | None, after: CompiledChain, edit: Edit, host: str
) -> tuple[CompiledRule, ...]:
    origin = {new: old for old, new in edit.kept}
    rules = list(after.rules)
    for index, rule in enumerate(after.rules):
        if not _counts(rule):
            continue
        if before is not None and index in origin:
            rules[index] = replace(rule, tests=before.rules[origin[index]].tests)
        else:
            own = partial(_replaced, _own(rule, host), f"(new {_own(rule, host)[1:]}")
            tests = [replace(test, condition=_named_anew(test.condition, own)) for test in rule.tests]
            rules[index] = replace(rule, tests=tuple(tests))
    return tuple(rules)


def _counts(rule: CompiledRule) -> bool:
    """Whether a rule may have unknowns of its own: rates and the like, and sets that rules write into."""
    if isinstance(rule.rule, Rule):
        return not _COUNTING.isdisjoint([match.name for match in rule.rule.matches])
    return any(unknowns(test.condition) for test in rule.tests)


def strange_words(rule: CompiledRule) -> str:
    """What a rule does that is not modelled: its target as it is written."""
    if isinstance(rule.rule, Rule):
        return Rule("X", (), rule.rule.target).render().removeprefix("-A X ")
    return rule.not_modelled


def _own(rule: CompiledRule, host: str) -> str:
    """What stands in the name of an unknown that belongs to this rule alone."""
    return f"({host}: {rule.place})"


def _replaced(own: str, by: str, name: str) -> str:
    return name.replace(own, by)


def _named_anew(condition: Condition, name: Callable[[str], str]) -> Condition:
    if isinstance(condition, Unknown):
        return Unknown(name(condition.name), condition.usual)
    if isinstance(condition, Not):
        return Not(_named_anew(condition.part, name))
    if isinstance(condition, All | AnyOf):
        return type(condition)(tuple(_named_anew(part, name) for part in condition.parts))
    return condition
