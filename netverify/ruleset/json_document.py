"""A JSON text that knows where everything stands in it, so that an error can name line and column.

`nft -j` prints everything on one line; the column is then the only guide. Beyond what the `json` module checks,
a key may not stand twice in an object (one of them would be lost), numbers must be finite and of at most 20
digits, and nesting has an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from netverify.ruleset.errors import RulesetSyntaxError
from netverify.ruleset.nft_expressions import Json

DEEPEST = 64
"""Levels of arrays and objects inside each other. nft itself uses fewer than 20."""

Path = tuple[str | int, ...]
"""The keys and indexes that lead from the top to a value."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class JsonDocument:
    """The value of a JSON text, and the places of its parts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.value = self._loaded()

    def error(self, path: Path, expected: str, found: str = "") -> RulesetSyntaxError:
        """The error to raise when the value at `path` is not what was expected."""
        return self._error_at(self._offset(path), expected, found)

    def _loaded(self) -> Json:
        try:
            value: Json = json.loads(
                self.text,
                object_pairs_hook=self._object,
                parse_int=self._integer,
                parse_float=self._refuse_number,
                parse_constant=self._refuse_number,
            )
        except json.JSONDecodeError as error:
            found = self.text[error.pos : error.pos + 1]
            raise self._error_at(error.pos, f"JSON ({error.msg})", found) from error
        except RecursionError:
            # Named below, with its place; the recursion itself says nothing that helps.
            self._check_depth()
            raise
        self._check_depth()
        return value

    def _object(self, members: list[tuple[str, Json]]) -> Json:
        read = dict(members)
        if len(read) != len(members):
            names = [name for name, _ in members]
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise self._error_at(self._of_duplicate(twice), f"the key {twice!r} only once in its object", twice)
        return read

    def _of_duplicate(self, key: str) -> int:
        """The second place of a key in the first object that has it twice."""
        seen: list[set[str]] = []
        for token in _TOKEN.finditer(self.text):
            if token[0] in ("{", "["):
                seen.append(set())
            elif token[0] in ("}", "]"):
                seen.pop()
            elif self.text.startswith(":", _BLANK.match(self.text, token.end()).end()):  # type: ignore[union-attr]
                name = json.loads(token[0])
                if name == key and name in seen[-1]:
                    return token.start()
                seen[-1].add(name)
        return 0
