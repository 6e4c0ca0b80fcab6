"""One packet under every value of the unknowns that it meets: on which of them does its fate depend?

A run asks for unknowns one after the other, and what it asks later may hang on earlier answers. So the runs
make a tree, with an unknown at each fork and a fate at each end; it is followed to `most` runs. Forks whose
two sides say the same are then put together, and what is left is what the fate depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from netverify.dataplane.packet import Packet
from netverify.dataplane.trace import Trace
from netverify.dataplane.world import Exchange, World

T = TypeVar("T")

MOST_RUNS = 64

Assumptions = tuple[tuple[str, bool], ...]
"""Unknowns with a value for each, in the order in which they were asked."""


@dataclass(frozen=True)
class Case(Generic[T]):
    """What comes of the packet if these unknowns have these values, whatever the others say."""

    assumed: Assumptions
    found: T

    def __str__(self) -> str:
        parts = (name if value else f"not {name}" for name, value in self.assumed)
        return " and ".join(parts) or "whatever the unknowns say"


@dataclass(frozen=True)
class Exploration(Generic[T]):
    """Every fate that was found.

    `usual` is the run in which all unknowns have their usual values. `cases` leave nothing out and do not
    overlap, if the exploration is `complete`: it is not where there were more runs to make than allowed.
    """

    usual: T
    cases: tuple[Case[T], ...]
    complete: bool
    runs: int

    @property
    def unknowns(self) -> tuple[str, ...]:
        """The unknowns on which the fate depends."""
        return tuple(dict.fromkeys(name for case in self.cases for name, _value in case.assumed))

    @property
    def is_certain(self) -> bool:
        """Whether the fate is the same whatever the unknowns say."""
        return self.complete and len(self.cases) == 1


def explore(
    run: Callable[[Mapping[str, bool]], T],
    assumed: Callable[[T], Assumptions],
    fate: Callable[[T], Hashable],
    *,
    most: int = MOST_RUNS,
) -> Exploration[T]:
    """Run again and again, with other values for what was asked, until every fate is known.

    `run` makes a run with values for some unknowns, and begins from the same state each time; `assumed` tells
    what a run asked, and `fate` what counts as its end.
    """
    runs: list[tuple[Assumptions, T]] = []
    left: list[Assumptions] = [()]
    while left and len(runs) < most:
        wanted = left.pop()
        found = run(dict(wanted))
        asked = tuple((name, value) for name, value in assumed(found))
        if dict(asked).items() >= dict(wanted).items():
            runs.append((asked, found))
            left += _others(asked, wanted)
    usual = runs[0][1]
    tree = _reduced(runs, fate, 0)
    return Exploration(usual, tuple(_cases(tree, ())), not left, len(runs))


def whatever(world: World, packet: Packet, host: str, *, most: int = MOST_RUNS) -> Exploration[Trace]:
    """A packet from a socket of `host`, under every value of the unknowns: its verdict, and where.

    Each run begins without known connections, and so ends: the world has forgotten them.
    """

    def run(assume: Mapping[str, bool]) -> Trace:
        world.forget()
        return world.trace(packet, host, assume=assume)

    found = explore(run, lambda trace: trace.assumed, lambda trace: (trace.verdict, trace.host), most=most)
    world.forget()
    return found


def whatever_is_said(
    world: World,
    packet: Packet,
    host: str,
    *,
    listening: frozenset[tuple[str, int]] = frozenset(),
    most: int = MOST_RUNS,
) -> Exploration[Exchange]:
    """A request and its answer, as `World.ask` has them, under every value of the unknowns of both."""

    def run(assume: Mapping[str, bool]) -> Exchange:
        world.forget()
        return world.ask(packet, host, listening=listening, assume=assume)

    found = explore(run, _asked_of_both, lambda said: (said.outcome, said.replied, said.receiver), most=most)
    world.forget()
    return found


def _asked_of_both(said: Exchange) -> Assumptions:
    """What the request asked, then what the answer and a proxy's own exchange asked besides."""
    asked = dict(said.request.assumed)
    if said.answer is not None:
        asked |= dict(said.answer.assumed)
    if said.beyond is not None:
        asked |= dict(_asked_of_both(said.beyond))
    return tuple(asked.items())


def _others(asked: Assumptions, wanted: Assumptions) -> Iterator[Assumptions]:
    """What else to run: for each unknown that was asked for the first time, the other value, all before kept.

    Notes that are no unknowns stay what they are when they are asked for the other way; such runs are left
    out (`explore`).
    """
    known = dict(wanted)
    for index, (name, value) in enumerate(asked):
        if name not in known:
            yield (*asked[:index], (name, not value))


@dataclass(frozen=True)
class _Fork(Generic[T]):
    name: str
    sides: tuple[tuple[bool, _Tree[T]], ...]


@dataclass(frozen=True)
class _Leaf(Generic[T]):
    fate: Hashable
    found: T


_Tree: TypeAlias = _Fork[T] | _Leaf[T]


def _reduced(runs: list[tuple[Assumptions, T]], fate: Callable[[T], Hashable], depth: int) -> _Tree[T]:
    """The tree of some runs that agree on what they asked first, without forks that make no difference."""
    asked, found = runs[0]
    if depth == len(asked):
        return _Leaf(fate(found), found)
    name = asked[depth][0]
    sides: dict[bool, list[tuple[Assumptions, T]]] = {}
    for each in runs:
        sides.setdefault(each[0][depth][1], []).append(each)
    trees = [(value, _reduced(some, fate, depth + 1)) for value, some in sides.items()]
    if len(trees) == 1 or _signature(trees[0][1]) == _signature(trees[1][1]):
        return trees[0][1]
    return _Fork(name, tuple(trees))


def _signature(tree: _Tree[T]) -> Hashable:
    if isinstance(tree, _Leaf):
        return tree.fate
    return tree.name, frozenset((value, _signature(side)) for value, side in tree.sides)


def _cases(tree: _Tree[T], before: Assumptions) -> Iterator[Case[T]]:
    if isinstance(tree, _Leaf):
        yield Case(before, tree.found)
        return
    for value, side in tree.sides:
        yield from _cases(side, (*before, (tree.name, value)))
