"""Packets on their way, in terms of what they were when they entered.

A `Piece` is a set of packets as they entered, and what has become of them: for each field that is not what it
was, its bits as functions of the packet that entered. Most of these are constant: the address and port that a
translation wrote, the state that conntrack gave. `Lens.seen` turns a set of packets as they are now into the
set of packets that have become one of them, for many pieces at once.

Constant bits are put in first (a cofactor), for all pieces together: what they have in common is put in once,
so that a thousand pieces that differ in one address cost little more than the diagram itself. The other
functions are substituted in what is left, which is small then.

What a set does not ask for is not put in at all: it would change nothing, and may not even be made yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from oxidd.bcdd import BCDDSubstitution
from oxidd.util import BooleanOperator

from netverify.dataplane.bundles import MAPPING, Column, Rows, written
from netverify.dataplane.condition import Condition
from netverify.dataplane.diagrams import Set, variables_of
from netverify.dataplane.packet import Address, Packet
from netverify.dataplane.sets import PacketSets

Constants = tuple[tuple[int, bool], ...]
"""Variables with their values."""
Bits = Sequence[Set]
Now = Mapping[str, Bits]
"""The bits of fields, most significant first, as functions of the packet that entered."""


class Late(Sequence[Set]):
    """Bits that are made when somebody asks for one."""

    def __init__(self, make: Callable[[], Bits]) -> None:
        self._make = cache(make)

    def __len__(self) -> int:
        return len(self._make())

    def __getitem__(self, index: Any) -> Any:
        return self._make()[index]

    def __iter__(self) -> Iterator[Set]:
        return iter(self._make())


@dataclass(frozen=True)
class Known:
    """What conntrack holds about the connection of a piece: both tuples, and what was decided.

    `original` and `reply` are the bits of source, sport, destination and dport, as in `Now`. `answers` are
    the packets whose answer will belong to the connection.
    """

    original: Now
    reply: Now
    answers: Set
    decided: int = 0
    direction: int = 0
    connmark: Bits = ()

    def with_(self, **changes: Any) -> Known:
        """The same with something changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Piece:
    """Packets that entered as one of `packets`, and have the fields of `now` by now; others as they were.

    `known` is their connection on the host where they are, if they have one; `expected` are those that the
    host holds already and that they may belong to. `via` is the gateway that they go to, None their
    destination itself, in a walk that keeps ways apart; `moved_to` is the device (its bits) that routing
    chose anew, as long as that does not show yet. `rows` is the table of a bundle of translations.
    """

    packets: Set
    now: Now
    known: Known | None = None
    via: Address | None = None
    moved_to: Bits = ()
    expected: tuple[Known, ...] = ()
    rows: Rows | None = None

    def with_(self, **changes: Any) -> Piece:
        """The same with something changed."""
        return replace(self, **changes)

    def written(self, **fields: Sequence[Set]) -> Piece:
        """The same after fields were written."""
        written = {name: bits if isinstance(bits, Late) else tuple(bits) for name, bits in fields.items()}
        return replace(self, now={**self.now, **written})

    def cut(self, packets: Set) -> Piece:
        """The part of it that entered as one of these."""
        return replace(self, packets=self.packets & packets)


@dataclass(frozen=True)
class _Seen:
    """A `Now` made ready: which variables are constant, and what the others are replaced by."""

    constants: Constants  # by the number of the variable
    others: tuple[tuple[int, Set], ...]
    table: tuple[Set, Set] | None = None  # what fields are by the number of the row, and their variables


@dataclass(frozen=True)
class Moved:
    """What stands for variables in all pieces of a kind: functions, and the state that conntrack gave."""

    state: Constants
    others: tuple[tuple[int, Set], ...]


DERIVED = ("out_interface", MAPPING)
"""Fields that a packet does not come with: which values they have in a set follows from the packet."""


