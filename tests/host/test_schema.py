"""The published schema says what the reader reads, and every part is told what it is good for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from netverify.host import Parts, SnapshotError, read_json
from netverify.host.parts import NAMES
from netverify.host.redaction import redact
from netverify.host.schema import UNKNOWN, schema, text
from netverify.host.snapshot import _EXPECTED
from tests.host.samples import TEXTS, without

VALID = [
    Parts("x", TEXTS, {}, "web-7"),
    Parts("x", without("nft.json", "containers/web/addr.json"), {"nft.json": "nft is not installed"}),
    Parts("x", {"addr.json": "[]"}, {"containers/web/route.json": "nsenter: no"}),
    redact(Parts("x", TEXTS, {}, "web-7"), b"salt"),
]


def problems(document: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema()).iter_errors(document)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert json.loads(text()) == schema()


@pytest.mark.parametrize("parts", VALID)
def test_what_is_written_fits(parts: Parts) -> None:
    assert problems(json.loads(parts.as_json())) == []


def document(**changes: Any) -> dict[str, Any]:
    return {"format": "netverify host snapshot", "version": 1, "parts": {"addr.json": []}} | changes


INVALID = [
    document(format="something"),
    document(version=2),
    document(version="1.0"),
    document(parts={"adr.json": []}),
    document(parts={"containers/../addr.json": []}),
    document(parts={"containers/a b/addr.json": []}),
    document(parts={"sysctl.txt": 5}),
    document(parts=[]),
    document(missing=["nft.json"]),
    document(missing={"nft.jsn": "a reason"}),
    document(missing={"nft.json": 5}),
    {"format": "netverify host snapshot", "version": 1},
    {"format": "netverify host snapshot", "parts": {}},
    [],
]


@pytest.mark.parametrize("wrong", INVALID)
def test_what_does_not_fit_is_not_read(wrong: Any) -> None:
    """The schema and the reader refuse the same."""
    assert problems(wrong)
    with pytest.raises(SnapshotError):
        read_json(json.dumps(wrong), "host.json")


def test_other_versions_are_refused_by_number() -> None:
    with pytest.raises(SnapshotError, match=r"version: it is '2'; expected version 1, the only one"):
        read_json(json.dumps(document(version=2)), "host.json")


def test_every_part_is_told_what_is_unknown_without_it() -> None:
    described = schema()["properties"]["parts"]["properties"]
    assert set(described) == set(NAMES) == set(UNKNOWN)
    assert set(_EXPECTED) <= set(UNKNOWN)
    for name, reason in UNKNOWN.items():
        assert described[name]["description"].endswith(f"unknown without it: {reason}")
