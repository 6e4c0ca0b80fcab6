"""Strategies for the reachability room: names, probes, answers, matrices of both kinds."""

from __future__ import annotations

from hypothesis import strategies as st

from netverify.reachability.matrix import ExpectedMatrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.reachability.symbols import EXPECTABLE

# Spelled out here, not taken from the code under test: neither separators nor control, format, surrogate,
# private-use or unassigned characters.
_NAME_CHARACTERS = st.characters(exclude_categories=("Z", "C"))
# Lone surrogates too, which the default alphabet of `st.text` leaves out.
_ANY_CHARACTERS = st.characters()
# Hypothesis builds its tables of Unicode characters when it first needs them. On a clean checkout that takes
# long enough for the health check to call a test's strategy slow; so they are built here.
_NAME_CHARACTERS.validate()
_ANY_CHARACTERS.validate()
_WILD = st.text(_NAME_CHARACTERS, min_size=1, max_size=12).filter(
    lambda name: not name.startswith("#") and name not in (".", ">", "-", "?")
)
_TAME = st.sampled_from(
    ["a1", "a2", "b1", "host", "host:8080", "lan", "172.18.0.2", "10.0.0.0/8", "X", "E", "R"]
)

SOUND = tuple(outcome for outcome in Outcome if outcome is not Outcome.ERROR)


def texts(max_size: int | None = None) -> st.SearchStrategy[str]:
    """Text of any characters whatever: controls, ANSI escapes, lone surrogates."""
    return st.text(_ANY_CHARACTERS, max_size=max_size)


def names() -> st.SearchStrategy[str]:
    """Names that a row or a column may have, everyday ones and any others."""
    return _TAME | _WILD


def name_tuples(max_size: int = 5) -> st.SearchStrategy[tuple[str, ...]]:
    """Names for the rows or the columns of one matrix."""
    return st.lists(names(), min_size=1, max_size=max_size, unique=True).map(tuple)


@st.composite
def probes(draw: st.DrawFn) -> Probe:
    """Every probe that exists."""
    protocol = draw(st.sampled_from(["icmp", "udp", "tcp", "arp"]))
    port = draw(st.integers(1, 65535)) if protocol in ("udp", "tcp") else None
    return Probe(protocol, port, 4 if protocol == "arp" else draw(st.sampled_from([4, 6])))


@st.composite
def cells(draw: st.DrawFn, source: str, target: str, *, errors: bool = True) -> Cell:
    """An answer for one pair; its free texts hold any characters, lone surrogates included."""
    outcome = draw(st.sampled_from(tuple(Outcome) if errors else SOUND))
    may_reply = outcome in (Outcome.DELIVERED, Outcome.ERROR)
    text = texts(max_size=8)
    return Cell(
        source,
        target,
        outcome,
        seen_source=draw(st.none() | text),
        receiver=draw(st.none() | text),
        replied=may_reply and draw(st.booleans()),
        detail=draw(text),
        rules=tuple(draw(st.lists(text, max_size=2))),
    )


@st.composite
def expected_matrices(
    draw: st.DrawFn, rows: tuple[str, ...] | None = None, columns: tuple[str, ...] | None = None
) -> ExpectedMatrix:
    """An expectation, over the given names or any."""
    rows = draw(name_tuples()) if rows is None else rows
    columns = draw(st.just(rows) | name_tuples()) if columns is None else columns
    return ExpectedMatrix.where(rows, columns, lambda _source, _target: draw(st.sampled_from(EXPECTABLE)))


@st.composite
def observed_matrices(
    draw: st.DrawFn,
    rows: tuple[str, ...] | None = None,
    columns: tuple[str, ...] | None = None,
    *,
    errors: bool = True,
) -> ObservedMatrix:
    """Answers, over the given names or any; some pairs were not asked."""
    rows = draw(name_tuples()) if rows is None else rows
    columns = draw(st.just(rows) | name_tuples()) if columns is None else columns
    found = [draw(st.none() | cells(source, target, errors=errors)) for source in rows for target in columns]
    return ObservedMatrix.of(draw(probes()), filter(None, found), rows=rows, columns=columns)


@st.composite
def comparable(draw: st.DrawFn) -> tuple[ExpectedMatrix, ObservedMatrix]:
    """An expectation and answers over the same names, in two orders, that agree more often than by chance."""
    observed = draw(observed_matrices())
    rows = tuple(draw(st.permutations(observed.rows)))
    columns = tuple(draw(st.permutations(observed.columns)))

    def rule(source: str, target: str) -> str:
        symbol = observed.symbol(source, target)
        near = "?" if symbol == "E" else symbol
        return draw(st.sampled_from([near, near, near, "?" if symbol in ".>" else "X", *EXPECTABLE]))

    return ExpectedMatrix.where(rows, columns, rule), observed
