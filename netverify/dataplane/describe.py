"""A packet set in words: ranges over the fields that matter, as people write them in rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import summarize_address_range
from itertools import islice
from typing import Any

from netverify.dataplane.entry import forget
from netverify.dataplane.fields import ABSENT, ADDRESSES, FIRST, NAMES, WIDTHS
from netverify.dataplane.packet import State, address, protocol_name
from netverify.dataplane.sets import OTHER, Box, PacketSets, Set

Ranges = tuple[tuple[int, int], ...]

_LISTED = 6  # devices, or other values, that are named one by one
_QUIET = "fragment"  # rules that ask for ports do not match later fragments: true, and no news
_COUNTED = 1000  # boxes that are counted before "at least"
_BITWISE = tuple(field for field in (*WIDTHS, *sorted(ADDRESSES), *sorted(NAMES)) if field not in FIRST)


@dataclass(frozen=True, slots=True)
class Part:
    """Packets that form a product of ranges: their words, and the ranges by field.

    Devices are names, all others numbers; a field that is not there has any value. `bits` are further fields
    of which some bits are the same in all packets: field, value and mask. `and_more` are fields that matter
    in a way that this does not say.
    """

    words: str
    devices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ranges: tuple[tuple[str, Ranges], ...] = ()
    bits: tuple[tuple[str, int, int], ...] = ()
    and_more: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.words

    def as_facts(self) -> dict[str, Any]:
        """The part for JSON."""
        return {
            "text": self.words,
            **{field: list(names) for field, names in self.devices},
            **{field: [list(each) for each in ranges] for field, ranges in self.ranges},
            **{field: {"value": value, "mask": mask} for field, value, mask in self.bits},
            "depends_also_on": list(self.and_more),
        }


@dataclass(frozen=True, slots=True)
class Description:
    """A set as parts, and how many more there are; `is_exact` is false where that is a least number."""

    parts: tuple[Part, ...]
    more: int = 0
    is_exact: bool = True

    def __str__(self) -> str:
        lines = [part.words for part in self.parts]
        if self.more:
            lines.append(f"and {self.more}{'' if self.is_exact else ' or more'} more")
        return "; ".join(lines)


def describe(
    sets: PacketSets, packets: Set, *, most: int = 6, hidden: Sequence[tuple[str, Ranges]] = ()
) -> Description:
    """The set in at most `most` parts: what is in it for some values of the unknowns.

    `hidden` are ranges that go without saying.
    """
    packets = sets.possibly(packets)
    known = frozenset(sets.fields)
    bitwise = [field for field in _BITWISE if field in known]
    ranged = packets.exists(sets.cube(*bitwise)) if bitwise else packets  # as far as its boxes say
    shown = list(islice(sets.boxes(ranged), most))
    rest = _number(sets, ranged, len(shown) + _COUNTED) - len(shown)
    further = [(field, *_bits(sets, packets, field)) for field in _mattering(sets, packets, bitwise, ranged)]
    return Description(
        tuple(_part(sets, box, further, hidden) for box in shown), rest, is_exact=rest < _COUNTED
    )


def _number(sets: PacketSets, packets: Set, most: int) -> int:
    """In how many boxes a set can be read out (`PacketSets.boxes`), counted to `most`.

    A box is a choice of what is left behind some ranges, field by field: no range need be looked at, and what
    is left behind several is counted once.
    """
    ends = [sets.variables(field)[-1] for field in sets.order]
    known: dict[tuple[int, Set], int] = {}

    def count(depth: int, left: Set) -> int:
        if depth == len(ends):
            return 1
        found = known.get((depth, left))
        if found is None:
            found = 0
            for behind in _behind(left, ends[depth]):
                found += count(depth + 1, behind)
                if found >= most:
                    found = most
                    break
            known[depth, left] = found
        return found

    return count(0, packets)


def _behind(packets: Set, last: int) -> Iterator[Set]:
    """What can be left of a set when all variables to `last` have a value: different sets, none empty."""
    seen: set[Set] = set()
    stack = [packets]
    while stack:
        part = stack.pop()
        if part in seen or not part.satisfiable():
            continue
        seen.add(part)
        variable = part.node_var()
        if variable is None or variable > last:
            yield part
        else:
            stack += part.cofactors()  # type: ignore[arg-type]


def _mattering(sets: PacketSets, packets: Set, fields: Sequence[str], without: Set) -> list[str]:
    """Those of some fields that matter to a set; `without` is what it says when they are all left out.

    Often it is one of many. A packet that is there without the fields, and not with them, is found by asking
    for one that matters: each such field is kept, until nothing changes without all others.
    """
    owner = {variable: field for field in fields for variable in sets.variables(field)}
    found: set[str] = set()
    while (cube := (without & ~packets).pick_cube()) is not None:
        found |= {field for variable, field in owner.items() if cube[variable] is not None} - found
        others = [field for field in fields if field not in found]
        without = packets.exists(sets.cube(*others)) if others else packets
    return [field for field in fields if field in found]


def _part(
    sets: PacketSets,
    box: Box,
    further: Sequence[tuple[str, int, int, bool]],
    hidden: Sequence[tuple[str, Ranges]],
) -> Part:
    held_ranges = [each for each in box.fields if each not in hidden]
    ranges = {field: held for field, held in held_ranges if not _is_whole(sets, field, held)}
    bits = [(field, value, mask) for field, value, mask, _is_all in further if mask]
    more = [field for field, _value, _mask, is_all in further if not is_all]
    words = [_way(sets, ranges)]
    words += filter(None, (_WORDS[field](sets, field, ranges[field]) for field in _ORDER if field in ranges))
    words += (f"{name} {_masked(sets, name, value, mask)}" for name, value, mask in bits if name != _QUIET)
    if set(more) - {_QUIET}:
        words.append(f"(depends also on {', '.join(name for name in more if name != _QUIET)})")
    return Part(
        " ".join(words),
        tuple((field, tuple(_names(sets, held))) for field, held in ranges.items() if field in NAMES),
        tuple((field, held) for field, held in ranges.items() if field not in NAMES),
        tuple(bits),
        tuple(more),
    )


def _bits(sets: PacketSets, packets: Set, field: str) -> tuple[int, int, bool]:
    """Which bits of a field that matters are the same in all packets of a set; whether no other does."""
    value = mask = 0
    rest = packets
    one = packets.pick_cube()  # some packets of the set: None where a bit has both values
    if one is None:
        return value, mask, True
    variables = reversed(sets.variables(field))
    for index, (bit, variable) in enumerate(zip(reversed(sets.bits(field)), variables, strict=True)):
        if one[variable] is None:
            continue
        half = bit if one[variable] else ~bit
        if sets.is_empty(packets & ~half):
            value, mask = value | bool(one[variable]) << index, mask | 1 << index
            rest = rest & half
    if not mask:
        return value, mask, False
    held = forget(sets, rest, (field,))
    for index, bit in enumerate(reversed(sets.bits(field))):
        if mask >> index & 1:
            held = held & (bit if value >> index & 1 else ~bit)
    return value, mask, held == packets


def _masked(sets: PacketSets, field: str, value: int, mask: int) -> str:
    whole = mask == (1 << len(sets.bits(field))) - 1
    if field in NAMES and whole:
        return sets.devices[value] or "none"
    if field in ADDRESSES and whole:
        return str(address(sets.version, value))
    if ABSENT.get(field) == value and mask & value:
        return "none"
    if whole:
        return str(value) if field not in ("mark", "connmark") else f"{value:#x}"
    return f"{value:#x}/{mask:#x}"


def _is_whole(sets: PacketSets, field: str, held: Ranges) -> bool:
    return held == ((0, _top(sets, field)),)


def _top(sets: PacketSets, field: str) -> int:
    if field in NAMES:
        return len(sets.devices) - 1
    if field == "state":
        return int(max(State))
    return (1 << len(sets.bits(field))) - 1


# --- words ------------------------------------------------------------------------------------------


def _way(sets: PacketSets, ranges: dict[str, Ranges]) -> str:
    """The devices: `br-a -> br-b`, with `-` where a packet has none."""
    ends = []
    for field in ("in_interface", "out_interface"):
        names = _names(sets, ranges[field]) if field in ranges else None
        ends.append("any" if names is None else "-" if names == [""] else _devices(sets, names))
    return f"{ends[0]} -> {ends[1]}"


def _names(sets: PacketSets, held: Ranges) -> list[str]:
    return [
        sets.devices[code] for low, high in held for code in range(low, min(high, len(sets.devices) - 1) + 1)
    ]


def _devices(sets: PacketSets, names: Sequence[str]) -> str:
    missing = [name for name in sets.devices if name and name not in set(names)]
    if not missing and "" not in names:
        return "any"
    if len(missing) <= 3 and len(missing) < len(names) and "" not in names:
        return f"any but {', '.join(missing)}"
    named = [name or "none" for name in names if name != OTHER][:_LISTED]
    others = len(names) - len(named)
    if others == 1 and OTHER in names:
        return ", ".join([*named, "another device"])
    return ", ".join(named) + (f" and {others} others" if others else "")


def _protocols(_sets: PacketSets, _field: str, held: Ranges) -> str:
    return _shorter(held, 255, lambda low, high: _span(protocol_name(low), protocol_name(high)), "not ")


def _ports(_sets: PacketSets, field: str, held: Ranges) -> str:
    return f"{field} {_shorter(held, 65535, lambda low, high: _span(str(low), str(high)), 'not ')}"


def _addresses(sets: PacketSets, field: str, held: Ranges) -> str:
    top = (1 << (32 if sets.version == 4 else 128)) - 1

    def words(low: int, high: int) -> str:
        first, last = address(sets.version, low), address(sets.version, high)
        networks = list(islice(summarize_address_range(first, last), 2))
        if len(networks) == 1:
            return str(networks[0]).removesuffix("/32" if sets.version == 4 else "/128")
        return f"{first}-{last}"

    return f"{'to' if field == 'destination' else 'from'} {_shorter(held, top, words, 'not ')}"


def _states(_sets: PacketSets, _field: str, held: Ranges) -> str:
    return "state " + ",".join(
        State(code).name for low, high in held for code in range(low, min(high, 4) + 1)
    )


def _shorter(held: Ranges, top: int, words: Callable[[int, int], str], negation: str) -> str:
    """The ranges, or what is missing where that is shorter."""
    missing = tuple(_complement(held, top))
    negated = 0 < len(missing) < len(held)
    chosen = missing if negated else held
    text = ",".join(words(low, high) for low, high in chosen[:_LISTED])
    rest = len(chosen) - _LISTED
    return (negation if negated else "") + text + (f" and {rest} more ranges" if rest > 0 else "")


def _complement(held: Ranges, top: int) -> Iterator[tuple[int, int]]:
    start = 0
    for low, high in held:
        if low > start:
            yield start, low - 1
        start = high + 1
    if start <= top:
        yield start, top


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


_ORDER = ("protocol", "source", "destination", "sport", "dport", "state")
_WORDS: dict[str, Callable[[PacketSets, str, Ranges], str]] = {
    "protocol": _protocols,
    "source": _addresses,
    "destination": _addresses,
    "sport": _ports,
    "dport": _ports,
    "state": _states,
}
