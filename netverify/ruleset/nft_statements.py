"""What an nft rule does, statement by statement, from left to right: libnftables-json(5) as data.

What nft leaves out when it prints a rule is not said here either: `tcp dport 80` tests the protocol first,
and in a table of family inet `ip saddr` tests that the packet is IPv4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netverify.ruleset.counters import Counters
from netverify.ruleset.nft_expressions import (
    Expression,
    Json,
    Operation,
    Verbatim,
    Verdict,
    encode,
    show,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Goes on only if `left` and `right` compare so: `== != < > <= >=`.

    With flags on the right, `in` is for "has one of these", and `!` for "has none of these".

    With a set, a prefix or a range on the right, `==` means "is in it" and `!=` "is not in it".
    """

    operator: str
    left: Expression
    right: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"match": {"op": self.operator, "left": encode(self.left), "right": encode(self.right)}}

    def __str__(self) -> str:
        plain = self.operator == "in" or (self.operator == "==" and not isinstance(self.left, Operation))
        between = " " if plain else f" {self.operator} "
        return f"{show(self.left)}{between}{show(self.right, self.left)}"


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """Looks the key up in a map of verdicts and does what it finds; goes on if it finds nothing."""

    key: Expression
    data: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"vmap": {"key": encode(self.key), "data": encode(self.data)}}

    def __str__(self) -> str:
        return f"{show(self.key)} vmap {show(self.data, self.key)}"


@dataclass(frozen=True, slots=True)
class Count:
    """Counts the packets that come this far, for the rule itself or in the table's counter `name`."""

    counters: Counters | None = field(default=None, compare=False)
    name: str | None = None

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        if self.name is not None:
            return {"counter": self.name}
        if self.counters is None:
            return {"counter": None}
        return {"counter": {"packets": self.counters.packets, "bytes": self.counters.bytes}}

    def __str__(self) -> str:
        return "counter" if self.name is None else f'counter name "{self.name}"'


@dataclass(frozen=True, slots=True)
class Assignment:
    """Sets a field of the packet, its mark or its connection's mark: `meta mark set 0x1`."""

    key: Expression
    value: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"mangle": {"key": encode(self.key), "value": encode(self.value)}}

    def __str__(self) -> str:
        return f"{show(self.key)} set {show(self.value, self.key)}"


@dataclass(frozen=True, slots=True)
class Nat:
    """`snat`, `dnat`, `masquerade` or `redirect`; a verdict too: the packet leaves the base chain accepted.

    `type_flags` holds `prefix` or `interval`, `flags` random, fully-random, persistent, netmap.
    """

    kind: str
    address: Expression | None = None
    port: Expression | None = None
    family: str | None = None
    flags: tuple[str, ...] = ()
    type_flags: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        attributes: dict[str, Json] = {}
        if self.family is not None:
            attributes["family"] = self.family
        if self.address is not None:
            attributes["addr"] = encode(self.address)
        if self.port is not None:
            attributes["port"] = encode(self.port)
        if self.flags:
            attributes["flags"] = _one_or_many(self.flags)
        if self.type_flags:
            attributes["type_flags"] = _one_or_many(self.type_flags)
        return {self.kind: attributes or None}

    def __str__(self) -> str:
        words = [self.kind, *([self.family] if self.family else []), *self.type_flags]
        if self.address is not None or self.port is not None:
            address = "" if self.address is None else str(self.address)
            address = f"[{address}]" if ":" in address and self.port is not None else address
            words += ["to", address + ("" if self.port is None else f":{self.port}")]
        return " ".join([*words, *([",".join(self.flags)] if self.flags else [])])


@dataclass(frozen=True, slots=True)
class Reject:
    """Drops the packet and tells the sender: `type` is icmp, icmpv6, icmpx or `tcp reset`, `code` why."""

    type: str | None = None
    code: Expression | None = None

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        attributes: dict[str, Json] = {}
        if self.type is not None:
            attributes["type"] = self.type
        if self.code is not None:
            attributes["expr"] = encode(self.code)
        return {"reject": attributes or None}

    def __str__(self) -> str:
        words = ["reject", *(["with", self.type] if self.type else [])]
        return " ".join(words if self.code is None else [*words, show(self.code)])


@dataclass(frozen=True, slots=True)
class NoTrack:
    """Keeps connection tracking away from the packet."""

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"notrack": None}

    def __str__(self) -> str:
        return "notrack"


@dataclass(frozen=True, slots=True)
class Xt:
    """An extension of iptables inside an nft rule. nft does not tell its parameters: they must be unknown.

    `type` is match, target or watcher.
    """

    type: str
    name: str

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"xt": {"type": self.type, "name": self.name}}

    def __str__(self) -> str:
        return f'xt {self.type} "{self.name}"'


Statement = Comparison | VerdictMap | Verdict | Count | Assignment | Nat | Reject | NoTrack | Xt | Verbatim
"""Everything that can stand in a rule. `Verbatim` holds the others: `log`, `limit`, `queue`, `set`, ..."""


def _one_or_many(flags: tuple[str, ...]) -> Json:
    return flags[0] if len(flags) == 1 else list(flags)
