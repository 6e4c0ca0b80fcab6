"""Segments of chains, told apart by what they say: the evaluator's memory, and where chains are cut.

What a segment does to all packets depends on its rules' tests and effects, in their order, and on all of that
for every chain that it calls; on nothing else: not on names, places or counters. `Contents` gives equal
contents one number, by comparing them whole (a hash alone could be wrong). A `Memory` keeps results by such
numbers, so that an edited ruleset finds everything again that the edit left alone.

For that, cuts must not move when a rule is inserted. A segment is cut before the rule of highest rank in the
middle half of it, and a rule's rank comes from its own words, as in content-defined chunking (Muthitacharoen
et al., A Low-bandwidth Network File System, 2001, 3.1): chains stay balanced, and an edit changes the few
segments around it.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from netverify.dataplane.algebra import Algebra
from netverify.dataplane.program import CompiledChain, Program
from netverify.dataplane.targets import Ending

S = TypeVar("S")

Exits = dict[Ending, S]
"""How a set of packets left a chain: the packets of each ending. Those that are in none did not enter."""

LEAF = 8
"""Rules that are folded one by one before halving pays."""
GUARDED = 256
"""Rules of the largest segments of which it is kept what they match; for more, that set gets large."""


@dataclass(slots=True, eq=False)
class Segment:
    """Some neighbouring rules of a chain, from `start` to before `stop`.

    `content` numbers what they do, `tests` only what they test. A leaf has no halves, but the numbers of each
    rule's tests.
    """

    start: int
    stop: int
    content: int
    tests: int
    halves: tuple[Segment, Segment] | None = None
    each: tuple[int, ...] = ()

    @property
    def rules(self) -> range:
        """The numbers of its rules, from 0."""
        return range(self.start, self.stop)

    def all_tests(self) -> list[int]:
        """The numbers of the tests of each of its rules."""
        waiting: list[Segment] = [self]
        found: list[int] = []
        while waiting:
            segment = waiting.pop()
            waiting += reversed(segment.halves or ())
            found += segment.each
        return found


class Memory(Generic[S]):
    """What is known about segments in one algebra, whichever ruleset they were met in."""

    def __init__(self) -> None:
        self.summaries: dict[int, tuple[Exits[S], S]] = {}
        """What a segment does to everything, by its content: endings, and who goes on to the next rule."""
        self.matching: dict[int, S] = {}
        """What passes all tests of a rule, or of some rule of a segment, by the number of these tests."""
        self._numbers: dict[Hashable, int] = {}
        self._programs: list[tuple[ReferenceType[Program], dict[tuple[str, str], Segment]]] = []

    def roots(self, program: Program) -> dict[tuple[str, str], Segment]:
        """The chains of a program as far as they have been cut, for as long as the program lives."""
        self._programs = [(held, roots) for held, roots in self._programs if held() is not None]
        for held, roots in self._programs:
            if held() is program:
                return roots
        made: dict[tuple[str, str], Segment] = {}
        self._programs.append((ref(program), made))
        return made

    def number(self, content: Hashable) -> int:
        """The number of a content; the same for equal contents alone."""
        return self._numbers.setdefault(content, len(self._numbers))

    def __len__(self) -> int:
        return len(self.summaries)


# A memory must not hold its algebra, or neither would ever be let go of.
_memories: WeakKeyDictionary[object, Memory[Any]] = WeakKeyDictionary()


def memory_of(algebra: Algebra[S]) -> Memory[S]:
    """The memory that goes with an algebra, as long as that lives: all evaluators over it share it."""
    known = _memories.get(algebra)
    if known is None:
        known = _memories[algebra] = Memory()
    return known


class Segments:
    """The chains of one program, cut into segments that are numbered by one memory."""

    def __init__(self, program: Program, memory: Memory[Any]) -> None:
        self.program = program
        self._memory = memory
        self._roots = memory.roots(program)
        self._like: Segments | None = None
        self._others: Container[tuple[str, str]] = ()

    def like(self, other: Segments, others: Container[tuple[str, str]]) -> None:
        """Take over what another program's chains say, but for the chains `others`, which say something else.

        Those that call a chain of `others`, or one that does, must be among them.
        """
        self._like, self._others = other, others

    def of(self, chain: CompiledChain) -> Segment:
        """A whole chain."""
        key = (chain.table, chain.name)
        root = self._roots.get(key)
        if root is None:
            same = None
            if self._like is not None and key not in self._others and not chain.is_part:
                same = self._like.program.chains.get(key)
            if self._like is not None and same is not None:
                root = self._like.of(same)
            else:
                root = _Cutter(chain, self).cut(0, len(chain.rules))
            self._roots[key] = root
        return root

    def number(self, content: Hashable) -> int:
        """The number of a content in the memory."""
        return self._memory.number(content)


class _Cutter:
    """Cuts one chain."""

    def __init__(self, chain: CompiledChain, segments: Segments) -> None:
        number = segments.number
        called: dict[str, int] = {}
        self._number = number
        self.tests: list[int] = []
        self.contents: list[int] = []
        self.ranks: list[int] = []
        for rule in chain.rules:
            tests = number(tuple([test.condition for test in rule.tests]))
            flow = rule.goto, rule.part, rule.last
            own = number(("rule", tests, rule.ending, rule.rewrite, rule.callee, flow))
            content = own
            if rule.callee is not None:
                if rule.callee not in called:
                    callee = segments.program.chains[chain.table, rule.callee]
                    called[rule.callee] = segments.of(callee).content
                content = number(("jump", tests, flow, called[rule.callee]))
            self.tests.append(tests)
            self.contents.append(content)
            self.ranks.append(hash((own,)))

    def cut(self, start: int, stop: int) -> Segment:
        """The segment of some neighbouring rules, and all that it is cut into."""
        size = stop - start
        if size <= LEAF:
            return Segment(
                start,
                stop,
                self._number(("leaf", tuple(self.contents[start:stop]))),
                self._number(("tests", tuple(self.tests[start:stop]))),
                each=tuple(self.tests[start:stop]),
            )
        middle = self._place(start, size)
        first, second = self.cut(start, middle), self.cut(middle, stop)
        return Segment(
            start,
            stop,
            self._number(("both", first.content, second.content)),
            self._number(("tests of both", first.tests, second.tests)),
            (first, second),
        )

    def _place(self, start: int, size: int) -> int:
        """Where to cut: before the highest rank in the middle half; among equals, next to the middle."""
        low, high = start + size // 4, start + size - size // 4
        window = self.ranks[low:high]
        best = max(window)
        if window.count(best) == 1:
            return low + window.index(best)
        middle = start + size // 2
        equals = (low + offset for offset, rank in enumerate(window) if rank == best)
        return min(equals, key=lambda place: abs(place - middle))


def called_by(program: Program, chain: CompiledChain) -> Mapping[str, CompiledChain]:
    """The chains that a chain calls itself, by name, in the order of their first call.

    What the parts of its rules call, it calls itself.
    """
    found: dict[str, CompiledChain] = {}
    for name in dict.fromkeys(rule.callee for rule in chain.rules if rule.callee is not None):
        callee = program.chains[chain.table, name]
        found |= called_by(program, callee) if callee.is_part else {name: callee}
    return found
