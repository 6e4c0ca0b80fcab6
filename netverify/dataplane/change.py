"""One class of packets with another fate, as data: what, by which rules, for whom, with an example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from netverify.dataplane.describe import Description
from netverify.dataplane.packet import Packet, address
from netverify.dataplane.program import Place
from netverify.dataplane.sets import Set
from netverify.dataplane.targets import Ending, Nat, Reject, Verdict
from netverify.dataplane.trace import packet_facts


class Kind(Enum):
    """What sort of change it is, in the order in which changes are told."""

    OPENED = "opened"
    """Packets that could be stopped now can pass."""
    CLOSED = "closed"
    """Packets that could pass now can be stopped."""
    REFUSED = "refused in another way"
    """Packets were stopped and still are; their sender is told something else, or nothing."""
    TRANSLATED = "translated otherwise"
    """Packets get, lose or change a translation."""
    WRITTEN = "written otherwise"
    """Packets pass as before, and leave with other marks or fields."""
    UNKNOWN = "unknown"
    """Packets meet other targets of which nothing is modelled."""


RANK = {kind: rank for rank, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Side:
    """What became of the packets of a class in one of the rulesets.

    `ending`, `place` and `rule` (its text) are those of the example; the class has `endings` different
    endings of that sort and `rules` rules or policies that gave them (0: too many to be told apart).
    `written` has, for each field that the two sides write differently, what they leave it as; `strange` are
    targets passed that are not modelled.
    """

    ending: Ending
    place: Place
    rule: str
    endings: int = 1
    rules: int = 1
    written: tuple[tuple[str, str], ...] = ()
    strange: tuple[str, ...] = ()

    def words(self, table: str, version: int) -> str:
        """What became of them, in words."""
        said = ending_words(self.ending, version)
        if table == "nat" and self.ending is Verdict.ACCEPT:
            said = "no translation"
        if self.endings > 1:
            said += f" and {self.endings - 1} others"
        if self.written:
            said += " with " + ", ".join(f"{name} {value}" for name, value in self.written)
        if self.strange:
            said += f" after {', '.join(self.strange)} (not modelled)"
        return said

    def as_facts(self, table: str, version: int) -> dict[str, Any]:
        """The side for JSON."""
        return {
            "fate": self.words(table, version),
            "place": str(self.place),
            "rule": self.rule,
            "rules": self.rules,
            "endings": self.endings,
            "written": dict(self.written),
            "not_modelled": list(self.strange),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One class of packets with a new fate at one of the kernel's own chains.

    `reaches` is false only if no packet of the class can come to that chain, because tables before it stop
    them all (`onward` says what is known of the way); `continues` only if tables after it stop in any
    case what passes it. `opens` tells whether, by all that, packets may now pass the host that did not.
    `assumed` are values of unknowns under which the example's fate changes. `packets` is the whole class.
    """

    table: str
    chain: str
    kind: Kind
    old: Side
    new: Side
    example: Packet
    description: Description
    assumed: tuple[tuple[str, bool], ...] = ()
    reaches: bool = True
    continues: bool = True
    opens: bool = False
    packets: Set | None = field(default=None, repr=False, compare=False)

    @property
    def before(self) -> Ending:
        """How the example ended."""
        return self.old.ending

    @property
    def after(self) -> Ending:
        """How the example ends now."""
        return self.new.ending

    @property
    def old_place(self) -> Place:
        """The rule or policy that decided the example's fate."""
        return self.old.place

    @property
    def new_place(self) -> Place:
        """The rule or policy that decides it now."""
        return self.new.place

    @property
    def writes(self) -> tuple[str, ...]:
        """The fields that are written otherwise, where that is the change."""
        return tuple(name for name, _ in self.old.written)

    def fates(self) -> tuple[str, str]:
        """Both fates in words."""
        version = self.example.version
        return self.old.words(self.table, version), self.new.words(self.table, version)

    def __str__(self) -> str:
        before, after = self.fates()
        devices = f" ({self.example.in_interface or '-'} -> {self.example.out_interface or '-'})"
        return (
            f"{self.table} {self.chain}: {before} -> {after}: {self.description}; for example "
            f"{self.example}{devices}; before {self.old_place}, after {self.new_place}"
        )

    def as_facts(self) -> dict[str, Any]:
        """The change for JSON."""
        version = self.example.version
        return {
            "kind": self.kind.value,
            "opens": self.opens,
            "reaches": self.reaches,
            "continues": self.continues,
            "table": self.table,
            "chain": self.chain,
            "before": self.old.as_facts(self.table, version),
            "after": self.new.as_facts(self.table, version),
            "packets": [part.as_facts() for part in self.description.parts],
            "more_parts": self.description.more,
            "more_parts_is_exact": self.description.is_exact,
            "example": packet_facts(self.example),
            "assumed": dict(self.assumed),
        }


def may_stop(ending: Ending) -> bool:
    """Whether packets with this ending can end there; what a program in user space does is not known."""
    return ending in (Verdict.DROP, Verdict.QUEUE) or isinstance(ending, Reject)


def may_pass(ending: Ending) -> bool:
    """Whether packets with this ending can go on."""
    return ending in (Verdict.ACCEPT, Verdict.QUEUE) or isinstance(ending, Nat)


def kind_of(before: Ending, after: Ending) -> Kind:
    """The sort of change between two different endings."""
    if may_stop(before) and may_pass(after):
        return Kind.OPENED if before is Verdict.QUEUE or not may_pass(before) else Kind.TRANSLATED
    if may_stop(after) and may_pass(before):
        return Kind.CLOSED
    return Kind.REFUSED if may_stop(before) else Kind.TRANSLATED


def ending_words(ending: Ending, version: int = 4) -> str:
    """An ending as people write it."""
    if isinstance(ending, Reject):
        return f"REJECT with {ending.words}"
    if isinstance(ending, Nat):
        return _nat_words(ending, version)
    return ending.value


def _nat_words(nat: Nat, version: int) -> str:
    said = nat.kind.value
    if nat.network is not None:
        base, mask = (address(version, number) for number in nat.network)
        return f"{said} to {base}/{mask}"
    if nat.addresses is not None:
        said += f" to {_span(str(address(version, number)) for number in nat.addresses)}"
    if nat.ports is not None:
        said += f" port {_span(map(str, nat.ports))}"
    options = [name for name in ("random", "persistent") if getattr(nat, name, False)]
    base_port = getattr(nat, "base", None)
    if base_port is not None:
        options.append(f"counted from port {base_port}")
    return said + (f" ({', '.join(options)})" if options else "")


def _span(ends: Iterable[str]) -> str:
    low, high = ends
    return low if low == high else f"{low}-{high}"
