"""What can be wrong with a snapshot that somebody gave us."""

from __future__ import annotations

from netverify.errors import InputError, Place


class SnapshotError(InputError):
    """A snapshot cannot be read: `place` has the file and, where they are known, line, column and key."""

    def __init__(self, place: Place, problem: str, expected: str = "") -> None:
        super().__init__(f"{place}: {problem}" + (f"; expected {expected}" if expected else ""))
        self.place = place
        self.problem = problem
        self.expected = expected
