"""What an nft rule looks at and compares with: the expressions of libnftables-json(5) as data.

Every class says how it stands in JSON (`to_json`) and prints much as nft(8) writes it (`str`; numbers are in
decimal, so this is for reading and not for loading). What is not one of these classes, or has parts that it
should not have, is kept as `Verbatim`: an unknown to an evaluator, never a loss.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
"""A value as JSON has it."""

_UNQUALIFIED = frozenset({"iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup"})
NAMES = frozenset({"iif", "oif", "iifname", "oifname", "ibrname", "obrname", "iifkind", "oifkind"})
"""Meta keys whose values are names, which nft writes in quotes."""


def canonical(value: Json) -> str:
    """JSON text that is the same for the same value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Verbatim:
    """An expression or statement that this project does not model: its name and its JSON, word for word."""

    name: str
    text: str

    @classmethod
    def of(cls, value: Json) -> Verbatim:
        """Keep any JSON value; an object with a single key is called by that key."""
        name = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""
        return cls(name, canonical(value))

    def to_json(self) -> Json:
        """The value that was kept."""
        value: Json = json.loads(self.text)
        return value

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Payload:
    """A field of a header: `ip daddr`, `tcp dport`; protocol `th` is whatever transport header there is."""

    protocol: str
    field: str

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"payload": {"protocol": self.protocol, "field": self.field}}

    def __str__(self) -> str:
        return f"{self.protocol} {self.field}"


@dataclass(frozen=True, slots=True)
class RawPayload:
    """Bits of the packet: from `offset`, `length` bits, counted from the base (ll, nh, th, ih)."""

    base: str
    offset: int
    length: int

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"payload": {"base": self.base, "offset": self.offset, "len": self.length}}

    def __str__(self) -> str:
        return f"@{self.base},{self.offset},{self.length}"


@dataclass(frozen=True, slots=True)
class Meta:
    """What the kernel knows of the packet beside its content: `iifname`, `mark`, `l4proto`, ..."""

    key: str

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"meta": {"key": self.key}}

    def __str__(self) -> str:
        return self.key if self.key in _UNQUALIFIED else f"meta {self.key}"


@dataclass(frozen=True, slots=True)
class Ct:
    """What connection tracking knows: `state`, `mark`, `status`; with a direction addresses and ports too."""

    key: str
    direction: str | None = None
    family: str | None = None

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        attributes: dict[str, Json] = {"key": self.key, "dir": self.direction, "family": self.family}
        return {"ct": {name: value for name, value in attributes.items() if value is not None}}

    def __str__(self) -> str:
        return " ".join(filter(None, ("ct", self.direction, self.family, self.key)))


@dataclass(frozen=True, slots=True)
class Fib:
    """A lookup in the routing tables: the `result` (type, oif, oifname) for the fields in `flags`."""

    result: str
    flags: tuple[str, ...]

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"fib": {"result": self.result, "flags": list(self.flags)}}

    def __str__(self) -> str:
        return f"fib {' . '.join(self.flags)} {self.result}"


@dataclass(frozen=True, slots=True)
class SetReference:
    """A named set or map of the same table: `@name`."""

    name: str

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return f"@{self.name}"

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True, slots=True)
class Prefix:
    """An address with a prefix length in bits."""

    address: Expression
    length: int

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"prefix": {"addr": encode(self.address), "len": self.length}}

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


