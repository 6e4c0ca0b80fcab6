"""What can be wrong with packet-filter rules that a person or a machine gave us."""

from __future__ import annotations

from netverify.errors import InputError


class RulesetError(InputError):
    """Rules that cannot be: a bad chain name, a wrong number of arguments, a chain twice in a table."""


class RulesetSyntaxError(RulesetError):
    """A rule file cannot be read: where, what was expected there, and what stands there instead.

    `line` and `column` count from 1; for a single rule given as text, `line` is 1. `text` is the line as it
    stands in the file, `found` the word at fault (empty at the end of a line or of the file).
    """

    def __init__(self, line: int, column: int, expected: str, found: str = "", text: str = "") -> None:
        stands = f"found {shorten(found)!r}" if found else "found the end"
        message = f"line {line}, column {column}: expected {expected}, {stands}"
        if text:
            message += f"\n    {excerpt(text, column)}"
        super().__init__(message)
        self.line = line
        self.column = column
        self.expected = expected
        self.found = found
        self.text = text


class NoSuchPlace(RulesetError):
    """A table, chain or rule number that the ruleset does not have."""


class CountersNotComparable(RulesetError):
    """Two readings of counters that do not belong to the same rules, or were reset between the readings."""


def shorten(text: str, limit: int = 60) -> str:
    """`text`, cut to at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def excerpt(text: str, column: int, width: int = 90) -> str:
    """The part of `text` around `column` (from 1), at most `width` characters and the marks of a cut."""
    start = max(0, min(column - 1 - width // 2, len(text) - width))
    end = start + width
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
