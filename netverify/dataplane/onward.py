"""The way before a chain and after it: whether packets that meet another fate there matter at all.

For a set of packets as they look at one of the kernel's own chains this asks two things. Can any of them come
there, past the tables that the kernel asks before (raw before filter, mangle FORWARD before filter FORWARD)?
And can any that pass go on past all that come after? Both are asked of packet sets, from the hook at which a
packet's way begins.

What is not known is left open, so that "no" is certain and "yes" is not: which device routing chooses, what
conntrack says of a packet (but for NOTRACK), the time to live, what becomes of destinations where nat rules
may translate (for the first packet of a connection, exactly what the rules of nat say; for others, any).
Whatever else a host has, such as native tables of nftables, can only stop more, or write what is not seen
here: on such a host every answer is "yes".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

from netverify.dataplane.change import may_pass, may_stop
from netverify.dataplane.condition import Condition, Masked, Named, Within, equals, tested_fields
from netverify.dataplane.entry import fields_of, forget
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.narrow import Leaving
from netverify.dataplane.packet import ICMPV6, Packet, State
from netverify.dataplane.rewrite import CopyBits
from netverify.dataplane.segments import called_by
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Ending, Nat, NatKind

Stop = tuple[str, str]
"""A table and a hook."""

ROUTES: Mapping[str, tuple[Stop, ...]] = MappingProxyType(
    {
        "forward": (
            ("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("nat", "PREROUTING"),
            ("mangle", "FORWARD"), ("filter", "FORWARD"), ("security", "FORWARD"),
            ("mangle", "POSTROUTING"), ("nat", "POSTROUTING"),
        ),
        "input": (
            ("raw", "PREROUTING"), ("mangle", "PREROUTING"), ("nat", "PREROUTING"),
            ("mangle", "INPUT"), ("filter", "INPUT"), ("security", "INPUT"), ("nat", "INPUT"),
        ),
        "output": (
            ("raw", "OUTPUT"), ("mangle", "OUTPUT"), ("nat", "OUTPUT"), ("filter", "OUTPUT"),
            ("security", "OUTPUT"), ("mangle", "POSTROUTING"), ("nat", "POSTROUTING"),
        ),
    }
)  # fmt: skip
"""The ways through a host, by the tables that a packet meets (netfilter_ipv4.h's priorities)."""

OF_CONNECTION = (
    "state", "tracked", "connmark", "ct_direction", "ct_nat", "ct_seen_reply", "ct_protocol", "ct_source",
    "ct_destination", "ct_sport", "ct_dport",
    "reply_source", "reply_destination", "reply_sport", "reply_dport",
)  # fmt: skip
"""What conntrack tells: before it, in raw, a packet has none of it."""

_BY_ROUTING = ("out_interface", "physdev_out", "bridged", "ttl")
_TARGET = ("destination", "dport")
_CHANGED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"FORWARD": _BY_ROUTING, "OUTPUT": _BY_ROUTING, "POSTROUTING": ("in_interface",)}
)
"""By the hook, what is not known any more of a packet that comes from another one; in OUTPUT, from any."""