@dataclass(frozen=True, slots=True)
class Range:
    """Everything from `low` to `high`, both included."""

    low: Expression
    high: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"range": [encode(self.low), encode(self.high)]}

    def __str__(self) -> str:
        return f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Flags:
    """Several flags together: `established,related`."""

    values: tuple[Expression, ...]

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return [encode(value) for value in self.values]

    def joined(self, separator: str) -> str:
        """The flags with this between them."""
        return separator.join(map(str, self.values))

    def __str__(self) -> str:
        return self.joined(",")


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Several fields or values side by side: `ip saddr . tcp dport`."""

    parts: tuple[Expression, ...]

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"concat": [encode(part) for part in self.parts]}

    def __str__(self) -> str:
        return " . ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Operation:
    """Bit arithmetic with one of `& | ^ << >>` between all the operands."""

    operator: str
    operands: tuple[Expression, ...]

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {self.operator: [encode(operand) for operand in self.operands]}

    def __str__(self) -> str:
        shown = (f"({item.joined('|')})" if isinstance(item, Flags) else str(item) for item in self.operands)
        return f" {self.operator} ".join(shown)


@dataclass(frozen=True, slots=True)
class Presence:
    """`exists` or `missing`: whether a lookup found something, or a header has an option."""

    exists: bool

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return self.exists

    def __str__(self) -> str:
        return "exists" if self.exists else "missing"


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a set with its attributes; the timeout is in seconds.

    `state` holds what else is said of it as JSON text: how long it still lives, what it counted. These are
    observations and do not take part in comparisons.
    """

    value: Expression
    timeout: int | None = None
    comment: str | None = None
    state: str = field(default="{}", compare=False)

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        attributes: dict[str, Json] = {"timeout": self.timeout, "comment": self.comment}
        present = {name: value for name, value in attributes.items() if value is not None}
        return {"elem": {"val": encode(self.value), **present, **json.loads(self.state)}}

    def __str__(self) -> str:
        return show(self.value)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`accept`, `drop`, `continue`, `return`, `jump` or `goto` to a chain: in a rule or as a map's value."""

    kind: str
    chain: str | None = None

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {self.kind: None if self.chain is None else {"target": self.chain}}

    def __str__(self) -> str:
        return self.kind if self.chain is None else f"{self.kind} {self.chain}"


@dataclass(frozen=True, slots=True)
class Pair:
    """An element of a map: what is looked up, and what is found."""

    key: Expression
    value: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return [encode(self.key), encode(self.value)]

    def __str__(self) -> str:
        return f"{show(self.key)} : {show(self.value)}"


@dataclass(frozen=True, slots=True)
class AnonymousSet:
    """A set or map that stands in the rule itself: `{ 80, 443 }`."""

    elements: tuple[Expression, ...]

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"set": [encode(element) for element in self.elements]}

    def __str__(self) -> str:
        return "{ " + ", ".join(show(element) for element in self.elements) + " }"


@dataclass(frozen=True, slots=True)
class MapLookup:
    """The value that a map has for a key: `tcp dport map { 80 : 10.0.0.1 }`."""

    key: Expression
    data: Expression

    def to_json(self) -> Json:
        """As libnftables-json(5) has it."""
        return {"map": {"key": encode(self.key), "data": encode(self.data)}}

    def __str__(self) -> str:
        return f"{self.key} map {show(self.data, self.key)}"


Expression = (
    str  # a name or an address
    | int
    | Presence
    | Verbatim
    | Payload
    | RawPayload
    | Meta
    | Ct
    | Fib
    | SetReference
    | Prefix
    | Range
    | Flags
    | Concatenation
    | Operation
    | Element
    | Verdict
    | Pair
    | AnonymousSet
    | MapLookup
)
"""Everything that can stand in a statement or a set."""


def encode(expression: Expression) -> Json:
    """The expression as libnftables-json(5) has it."""
    return expression if isinstance(expression, str | int) else expression.to_json()


def show(expression: Expression, key: Expression | None = None) -> str:
    """The expression as nft(8) writes it; what is compared with the name of an interface stands in quotes."""
    if isinstance(key, Meta) and key.key in NAMES:
        if isinstance(expression, str):
            return f'"{expression}"'
        if isinstance(expression, AnonymousSet):
            return "{ " + ", ".join(show(element, key) for element in expression.elements) + " }"
        if isinstance(expression, Pair):
            return f"{show(expression.key, key)} : {show(expression.value)}"
    return str(expression)
