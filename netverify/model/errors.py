"""What can be wrong with a question to the model, or with what it is asked about."""

from __future__ import annotations

from netverify.errors import InputError, NetverifyError, Place


class QuestionError(InputError):
    """The question names something that is not there, or cannot be asked."""


class SourceError(InputError):
    """What the question is about cannot be read: which file, where in it, and what was expected."""

    def __init__(self, place: Place, problem: str, expected: str = "") -> None:
        super().__init__(f"{place}: {problem}" + (f"; expected {expected}" if expected else ""))
        self.place = place


class NotCollected(NetverifyError):
    """A snapshot lacks the part without which there is nothing to be asked."""

    def __init__(self, place: Place, part: str, reason: str) -> None:
        super().__init__(f"{place}: {part} was not collected ({reason}), and without it nothing can be said")
