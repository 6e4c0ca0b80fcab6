"""Reading a packet set out: an example that people recognise, and the whole of it as products of ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netverify.dataplane.condition import All, Condition, Within, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.encoding import Encoding
from netverify.dataplane.packet import ICMP, ICMPV6, TCP, UDP, Packet, State

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A product of ranges, by the fields' names; a field that is not there has any value."""

    fields: tuple[tuple[str, Ranges], ...]


def example(encoding: Encoding, packets: Set, prefer: Sequence[Condition] = ()) -> Packet | None:
    """A packet of the set, the most familiar one; None for the empty set. `prefer` comes first."""
    if not packets.satisfiable():
        return None
    for condition in (*prefer, *_familiar(encoding.version)):
        narrowed = packets & encoding.satisfying(condition)
        if narrowed.satisfiable():
            packets = narrowed
    cube = packets.pick_cube()
    if cube is None:
        return None
    values: dict[str, int | str | None] = {}
    for field in encoding.fields:
        if field not in Packet.__dataclass_fields__:
            continue
        number = 0
        for variable in encoding.variables(field):
            number = number << 1 | bool(cube[variable])
        values[field] = encoding.value(field, number)
    return Packet(encoding.version, **values)  # type: ignore[arg-type]


def _familiar(version: int) -> Iterator[Condition]:
    """What people know, best first: a new echo request, a connection to a named port, a usual source."""
    echo = (ICMP, 8) if version == 4 else (ICMPV6, 128)
    yield equals("state", int(State.NEW))
    yield All((equals("protocol", echo[0]), equals("icmp_type", echo[1]), equals("icmp_code", 0)))
    yield All((equals("protocol", TCP), equals("tcp_flags", 2)))
    yield equals("protocol", UDP, TCP)
    yield equals("fragment", 0)
    for port in (80, 443, 22, 53):
        yield equals("dport", port)
    yield equals("sport", 40000)
    yield Within("sport", ((1024, 65535),))
    yield equals("tracked", 1)


def boxes(
    encoding: Encoding, packets: Set, fields: Sequence[str], done: tuple[tuple[str, Ranges], ...] = ()
) -> Iterator[Box]:
    """The set as disjoint products, field by field in the order of the variables."""
    if not packets.satisfiable():
        return
    if not fields:
        yield Box(done)
        return
    field, rest = fields[0], fields[1:]
    top = (1 << len(encoding.bits(field))) - 1
    for found, left in ranges(encoding, packets, field):
        whole = found == [(0, top)]
        yield from boxes(encoding, left, rest, done if whole else (*done, (field, tuple(found))))


def ranges(encoding: Encoding, packets: Set, field: str) -> list[tuple[list[tuple[int, int]], Set]]:
    """The values of one field as ranges in order, by what they leave of the set.

    No variable that stands before the field's may occur in the set, and none in between: this is for the
    fields of `fields.FIRST`, in their order, and for sets of a single field.
    """
    variables = encoding.variables(field)
    first, size = variables[0], len(variables)
    found: dict[Set, list[tuple[int, int]]] = {}
    stack: list[tuple[Set, int, int]] = [(packets, 0, 0)]
    while stack:
        rest, depth, prefix = stack.pop()
        if not rest.satisfiable():
            continue
        variable = rest.node_var()
        if variable is None or not first + depth <= variable < first + size:
            low = prefix << (size - depth)
            high = low + (1 << (size - depth)) - 1
            known = found.setdefault(rest, [])
            if known and known[-1][1] + 1 == low:
                known[-1] = (known[-1][0], high)
            else:
                known.append((low, high))
            continue
        if variable > first + depth:
            positive = negative = rest
        else:
            positive, negative = rest.cofactors()  # type: ignore[misc]
        stack.append((positive, depth + 1, prefix << 1 | 1))
        stack.append((negative, depth + 1, prefix << 1))
    return [(known, rest) for rest, known in found.items()]


def by_devices(encoding: Encoding, packets: Set) -> Iterator[tuple[str, str, Set]]:
    """The pairs of in- and out-interface that a set has packets of, and what else it says of those.

    The set may say of the state, which stands above the devices, no more than one constant, already taken out
    (`BCDDFunction.exists`). One walk from the top finds every pair: nothing is asked of pairs that are empty.
    """
    for sources, rest in ranges(encoding, packets, "in_interface"):
        targets = [
            (_codes(found), left) for found, left in ranges(encoding, rest, "out_interface")
        ]  # shared by all of these sources
        for source in _codes(sources):
            for codes, left in targets:
                for target in codes:
                    yield encoding.devices[source], encoding.devices[target], left


def _codes(found: Sequence[tuple[int, int]]) -> list[int]:
    return [code for low, high in found for code in range(low, high + 1)]


def only(encoding: Encoding, packets: Set, field: str) -> Set:
    """What a set says of one field alone, whatever the others are."""
    others = [each for each in encoding.fields if each != field]
    unknowns = encoding.cube_of([encoding.unknown(name) for name in encoding.unknowns])
    return packets.exists(encoding.cube(*others)).exists(unknowns)