class Lens:
    """Looks at sets of packets as they are now with the eyes of those that entered."""

    def __init__(self, sets: PacketSets) -> None:
        self.sets = sets
        self._ready: dict[tuple[int, frozenset[str]], tuple[Now, _Seen]] = {}
        self._tables: dict[tuple[tuple[str, int], ...], tuple[tuple[Column, ...], tuple[Set, Set]]] = {}
        self._substitutions: dict[tuple[tuple[int, Set], ...], BCDDSubstitution] = {}
        self._literals: dict[tuple[tuple[int, bool], ...], tuple[Set, Set]] = {}

    # --- values ---------------------------------------------------------------------------------------------

    def bits(self, piece: Piece, field: str) -> Bits:
        """What a field is now."""
        now = piece.now.get(field)
        return tuple(self.sets.bits(field)) if now is None else now

    def constant(self, piece: Piece, field: str) -> int | None:
        """The number that a field has in all packets of a piece, where that shows; else None."""
        number = 0
        now = piece.now.get(field)
        for bit in self.sets.bits(field) if now is None else now:
            if bit.node_var() is not None:
                return None
            number = number << 1 | bit.satisfiable()
        return number

    def holding(self, piece: Piece, condition: Condition) -> Set:
        """The packets of a piece for which a condition holds now."""
        return piece.packets & self.of(piece, self.sets.satisfying(condition))

    def of(self, piece: Piece, packets: Set) -> Set:
        """The packets that have become one of `packets`, were they all to fare like a piece."""
        (found,) = self.seen(packets, [piece])
        return found

    def same(self, left: Sequence[Set], right: Sequence[Set]) -> Set:
        """The packets for which two rows of bits are equal."""
        made = self.sets.true
        for one, other in zip(left, right, strict=True):
            if one != other:
                made = made & ~(one ^ other)
        return made

    def chosen(self, where: Set, one: Sequence[Set], other: Sequence[Set]) -> tuple[Set, ...]:
        """The bits of one row for the packets of a set, those of another for all others."""
        return tuple(
            a if a == b else where.ite(a, b) for a, b in zip(one, other, strict=True)
        )  # fmt: skip

    def entered(
        self, packets: Set, packet: Packet, assume: Mapping[str, bool] | None = None
    ) -> list[tuple[int, bool]] | None:
        """The values of all variables for a packet as it entered, if it is in a set; else None.

        What follows from the packet, such as the device by which it leaves, is read from the set.
        """
        derived = [variable for field in DERIVED for variable in self.sets.variables(field)]
        values = dict(self.sets.assignment(packet, assume))
        for variable in derived:
            del values[variable]
        left = self._cofactor(packets, tuple(sorted(values.items())), keep=False)
        cube = left.pick_cube()
        if cube is None:
            return None
        values |= {variable: bool(cube[variable]) for variable in derived}
        return list(values.items())

    def became(self, piece: Piece, packet: Packet, entered: list[tuple[int, bool]]) -> Packet:
        """What one packet of a piece is by now; `entered` are the values that it came with."""
        changed: dict[str, Any] = {"out_interface": self._read("out_interface", dict(entered))}
        for field, bits in piece.now.items():
            number = 0
            for bit in bits:
                number = number << 1 | bit.eval(entered)
            changed[field] = self.sets.value(field, number)
        return packet.with_(**changed)

    def _read(self, field: str, values: Mapping[int, bool]) -> int | str | None:
        number = 0
        for variable in self.sets.variables(field):
            number = number << 1 | values[variable]
        return self.sets.value(field, number)

    # --- many pieces ----------------------------------------------------------------------------------------

    def seen(self, packets: Set, pieces: Sequence[Piece], fields: frozenset[str] | None = None) -> list[Set]:
        """For each piece the packets that have become one of `packets`, were they all to fare like it.

        `fields` are those that `packets` may say anything of, where that is known.
        """
        found: list[Set] = [packets] * len(pieces)
        if packets.node_var() is None:
            return found
        if fields is None:
            fields = self.sets.asked(packets)
        groups: dict[tuple[int, ...], list[int]] = {}
        ready: dict[int, _Seen] = {}
        for index, piece in enumerate(pieces):
            ready[index] = made = self._made(piece, fields)
            groups.setdefault(tuple(variable for variable, _ in made.constants), []).append(index)
        for members in groups.values():
            for index, left in self._cofactors(packets, [(i, ready[i].constants) for i in members]):
                found[index] = self._substituted(self._tabled(left, ready[index]), ready[index].others)
        return found

    def moved(self, piece: Piece, fields: frozenset[str]) -> Moved | None:
        """What stands for variables of these fields, if that can be put in before the constants are.

        It can where no constant takes the place of a variable that it asks for. None for a table, and where
        nothing has moved.
        """
        made = self._made(piece, fields)
        constant = {variable for variable, _value in made.constants}
        asked = variables_of([bit for _variable, bit in made.others])
        if not made.others or made.table is not None or not asked.isdisjoint(constant):
            return None
        state = set(self.sets.variables("state"))
        return Moved(tuple(each for each in made.constants if each[0] in state), made.others)

    def put_in(self, packets: Set, moved: Moved) -> Set:
        """A set with what has moved in place of variables."""
        return self._substituted(self._cofactor(packets, moved.state), moved.others)

    def with_constants(self, packets: Set, piece: Piece, fields: frozenset[str]) -> Set:
        """A set with a piece's constants in place of their variables."""
        ((_index, left),) = self._cofactors(packets, [(0, self._made(piece, fields).constants)])
        return left

    def by_number(self, packets: Set, piece: Piece) -> Set:
        """A set as `seen`, for a piece with a table, before what is neither constant nor in it is put in."""
        made = self._made(piece, self.sets.asked(packets))
        ((_index, left),) = self._cofactors(packets, [(0, made.constants)])
        return self._tabled(left, made)

    def _tabled(self, packets: Set, made: _Seen) -> Set:
        """A set with what stands in a table in place of the fields that were written from it."""
        if made.table is None:
            return packets
        rows, variables = made.table
        return rows.apply_exists(BooleanOperator.AND, packets, variables)

    def _made(self, piece: Piece, fields: frozenset[str]) -> _Seen:
        now, table = piece.now, piece.rows
        known = self._ready.get((id(now), fields))
        if known is not None:
            return known[1]
        constants: list[tuple[int, bool]] = []
        others: list[tuple[int, Set]] = []
        columns: dict[str, Column] = {}
        for field, bits in now.items():
            if field not in fields:
                continue
            column = None if table is None else table.column(bits)
            if column is not None:
                columns[field] = column
                continue
            variables = self.sets.variables(field)
            for variable, bit, own_bit in zip(variables, bits, self.sets.bits(field), strict=True):
                if bit == own_bit:
                    continue
                if bit.node_var() is None:
                    constants.append((variable, bit.satisfiable()))
                else:
                    others.append((variable, bit))
        made = _Seen(tuple(sorted(constants)), tuple(others), self._table(columns))
        self._ready[id(now), fields] = now, made  # holding `now` keeps its number its own
        return made

    def _table(self, columns: Mapping[str, Column]) -> tuple[Set, Set] | None:
        """What the columns of a table say of some fields together, and these fields' variables."""
        if not columns:
            return None
        key = tuple((field, id(column)) for field, column in columns.items())
        if key not in self._tables:
            held = tuple(columns.values())  # so that their numbers stay their own
            self._tables[key] = held, (written(self.sets, columns), self.sets.cube(*columns))
        return self._tables[key][1]

    def _cofactors(self, packets: Set, members: list[tuple[int, Constants]]) -> Iterator[tuple[int, Set]]:
        """Put in the constants of many pieces, all of the same variables: first what they have in common."""
        stack = [(packets, members, 0)]
        while stack:
            left, group, start = stack.pop()
            first = group[0][1]
            if left.node_var() is None or start == len(first):
                yield from ((index, left) for index, _constants in group)
                continue
            stop = len(first)
            for _index, constants in group:
                while constants[start:stop] != first[start:stop]:
                    stop = next(i for i in range(start, stop) if constants[i] != first[i])
            if stop > start:
                left = self._cofactor(left, first[start:stop])
            if stop == len(first):
                yield from ((index, left) for index, _constants in group)
                continue
            for value in (False, True):
                part = [each for each in group if each[1][stop][1] is value]
                stack.append((self._cofactor(left, part[0][1][stop : stop + 1]), part, stop + 1))

    def _cofactor(self, packets: Set, constants: Constants, *, keep: bool = True) -> Set:
        known = self._literals.get(constants)
        if known is None:
            manager = packets.manager
            variables = [manager.var(variable) for variable, _ in constants]
            literals = self.sets.true
            for variable, (_, value) in zip(reversed(variables), reversed(constants), strict=True):
                literals = (variable if value else ~variable) & literals
            known = literals, self.sets.cube_of(variables)
            if keep:
                self._literals[constants] = known
        literals, cube = known
        return literals.apply_exists(BooleanOperator.AND, packets, cube)

    def _substituted(self, packets: Set, others: tuple[tuple[int, Set], ...]) -> Set:
        if not others or packets.node_var() is None:
            return packets
        known = self._substitutions.get(others)
        if known is None:
            known = self._substitutions[others] = Set.make_substitution(others)
        return packets.substitute(known)
