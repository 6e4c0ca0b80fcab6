"""Where a native rule stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netverify.dataplane.view import HostView
from netverify.ruleset.nft import NftTable


@dataclass(frozen=True)
class Context:
    """Where a rule stands: IP version, host, table, and its place in words (for unknowns of its own).

    `changing` are the table's sets that rules write into.
    """

    version: int
    host: HostView
    table: NftTable
    place: str = ""
    changing: frozenset[str] = frozenset()

    def at(self, place: str) -> Context:
        """The same for another rule."""
        return replace(self, place=place)
