"""The symbols of a reachability table, and which answer each of them accepts.

| symbol | observed: what became of the probe              | expected: accepts           |
| ------ | ----------------------------------------------- | --------------------------- |
| `.`    | delivered, and the answer came back             | `.`                         |
| `>`    | delivered, but no answer came back (one way)    | `>`                         |
| `R`    | REFUSED: RST, or ICMP port unreachable          | `R`                         |
| `P`    | PROHIBITED: a filter said no                    | `P`                         |
| `U`    | UNREACHABLE: no route, or no ARP/ND answer      | `U`                         |
| `F`    | FILTERED: silently dropped, with proof          | `F`                         |
| `X`    | (never)                                         | `R`, `P`, `U`, `F`          |
| `?`    | (never)                                         | `.`, `>`, `R`, `P`, `U`, `F`|
| `-`    | not asked                                       | `-`                         |
| `E`    | ERROR: the question was not answered            | (never expected)            |

`X` does not accept `>`: an intruder's packet that arrives is not isolation. Nothing accepts `E`, not even
`?`: a probe that failed by itself has proved nothing. `?` does not accept `-` either, for there is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from netverify.reachability.probe import Cell, Outcome


class Symbol(StrEnum):
    """One character of a reachability table; equal to that character."""

    ANSWERED = "."
    ONE_WAY = ">"
    BLOCKED = "X"
    REFUSED = "R"
    PROHIBITED = "P"
    UNREACHABLE = "U"
    FILTERED = "F"
    ERROR = "E"
    NOT_ASKED = "-"
    ANY = "?"

    @property
    def meaning(self) -> str:
        """The symbol in words, for legends."""
        return _MEANINGS[self]


_MEANINGS: Final[Mapping[Symbol, str]] = MappingProxyType(
    {
        Symbol.ANSWERED: "reached and answered",
        Symbol.ONE_WAY: "reached, but no answer came back",
        Symbol.BLOCKED: "did not arrive: any of R, P, U, F",
        Symbol.REFUSED: "refused by the destination itself",
        Symbol.PROHIBITED: "prohibited by a filter that said so",
        Symbol.UNREACHABLE: "unreachable: no route, or no neighbour answered",
        Symbol.FILTERED: "silently dropped, and proved to be",
        Symbol.ERROR: "error: the question was not answered",
        Symbol.NOT_ASKED: "not asked",
        Symbol.ANY: "any sound answer",
    }
)

NEGATIVE: Final = frozenset({Symbol.REFUSED, Symbol.PROHIBITED, Symbol.UNREACHABLE, Symbol.FILTERED})
DELIVERED: Final = frozenset({Symbol.ANSWERED, Symbol.ONE_WAY})

# What each expectation accepts among observed symbols.
ACCEPTED: Final[Mapping[Symbol, frozenset[Symbol]]] = MappingProxyType(
    {
        **{same: frozenset({same}) for same in (*NEGATIVE, *DELIVERED, Symbol.NOT_ASKED)},
        Symbol.BLOCKED: NEGATIVE,
        Symbol.ANY: NEGATIVE | DELIVERED,
        Symbol.ERROR: frozenset(),
    }
)

# The symbols that a person may write down as an expectation, in the order in which messages list them.
EXPECTABLE: Final = tuple(symbol for symbol in Symbol if symbol is not Symbol.ERROR)

_OF_OUTCOME: Final[Mapping[Outcome, Symbol]] = MappingProxyType(
    {
        Outcome.DELIVERED: Symbol.ONE_WAY,
        Outcome.REFUSED: Symbol.REFUSED,
        Outcome.PROHIBITED: Symbol.PROHIBITED,
        Outcome.UNREACHABLE: Symbol.UNREACHABLE,
        Outcome.FILTERED: Symbol.FILTERED,
        Outcome.ERROR: Symbol.ERROR,
    }
)


def symbol_of(cell: Cell | None) -> Symbol:
    """The symbol under which an answer is printed; None is a pair that was not asked."""
    if cell is None:
        return Symbol.NOT_ASKED
    if cell.replied and cell.outcome is Outcome.DELIVERED:
        return Symbol.ANSWERED
    return _OF_OUTCOME[cell.outcome]
