"""Cells for programs: what comes of each pair by the model and in a twin, in one word each."""

from __future__ import annotations

from typing import Any, Final

from netverify.model.matrix import Pair, Reach
from netverify.model.twinned import Twinned
from netverify.reachability.probe import Cell, Outcome

NOT_TWINNED: Final = "not twinned"


def model_word(cell: Cell) -> str:
    """arrives, unanswered, unknown, or how it fails."""
    if cell.outcome is Outcome.DELIVERED:
        return "arrives" if cell.replied else "unanswered"
    return "unknown" if cell.outcome is Outcome.ERROR else cell.outcome.value


def twin_word(cell: Cell | None) -> str:
    """The same of a twin's cell; "error" where the measurement failed, which is no answer."""
    if cell is None:
        return NOT_TWINNED
    return "error" if cell.outcome is Outcome.ERROR else model_word(cell)


def cell_facts(reach: Reach, pair: Pair, twin: str | None) -> dict[str, Any]:
    """One cell; `twin` is null where there was no twin."""
    return {
        "src": pair.cell.source,
        "dst": pair.cell.target,
        "address": str(pair.address),
        "proto": reach.matrix.probe.protocol,
        "port": reach.matrix.probe.port,
        "model": model_word(pair.cell),
        "twin": twin,
        "rule": None if pair.rule is None else str(pair.rule),
    }


def cells_of(reach: Reach, twinned: Twinned | None = None) -> list[dict[str, Any]]:
    """Every cell, in the order of the pairs."""
    twins = [None] * len(reach.pairs) if twinned is None else [twin_word(cell) for cell in twinned.cells]
    return [cell_facts(reach, pair, twin) for pair, twin in zip(reach.pairs, twins, strict=True)]


def twin_facts(found: Twinned) -> dict[str, Any]:
    """What a document says of a twin besides its cells."""
    return {
        "seconds": {"built": round(found.built, 3), "asked": round(found.asked, 3)},
        "not_twinned": list(found.not_twinned),
        "otherwise": list(found.notes),
    }
