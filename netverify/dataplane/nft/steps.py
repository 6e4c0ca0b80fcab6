"""The steps that an nftables rule takes, one after the other: tests, counters, effects, choices."""

from __future__ import annotations

from dataclasses import dataclass

from netverify.dataplane.condition import ALWAYS, Condition
from netverify.dataplane.rewrite import Rewrite
from netverify.dataplane.targets import Ending


@dataclass(frozen=True)
class Need:
    """Who does not fulfil it has done with the rule."""

    condition: Condition
    words: str


@dataclass(frozen=True)
class Counted:
    """A counter of the rule's own counts who comes here."""


@dataclass(frozen=True)
class Do:
    """Something is done to all who come here, or to those of `only_if`; then the rule goes on."""

    words: str
    ending: Ending | None = None
    rewrite: Rewrite | None = None
    callee: str | None = None
    goto: bool = False
    not_modelled: str = ""
    only_if: Condition = ALWAYS

    @property
    def is_nothing(self) -> bool:
        """Whether it leaves no trace."""
        return not (self.ending or self.rewrite or self.callee or self.not_modelled)


@dataclass(frozen=True)
class Choose:
    """At most one branch is taken; who takes none has done with the rule."""

    branches: tuple[tuple[Condition, tuple[Do, ...]], ...]


Step = Need | Counted | Do | Choose
