"""What can be wrong with a matrix, a probe or an answer that somebody gave us."""

from __future__ import annotations

from netverify.errors import InputError, Place
from netverify.reachability.text import pointed, printable, shorten


class ReachabilityError(InputError):
    """A probe, an answer or a matrix that cannot be, or a name that a matrix does not have."""


class MatrixSyntaxError(ReachabilityError):
    """A table of expectations cannot be read: where, what was expected there, and what stands there instead.

    `place` holds the table's name or file, with line and column counted from 1; `found` is the word at fault
    (empty at the end of a line or of the table), `text` the line that it stands in.
    """

    def __init__(self, place: Place, expected: str, found: str = "", text: str = "") -> None:
        stands = f"found '{shorten(found, 40)}'" if found else "found the end"
        lines = [f"{printable(str(place))}: expected {expected}; {stands}"]
        if text:
            lines += pointed(text, place.column or 1)
        super().__init__("\n    ".join(lines))
        self.place = place
        self.line = place.line
        self.column = place.column
        self.expected = expected
        self.found = found
        self.text = text


class MatrixFormatError(ReachabilityError):
    """A stored matrix (JSON) cannot be read: `place` has its file and key, `expected` what belongs there."""

    def __init__(self, place: Place, expected: str, found: str) -> None:
        super().__init__(f"{printable(str(place))}: expected {expected}; found {shorten(found, 60)}")
        self.place = place
        self.expected = expected
        self.found = found
