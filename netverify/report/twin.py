"""What a twin says beside the model: differences, which are netverify's own faults, and what was left out."""

from __future__ import annotations

import json
from typing import Final

from netverify.model.matrix import Pair
from netverify.model.twinned import Twinned
from netverify.reachability.probe import Cell, Outcome
from netverify.reachability.text import printable
from netverify.report.cells import cell_facts, cells_of, model_word, twin_facts, twin_word

SHOWN: Final = 20  # so many differences and failed measurements are told in full


def render(found: Twinned) -> str:
    """What was built and asked, what agrees, and each difference with what either side says."""
    reach = found.reach
    asked = f"{len(found.cells):,} cells of {reach.matrix.probe} asked in {found.asked:.2f} s"
    lines = [f"Twin of {reach.subject.title}: built in {found.built:.2f} s, {asked}"]
    lines += _listed("Not twinned", found.not_twinned)
    lines += _listed("Otherwise than on the host", found.notes)
    lines += ["", f"{found.agreements:>7,}  cells: model and twin agree"]
    if found.left_out:
        lines.append(f"{found.left_out:>7,}  cells: not twinned")
    unknown = sum(1 for pair in reach.pairs if pair.cell.outcome is Outcome.ERROR)
    if unknown:
        lines.append(f"{unknown:>7,}  cells: the model's answer is unknown")
    if found.unmeasured:
        lines.append(f"{len(found.unmeasured):>7,}  cells: could not be measured in the twin")
    lines.append(f"{len(found.differences):>7,}  cells: model and twin differ")
    if found.differences:
        lines += ["", "Model and twin differ: a fault of netverify, please report it with the snapshot"]
        for pair, cell in found.differences[:SHOWN]:
            lines += _told(pair, cell)
        lines += _more(len(found.differences))
    if found.unmeasured:
        lines += ["", "Could not be measured"]
        lines += (f"    {cell.source} -> {cell.target}: {cell.detail}" for cell in found.unmeasured[:SHOWN])
        lines += _more(len(found.unmeasured))
    lines += _listed("Unknown, and needed for an answer", tuple(map(str, reach.lacks)))
    return "\n".join(map(printable, lines))


def _told(pair: Pair, cell: Cell) -> list[str]:
    """One difference, with the rule that the model believes in."""
    model = f"{model_word(pair.cell)}" + (f" ({pair.cell.detail})" if pair.cell.detail else "")
    twin = f"{model_word(cell)}" + (f" ({cell.detail})" if cell.detail else "")
    lines = [f"    {cell.source} -> {cell.target} ({pair.address})", f"        model: {model}"]
    if pair.rule is not None:
        lines.append(f"               by {pair.rule}")
    return [*lines, f"        twin:  {twin}"]


def _listed(title: str, entries: tuple[str, ...]) -> list[str]:
    return ["", title, *(f"    {entry}" for entry in entries)] if entries else []


def _more(count: int) -> list[str]:
    return [f"    and {count - SHOWN:,} more"] if count > SHOWN else []


def render_json(found: Twinned) -> str:
    """The same for programs: every cell as `netverify reach` has it, and the differences once more."""
    reach = found.reach
    document = {
        "format": "netverify twin",
        "version": 1,
        "subject": reach.subject.title,
        "service": str(reach.matrix.probe),
        **twin_facts(found),
        "cells": cells_of(reach, found),
        "differences": [
            {
                **cell_facts(reach, pair, twin_word(cell)),
                "model_detail": pair.cell.detail,
                "twin_detail": cell.detail,
            }
            for pair, cell in found.differences
        ],
        "unknown": [str(lack) for lack in reach.lacks],
        "notes": list(reach.subject.notes),
    }
    return json.dumps(document, indent=1)
