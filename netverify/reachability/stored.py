"""An observed matrix as JSON, to be kept and compared later.

    {
    "format": "netverify reachability matrix", "version": 1,
    "probe": {"protocol": "tcp", "port": 80, "version": 4},
    "rows": ["a1", "b1"],
    "columns": ["a1", "b1"],
    "cells": [
    {"source": "a1", "target": "b1", "outcome": "filtered", "rules": ["filter FORWARD 3"]}
    ]
    }

One cell a line, row by row, so that two files can be compared line by line. A cell's fields are those of
Cell; those that have their default are left out. A pair without a cell was not asked. Reading refuses what it
does not know (another format or version, a key too many, a key twice) instead of losing it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Final

from netverify.errors import Place
from netverify.reachability.errors import MatrixFormatError, ReachabilityError
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import PROTOCOLS, Cell, Outcome, Probe

FORMAT: Final = "netverify reachability matrix"
VERSION: Final = 1

_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
_NEEDED: Final = ("source", "target", "outcome")
_DEFAULTS: Final = {field.name: field.default for field in fields(Cell) if field.name not in _NEEDED}


def to_json(matrix: ObservedMatrix) -> str:
    """The matrix as JSON text, the same text for the same matrix."""
    probe = json.dumps({field.name: getattr(matrix.probe, field.name) for field in fields(Probe)})
    cells = ",\n".join(json.dumps(_cell_facts(cell)) for cell in matrix.cells())
    return (
        f'{{\n"format": {json.dumps(FORMAT)}, "version": {VERSION},\n'
        f'"probe": {probe},\n'
        f'"rows": {json.dumps(matrix.rows)},\n'
        f'"columns": {json.dumps(matrix.columns)},\n'
        f'"cells": [\n{cells}\n]\n}}\n'
    )


def from_json(text: str, *, file: str = "matrix") -> ObservedMatrix:
    """The matrix that `to_json` wrote.

    Raises MatrixFormatError with the key where the text is something else; `file` is the name under which the
    error speaks of the text.
    """
    reader = _Reader(file)
    document = reader.document(text)
    found = document["format"]
    if found != FORMAT:
        raise reader.fault("format", repr(FORMAT), found)
    if document["version"] != VERSION or isinstance(document["version"], bool):
        raise reader.fault(
            "version", f"{VERSION}, the only one that this netverify reads", document["version"]
        )
    cells = [
        reader.cell(f"cells[{number}]", cell)
        for number, cell in enumerate(reader.list_of("cells", document["cells"]))
    ]
    probe = reader.probe("probe", document["probe"])
    rows, columns = (reader.texts(key, document[key]) for key in ("rows", "columns"))
    try:
        return ObservedMatrix.of(probe, cells, rows=rows, columns=columns)
    except ReachabilityError as error:
        raise MatrixFormatError(Place(file, key="rows, columns and cells"), "a matrix", str(error)) from error


def _cell_facts(cell: Cell) -> dict[str, object]:
    facts = {field.name: getattr(cell, field.name) for field in fields(Cell)}
    told = {key: value for key, value in facts.items() if key in _NEEDED or value != _DEFAULTS[key]}
    return told | {"outcome": cell.outcome.value}


class _TwiceError(ValueError):
    """A key that an object has twice."""


class _Reader:
    """Checks JSON values and says where a wrong one stands."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fault(self, key: str, expected: str, found: object) -> MatrixFormatError:
        return MatrixFormatError(Place(self.file, key=key), expected, _shown(found))

    def document(self, text: str) -> Mapping[str, object]:
        try:
            value = json.loads(text, object_pairs_hook=_once)
        except json.JSONDecodeError as error:
            place = Place(self.file, error.lineno, error.colno)
            raise MatrixFormatError(place, "JSON", error.msg) from error
        except _TwiceError as error:
            raise MatrixFormatError(Place(self.file), "each key once", str(error)) from error
        except (ValueError, RecursionError) as error:
            raise MatrixFormatError(Place(self.file), "JSON that Python can read", str(error)) from error
        return self.mapping("", value, ("format", "version", "probe", "rows", "columns", "cells"))

    def mapping(
        self, key: str, value: object, needed: Iterable[str], optional: Iterable[str] = ()
    ) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self.fault(key, "an object", value)
        for name in needed:
            if name not in value:
                raise MatrixFormatError(
                    Place(self.file, key=key), f"the key {name}", ", ".join(value) or "none"
                )
        for name in value:
            if name not in (*needed, *optional):
                raise self.fault(key, f"only the keys {', '.join((*needed, *optional))}", name)
        return value

    def list_of(self, key: str, value: object) -> Sequence[object]:
        if not isinstance(value, list):
            raise self.fault(key, "a list", value)
        return value

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.fault(key, "a string", value)
        return value

    def texts(self, key: str, value: object) -> tuple[str, ...]:
        return tuple(
            self.text(f"{key}[{number}]", item) for number, item in enumerate(self.list_of(key, value))
        )

    def probe(self, key: str, value: object) -> Probe:
        facts = self.mapping(key, value, ("protocol", "port", "version"))
        protocol = self.text(f"{key}.protocol", facts["protocol"])
        if protocol not in PROTOCOLS:
            raise self.fault(f"{key}.protocol", f"one of {', '.join(PROTOCOLS)}", protocol)
        port, version = facts["port"], facts["version"]
        if port is not None and type(port) is not int:
            raise self.fault(f"{key}.port", "a port number or null", port)
        if type(version) is not int:
            raise self.fault(f"{key}.version", "4 or 6", version)
        try:
            return Probe(protocol, port, version)
        except ReachabilityError as error:
            raise MatrixFormatError(Place(self.file, key=key), "a probe that exists", str(error)) from error

    def cell(self, key: str, value: object) -> Cell:
        facts = self.mapping(key, value, _NEEDED, _DEFAULTS)
        outcome = facts["outcome"]
        if not isinstance(outcome, str) or outcome not in _OUTCOMES:
            raise self.fault(f"{key}.outcome", f"one of {', '.join(_OUTCOMES)}", outcome)
        replied = facts.get("replied", False)
        if not isinstance(replied, bool):
            raise self.fault(f"{key}.replied", "true or false", replied)
        seen_source, receiver = (
            None if facts.get(name) is None else self.text(f"{key}.{name}", facts[name])
            for name in ("seen_source", "receiver")
        )
        try:
            return Cell(
                self.text(f"{key}.source", facts["source"]),
                self.text(f"{key}.target", facts["target"]),
                _OUTCOMES[outcome],
                seen_source=seen_source,
                receiver=receiver,
                replied=replied,
                detail=self.text(f"{key}.detail", facts.get("detail", "")),
                rules=self.texts(f"{key}.rules", facts.get("rules", [])),
            )
        except MatrixFormatError:
            raise
        except ReachabilityError as error:
            raise MatrixFormatError(Place(self.file, key=key), "an answer that can be", str(error)) from error


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"{key!r} twice")
        found[key] = value
    return found


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    return json.dumps(value)
