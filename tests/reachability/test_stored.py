from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.reachability.errors import MatrixFormatError
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, tcp
from netverify.reachability.stored import FORMAT, from_json, to_json
from tests.strategies.reachability import observed_matrices, texts

SEEN = ObservedMatrix.of(
    tcp(80),
    [
        Cell("a1", "b1", Outcome.FILTERED, rules=("filter FORWARD 3",)),
        Cell("a1", "a1", Outcome.DELIVERED, "10.0.0.1", replied=True),
    ],
)
TEXT = """\
{
"format": "netverify reachability matrix", "version": 1,
"probe": {"protocol": "tcp", "port": 80, "version": 4},
"rows": ["a1"],
"columns": ["a1", "b1"],
"cells": [
{"source": "a1", "target": "a1", "outcome": "delivered", "seen_source": "10.0.0.1", "replied": true},
{"source": "a1", "target": "b1", "outcome": "filtered", "rules": ["filter FORWARD 3"]}
]
}
"""


def test_one_cell_a_line_and_defaults_left_out() -> None:
    assert to_json(SEEN) == TEXT


@given(observed_matrices())
def test_everything_comes_back(seen: ObservedMatrix) -> None:
    again = from_json(to_json(seen))
    assert (again.rows, again.columns, again.probe, again.grid) == (
        seen.rows,
        seen.columns,
        seen.probe,
        seen.grid,
    )
    assert to_json(again) == to_json(seen)
    assert to_json(seen).isascii()


@pytest.mark.parametrize(
    ("old", "new", "place", "says"),
    [
        ("{\n", "", "m.json:1:9", "expected JSON"),
        (TEXT, "[]", "m.json", "expected an object; found a list of 0"),
        (TEXT, "[" * 100_000, "m.json", "expected JSON that Python can read"),
        (TEXT, "9" * 5000, "m.json", "expected JSON that Python can read"),
        (FORMAT, "other", "m.json: format", f"expected '{FORMAT}'"),
        (", 'version': 1".replace("'", '"'), "", "m.json", "the key version"),
        ('"version": 1', '"version": 2', "m.json: version", "expected 1, the only one"),
        ('"version": 1', '"version": true', "m.json: version", "expected 1, the only one"),
        (
            '"rows"',
            '"comment": 1, "rows"',
            "m.json",
            'only the keys format, version, probe, rows, columns, cells; found "comment"',
        ),
        ('"rows"', '"rows": [], "rows"', "m.json", "expected each key once; found 'rows' twice"),
        ('"tcp"', '"sctp"', "m.json: probe.protocol", 'one of icmp, udp, tcp, arp; found "sctp"'),
        ('"port": 80', '"port": "80"', "m.json: probe.port", "a port number or null"),
        ('"port": 80', '"port": true', "m.json: probe.port", "a port number or null"),
        ('"port": 80', '"port": 0', "m.json: probe", "a probe that exists; found port 0"),
        ('"version": 4', '"version": 4.0', "m.json: probe.version", "expected 4 or 6; found 4.0"),
        ('["a1"]', '"a1"', "m.json: rows", "expected a list"),
        ('["a1", "b1"]', '["a1", 7]', "m.json: columns[1]", "expected a string; found 7"),
        ('["a1", "b1"]', '["a1"]', "m.json: rows, columns and cells", "a1 -> b1 is outside the matrix"),
        ('"b1", "outcome"', '"a1", "outcome"', "m.json: rows, columns and cells", "two answers for a1 -> a1"),
        ('"filtered"', '"blocked"', "m.json: cells[1].outcome", "one of delivered, refused, prohibited"),
        ('"filtered"', '["filtered"]', "m.json: cells[1].outcome", "found a list of 1"),
        ('"delivered"', '"refused"', "m.json: cells[0]", "a1 -> a1: refused, yet replied to"),
        ("true", "1", "m.json: cells[0].replied", "expected true or false; found 1"),
        ('"10.0.0.1"', "{}", "m.json: cells[0].seen_source", "expected a string; found an object of 0"),
        ('["filter FORWARD 3"]', "null", "m.json: cells[1].rules", "expected a list; found null"),
        ('"filter FORWARD 3"', "3", "m.json: cells[1].rules[0]", "expected a string; found 3"),
    ],
)
def test_anything_else_is_refused_with_its_key(old: str, new: str, place: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(MatrixFormatError) as caught:
        from_json(TEXT.replace(old, new, 1), file="m.json")
    assert str(caught.value).startswith(f"{place}: expected ")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(seen=observed_matrices(), junk=_JSON, data=st.data())
def test_a_document_with_one_value_replaced_is_read_or_refused(
    seen: ObservedMatrix, junk: object, data: st.DataObject
) -> None:
    document = json.loads(to_json(seen))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = junk
            break
        place = place[key]
    text = json.dumps(document)
    try:
        again = from_json(text)
    except MatrixFormatError as error:
        assert str(error).isprintable()  # noqa: PT017 - both ends are right ones
    else:
        assert from_json(to_json(again)).grid == again.grid


@given(texts())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(MatrixFormatError):
        from_json(text)
