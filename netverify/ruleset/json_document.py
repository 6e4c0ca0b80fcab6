"""A JSON text that knows where everything stands in it, so that an error can name line and column.

`nft -j` prints everything on one line, and the column is then the only guide. Beyond what the `json` module
checks, a key may not stand twice in an object (one of the two would be lost), numbers must be whole and have
at most 20 digits, and nesting has an end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from netverify.ruleset.errors import RulesetSyntaxError
from netverify.ruleset.nft_expressions import Json

DEEPEST = 64
"""Levels of arrays and objects inside each other. nft itself uses fewer than 20."""

Path = tuple[str | int, ...]
"""The keys and indexes that lead from the top to a value."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]]+")
_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands in the loaded value where something is wrong that the `json` module itself lets pass."""

    expected: str
    found: str


class JsonDocument:
    """The value of a JSON text, and the places of its parts. Raises RulesetSyntaxError if it is no JSON."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._is_faulty = False
        if _is_too_deep(text):
            raise self._error_at(_first_too_deep(text), f"at most {DEEPEST} levels of nesting")
        try:
            self.value: Json = json.loads(
                text,
                object_pairs_hook=self._object,
                parse_int=self._integer,
                parse_float=self._no_integer,
                parse_constant=self._no_integer,
            )
        except json.JSONDecodeError as error:
            raise self._error_at(error.pos, f"JSON ({error.msg})", text[error.pos : error.pos + 1]) from error
        if self._is_faulty:
            path, fault = _first_fault(self.value)
            raise self.error(path, fault.expected, fault.found)

    def error(self, path: Path, expected: str, found: str = "") -> RulesetSyntaxError:
        """The error to raise when the value at `path` is not what was expected."""
        return self._error_at(self._offset(path), expected, found)

    def _object(self, members: list[tuple[str, Json]]) -> object:
        read = dict(members)
        if len(read) == len(members):
            return read
        seen: set[str] = set()
        for twice, _ in members:
            if twice in seen:
                break
            seen.add(twice)
        return self._fault(f"the key {twice!r} only once in this object", twice)

    def _integer(self, digits: str) -> object:
        return int(digits) if len(digits) <= 20 else self._no_integer(digits)

    def _no_integer(self, digits: str) -> object:
        return self._fault("a whole number of at most 20 digits", digits)

    def _fault(self, expected: str, found: str) -> _Fault:
        self._is_faulty = True
        return _Fault(expected, found)

    def _error_at(self, offset: int, expected: str, found: str = "") -> RulesetSyntaxError:
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[start : end if end >= 0 else len(self.text)]
        number = self.text.count("\n", 0, offset) + 1
        return RulesetSyntaxError(number, offset - start + 1, expected, found, line)

    def _offset(self, path: Path) -> int:
        offset = self._after_blanks(0)
        for step in path:
            offset = self._member(offset, step)
        return offset

    def _member(self, container: int, step: str | int) -> int:
        """Where the member `step` of the array or object begins that begins at `container`."""
        offset, index = self._after_blanks(container + 1), 0
        while True:
            if isinstance(step, str):
                key, offset = _DECODER.raw_decode(self.text, offset)
                offset = self._after_blanks(self._after_blanks(offset) + 1)
                reached = key == step
            else:
                reached = index == step
            if reached:
                return offset
            _, offset = _DECODER.raw_decode(self.text, offset)
            offset, index = self._after_blanks(self._after_blanks(offset) + 1), index + 1

    def _after_blanks(self, offset: int) -> int:
        blanks = _BLANKS.match(self.text, offset)
        return blanks.end() if blanks else offset


def _is_too_deep(text: str) -> bool:
    brackets = _STRING.sub("", text).translate({ord("{"): "[", ord("}"): "]"})
    brackets = _NO_BRACKETS.sub("", brackets)
    for _ in range(DEEPEST):
        brackets = brackets.replace("[]", "")  # closes the innermost level
    return brackets.count("[") > DEEPEST or "[]" in brackets


def _first_too_deep(text: str) -> int:
    depth = 0
    for token in re.finditer(_STRING.pattern + r"|[\[{]|[\]}]", text, re.DOTALL):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > DEEPEST:
            return token.start()
    return 0


def _first_fault(value: object) -> tuple[Path, _Fault]:
    """A fault in the loaded value, which has one, and the path to it."""
    waiting: list[tuple[Path, object]] = [((), value)]
    while True:
        path, inner = waiting.pop()
        if isinstance(inner, _Fault):
            return path, inner
        if isinstance(inner, dict):
            waiting += (((*path, key), member) for key, member in inner.items())
        elif isinstance(inner, list):
            waiting += (((*path, index), member) for index, member in enumerate(inner))
