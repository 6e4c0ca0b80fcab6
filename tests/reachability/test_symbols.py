from __future__ import annotations

import re

import pytest

from netverify.reachability import symbols
from netverify.reachability.probe import Cell, Outcome
from netverify.reachability.symbols import ACCEPTED, EXPECTABLE, Symbol, symbol_of

ANSWERS = {
    ".": Cell("a", "b", Outcome.DELIVERED, replied=True),
    ">": Cell("a", "b", Outcome.DELIVERED),
    "R": Cell("a", "b", Outcome.REFUSED),
    "P": Cell("a", "b", Outcome.PROHIBITED),
    "U": Cell("a", "b", Outcome.UNREACHABLE),
    "F": Cell("a", "b", Outcome.FILTERED),
    "E": Cell("a", "b", Outcome.ERROR),
    "-": None,
}


@pytest.mark.parametrize(("symbol", "cell"), ANSWERS.items())
def test_each_answer_has_its_symbol(symbol: str, cell: Cell | None) -> None:
    assert symbol_of(cell) == symbol


def test_an_error_that_was_replied_to_is_still_an_error() -> None:
    assert symbol_of(Cell("a", "b", Outcome.ERROR, replied=True)) is Symbol.ERROR


def test_no_outcome_is_without_a_symbol() -> None:
    assert {cell.outcome for cell in ANSWERS.values() if cell} == set(Outcome)


@pytest.mark.parametrize(
    ("expected", "accepts"),
    [
        (".", "."),
        (">", ">"),
        ("R", "R"),
        ("P", "P"),
        ("U", "U"),
        ("F", "F"),
        ("X", "RPUF"),
        ("?", ".>RPUF"),
        ("-", "-"),
        ("E", ""),
    ],
)
def test_what_each_expectation_accepts(expected: str, accepts: str) -> None:
    assert ACCEPTED[Symbol(expected)] == set(accepts)


def test_an_error_is_accepted_by_nothing() -> None:
    assert not any(Symbol.ERROR in accepts for accepts in ACCEPTED.values())


def test_an_error_cannot_be_expected() -> None:
    assert set(EXPECTABLE) == set(Symbol) - {Symbol.ERROR}


def test_the_table_in_the_docstring_is_the_code() -> None:
    lines = re.findall(r"^\| `(.)`\s*\|(.*)\|(.*)\|$", symbols.__doc__ or "", flags=re.MULTILINE)
    documented = {symbol: set(re.findall(r"`(.)`", accepts)) for symbol, _, accepts in lines}
    assert documented == {str(symbol): set(ACCEPTED[symbol]) for symbol in Symbol}


def test_every_symbol_has_a_meaning_of_its_own() -> None:
    assert len({symbol.meaning for symbol in Symbol}) == len(Symbol)