class Onward:
    """The ways through one ruleset."""

    def __init__(self, run: Evaluator[Set], sets: PacketSets) -> None:
        self._run = run
        self._sets = sets
        self._program = run.program
        host = run.program.host
        self._is_simple = not (getattr(host, "legacy", ()) or _has_native(host))
        self._stops: dict[Stop, bool] = {}
        self._known: dict[tuple[Stop, Set], tuple[bool, bool]] = {}
        self._passed: dict[tuple[Stop, Set, Set | None], Set] = {}

    def way(self, table: str, hook: str, packets: Set, one: Packet | None = None) -> tuple[bool, bool]:
        """Whether some of the packets may come to a chain, and some of these get past all that follows.

        In the chain itself they go as its rules say. Two times true where this cannot be told. `one` of the
        packets is asked first. If it comes and gets past, so do some of all: whatever is made of sets on the
        way (cut, put together, fields left open) is larger for a larger set, or the same.
        """
        here = (table, hook)
        ways = sorted((way for way in ROUTES.values() if here in way), key=self._stopping)
        if not self._is_simple or not ways:
            return True, True
        key = (here, packets)
        if key not in self._known:
            some = [] if one is None else [packets & self._like(one)]
            for part in (*some, packets):
                found = self._by_any(ways, here, part)
                if found == (True, True):
                    break
            self._known[key] = found
        return self._known[key]

    def asks(self, field: str) -> bool:
        """Whether a rule, routing or the kernel itself asks for a field that rules can write.

        The kernel asks for conntrack's state and the time to live; whether routing asks for marks is not
        known where no routes are known.
        """
        host = self._program.host
        if not self._is_simple or field in ("state", "ttl", "entry_ttl"):
            return True
        if field == "mark" and (
            not host.routes or any(rule.mark_mask or rule.mark for rule in host.routing_rules)
        ):
            return True
        for chain in self._program.chains.values():
            for rule in chain.rules:
                if any(field in tested_fields(test.condition) for test in rule.tests):
                    return True
                if isinstance(rule.rewrite, CopyBits) and rule.rewrite.origin == field != rule.rewrite.field:
                    return True
        return False

    # --- along one way --------------------------------------------------------------------------------------

    def _stopping(self, way: tuple[Stop, ...]) -> int:
        """In how many tables a way can end."""
        return sum(map(self._can_stop, way))

    def _like(self, packet: Packet) -> Set:
        """The packets that are the same as one in what most rules ask for."""
        made = self._sets.true
        for field in reversed(self._sets.order):
            number = self._sets.number(field, getattr(packet, field))
            made = made & self._sets.satisfying(equals(field, number))
        return made

    def _by_any(self, ways: list[tuple[Stop, ...]], here: Stop, packets: Set) -> tuple[bool, bool]:
        """By any of the ways, the first of which is the easiest to go."""
        reaches = past = False
        for way in ways:
            if not (reaches and past):
                found = self._along(way, way.index(here), packets)
                reaches, past = reaches or found[0], past or found[1]
        return reaches, past

    def _along(self, way: tuple[Stop, ...], place: int, packets: Set) -> tuple[bool, bool]:
        before, after = way[:place], way[place + 1 :]
        start = place
        current = packets
        if any(map(self._can_stop, before)):
            start = 0
            current = self._at_start(way, place, packets)
        if not any(map(self._can_stop, (*before, *after))):
            return True, True
        for index in range(start, len(way)):
            if index and start != index:
                current = self._between(way[index - 1], way[index], current)
            if start < index < place:
                current = current & self._may_become(way, index, place, packets)
            if index == place:
                current = current & packets
                if not current.satisfiable():
                    return False, False
                if not any(map(self._can_stop, after)):
                    return True, self._passing(way[index], current).satisfiable()
            current = self._passing(way[index], current, wanted=packets if index < place else None)
        return True, current.satisfiable()

    def _at_start(self, way: tuple[Stop, ...], place: int, packets: Set) -> Set:
        """Every packet at the beginning of a way that may look like one of these further on."""
        sets = self._sets
        begun = self._may_become(way, 0, place, packets) & sets.entering(way[0][1])
        if way[0][1] == "PREROUTING":
            untold = sets.satisfying(equals("state", int(State.INVALID)))
            begun = begun & (untold | sets.satisfying(Named("in_interface", "lo")))
        return begun

    def _may_become(self, way: tuple[Stop, ...], index: int, place: int, packets: Set) -> Set:
        """What may look like one of some packets further on, at `place`, when it comes to a table.

        It is like one of them in all fields that nothing in between can change; no other packet becomes one.
        """
        fields = {name for stop in way[index:place] for name in self._written(stop)}
        for last, here in pairwise(way[index : place + 1]):
            if last[0] == "raw":
                fields.update(OF_CONNECTION)
            if last[0] == "nat" and self._translates():
                fields.update(_TARGET)
            fields.update(_changed(last, here))
        return forget(self._sets, packets, fields)

    def _between(self, last: Stop, here: Stop, packets: Set) -> Set:
        """What packets look like at the next table."""
        sets = self._sets
        if last[0] == "raw":
            untracked = sets.satisfying(equals("state", int(State.UNTRACKED)))
            tracked = forget(sets, packets & ~untracked, OF_CONNECTION)
            seen = ~untracked
            if sets.version == 6:  # conntrack leaves neighbour discovery alone
                seen = seen | sets.satisfying(equals("protocol", ICMPV6))
            packets = (packets & untracked) | (tracked & seen)
        if here[1] != last[1] or here[1] == "OUTPUT":
            packets = forget(sets, packets, _changed(last, here)) & sets.entering(here[1])
        return packets

    def _passing(self, stop: Stop, packets: Set, *, wanted: Set | None = None) -> Set:
        """What leaves a table's chain; destinations that are not `wanted` may be missing."""
        key = stop, packets, wanted
        if key not in self._passed:
            self._passed[key] = self._pass(stop, packets, wanted)
        return self._passed[key]

    def _pass(self, stop: Stop, packets: Set, wanted: Set | None) -> Set:
        sets = self._sets
        if self._program.chain(*stop) is None:
            if stop == ("nat", "PREROUTING") or stop == ("nat", "OUTPUT"):
                return self._established(packets)
            return packets
        if stop[0] != "nat":
            return sets.union(
                [held for ending, held in self._send(stop, packets).items() if may_pass(ending)]
            )
        new = sets.satisfying(equals("state", int(State.NEW)))
        made = [self._established(packets & ~new)]
        for ending, held in self._send(stop, packets & new, wanted).items():
            if isinstance(ending, Nat) and stop[1] in ("PREROUTING", "OUTPUT"):
                made.append(self._image(ending, held))
            elif may_pass(ending):
                made.append(held)
        return sets.union(made)

    def _send(self, stop: Stop, packets: Set, wanted: Set | None = None) -> Exits[Set]:
        """Through a chain; translations whose outcome is not `wanted` may be missing."""
        chain = self._program.chains[stop]
        if chain.rewrites:
            return self._run.run(*stop, packets)
        translates = stop[1] in ("PREROUTING", "OUTPUT")

        def matters(ending: Ending) -> bool:
            if wanted is None or not translates or not isinstance(ending, Nat):
                return True
            _fields, bounds = _outcome(ending)
            return all((wanted & self._sets.satisfying(bound)).satisfiable() for bound in bounds)

        return Leaving(self._run, self._sets, chain, packets, matters).exits()

    def _established(self, packets: Set) -> Set:
        """Packets of known connections, whose destination an earlier translation may change."""
        if not self._translates():
            return packets
        sets = self._sets
        known = sets.satisfying(equals("state", int(State.ESTABLISHED), int(State.RELATED)))
        return packets | (forget(sets, packets & known, _TARGET) & known)

    def _image(self, nat: Nat, packets: Set) -> Set:
        """What a translation of the destination may make of packets."""
        fields, bounds = _outcome(nat)
        made = forget(self._sets, packets, fields)
        for bound in bounds:
            made = made & self._sets.satisfying(bound)
        return made

    # --- what rules can do ----------------------------------------------------------------------------------

    def _can_stop(self, stop: Stop) -> bool:
        """Whether a table's chain can stop any packet."""
        if stop not in self._stops:
            self._stops[stop] = any(map(may_stop, self._endings(stop)))
        return self._stops[stop]

    def _endings(self, stop: Stop) -> Iterator[Ending]:
        chain = self._program.chain(*stop)
        waiting = [] if chain is None else [chain]
        seen = {chain.name for chain in waiting}
        while waiting:
            each = waiting.pop()
            yield each.policy
            yield from (rule.ending for rule in each.rules if rule.ending is not None)
            called = [callee for name, callee in called_by(self._program, each).items() if name not in seen]
            seen.update(callee.name for callee in called)
            waiting += called

    def _written(self, stop: Stop) -> set[str]:
        chain = self._program.chain(*stop)
        if chain is None or not chain.rewrites:
            return set()
        table = stop[0]
        return {
            name
            for (where, _), each in self._program.chains.items()
            if where == table
            for rule in each.rules
            if rule.rewrite is not None
            for name in fields_of(rule.rewrite)
        }

    def _translates(self) -> bool:
        """Whether any rule translates, so that destinations may change, also back for replies."""
        return any(
            isinstance(rule.ending, Nat)
            for (table, _), chain in self._program.chains.items()
            if table == "nat"
            for rule in chain.rules
        )


def _changed(last: Stop, here: Stop) -> tuple[str, ...]:
    """The fields that something other than rules changes between two tables: routing, for the most part."""
    return () if here[1] == last[1] != "OUTPUT" else _CHANGED.get(here[1], ())


def _outcome(nat: Nat) -> tuple[list[str], list[Condition]]:
    """The fields that a translation of the destination writes, and what is true of them then."""
    bounds: list[Condition] = []
    fields = []
    if nat.network is not None:
        base, mask = nat.network
        fields, bounds = ["destination"], [Masked("destination", base & mask, mask)]
    elif nat.addresses is not None:
        fields, bounds = ["destination"], [Within("destination", (nat.addresses,))]
    elif nat.kind is NatKind.REDIRECT:
        fields = ["destination"]
    if nat.ports is not None:
        fields.append("dport")
        bounds.append(Within("dport", ((min(nat.ports), max(nat.ports)),)))
    return fields, bounds


def _has_native(host: object) -> bool:
    native = getattr(host, "nft", None)
    return native is not None and bool(getattr(native, "tables", ()))
