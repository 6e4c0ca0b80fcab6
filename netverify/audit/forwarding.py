"""What a host forwards, for all packets at once: by the rules that are there, and by those that are meant.

Asked is about new packets as they arrive, without translation: from which device, to whom, by which device
they leave. A packet passes if every chain lets it pass that the kernel calls before it leaves: those of
PREROUTING (raw, mangle, native ones), then those of FORWARD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.condition import All, AnyOf, Condition, Named, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.encoding import with_room
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.hooks import Call, Filters, StageKind
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.passing import sets_for
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, table_of
from netverify.dataplane.readout import by_devices
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.targets import Ending, Verdict
from netverify.dataplane.view import LEGACY, HostView

PASSING = (Verdict.ACCEPT, Verdict.QUEUE)
_WRITTEN = ("mark", "connmark")


@dataclass(frozen=True)
class Stop:
    """How one packet fares at one chain that the kernel calls.

    `path` are the rules that it matched on its way to the end: jumps, and last the rule that ends it; it is
    empty where the chain's policy does. `place` is that last rule's or the policy's.
    """

    call: Call
    ending: Ending
    place: Place
    path: tuple[CompiledRule, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether the packet goes on."""
        return self.ending in PASSING


class Forwarding:
    """All packets of one IP version that a host may forward."""

    def __init__(self, actual: Filters, meant: Filters, capacity: int) -> None:
        self.actual, self.meant, self.version = actual, meant, actual.version
        views = [actual.view, meant.view]
        self.sets: PacketSets = sets_for(views, [actual, meant], capacity=capacity)
        self._known: dict[tuple[bool, str, str], frozenset[str]] = {}
        unmarked = [equals(name, 0) for name in _WRITTEN]
        self._begun = self.sets.satisfying(All((equals("state", State.NEW), *unmarked)))
        self.coming: Set = Arrivals(actual.view, self.sets).at("filter", "FORWARD") & self._begun

    @classmethod
    def of(cls, actual: Filters, meant: HostView) -> Forwarding:
        """The rules that are there, and the host with those that are meant. Raises DataplaneError."""
        compiled = Filters.of(meant, actual.version)

        def made(room: int) -> Forwarding:
            found = cls(actual, compiled, room)
            found.passing, found.opened  # noqa: B018  what takes room is computed here
            return found

        return with_room(made)

    @cached_property
    def passing(self) -> Set:
        """The packets that pass by the rules that are there; also those that pass for some unknowns."""
        return self.passed(self.actual, self.coming)

    @cached_property
    def opened(self) -> Set:
        """Those of them that the rules which are meant would not let pass."""
        return self.sets.without(self.passing, self.passed(self.meant, self.coming))

    @cached_property
    def delivered(self) -> Set:
        """The new packets from outside that the host takes for itself, by the rules that are there."""
        arrivals = Arrivals(self.actual.view, self.sets).at("filter", "INPUT")
        return self.passed(self.actual, arrivals & self._begun, "INPUT")

    def passed(self, filters: Filters, packets: Set, hook: str = "FORWARD") -> Set:
        """Which packets get by all chains on the way."""
        for call in _calls(filters, hook):
            exits = Evaluator(call.program, self.sets).run(call.table, call.chain, packets)
            packets = self.sets.union([exits[ending] for ending in PASSING if ending in exits])
        return self.sets.possibly(packets.exists(self.sets.cube(*_WRITTEN)))

    def between(self, packets: Set, sources: Iterable[str], targets: Iterable[str]) -> Set:
        """Those that come in by one of some devices and leave by another one of others."""
        first, second = list(sources), list(targets)
        ways = (("in_interface", first), ("out_interface", second))
        parts = (AnyOf(tuple(Named(name, device) for device in devices)) for name, devices in ways)
        return (packets & self.sets.satisfying(All(tuple(parts)))) & ~self.within({*first, *second})

    def within(self, devices: Iterable[str]) -> Set:
        """The packets that leave by the device that they came by, one of some."""
        same = (All((Named("in_interface", name), Named("out_interface", name))) for name in sorted(devices))
        return self.sets.satisfying(AnyOf(tuple(same)))

    def pairs(self, packets: Set) -> Iterator[tuple[str, str]]:
        """The devices that packets of a set come in and leave by; two different ones."""
        if self.sets.is_empty(packets):
            return
        plain = packets.exists(self.sets.cube("state"))
        for source, target, _rest in by_devices(self.sets, plain):
            if source != target:
                yield source, target

    # --- rules ----------------------------------------------------------------------------------------------

    def chain(self, table: str, chain: str) -> CompiledChain | None:
        """A chain of the rules that are there; of one that two backends have, the one with more rules."""
        return _chain(self.actual, table, chain)

    def stands(self, rule: CompiledRule) -> bool:
        """Whether a rule that is meant is there, somewhere in its chain."""
        return text_of(rule) in self._texts(self.actual, *where(rule.place))

    def is_meant(self, rule: CompiledRule) -> bool:
        """Whether a rule that is there is meant, somewhere in its chain."""
        return text_of(rule) in self._texts(self.meant, *where(rule.place))

    def _texts(self, filters: Filters, table: str, chain: str) -> frozenset[str]:
        key = (filters is self.actual, table, chain)
        if key not in self._known:
            found = _chain(filters, table, chain)
            self._known[key] = frozenset(() if found is None else map(text_of, found.rules))
        return self._known[key]

    # --- single packets -------------------------------------------------------------------------------------

    def example(self, packets: Set, prefer: Sequence[Condition] = ()) -> Packet | None:
        """One packet of a set, with what is preferred as far as the set has it."""
        return self.sets.example(packets, prefer)

    def stops(self, filters: Filters, packet: Packet) -> list[Stop]:
        """How one packet fares, chain by chain, until one ends it."""
        found: list[Stop] = []
        for call in _calls(filters):
            algebra = OnePacket(packet)
            walk = _Walk()
            exits = Evaluator(call.program, algebra, walk).run(call.table, call.chain, True)
            ending = next(ending for ending, inside in exits.items() if inside)
            if walk.place is None:  # the chain is not there
                continue
            found.append(Stop(call, ending, walk.place, walk.path()))
            packet = algebra.packet
            if not found[-1].passes:
                break
        return found


def _calls(filters: Filters, hook: str = "FORWARD") -> Iterator[Call]:
    """The chains that a packet meets until it is delivered or goes out, but those that translate."""
    for each in ("PREROUTING", hook):
        for stage in filters.stages(each):
            if stage.kind is StageKind.CHAIN:
                yield from stage.calls


def _chain(filters: Filters, table: str, chain: str) -> CompiledChain | None:
    found = [
        each
        for program in filters.programs
        for prefix in (LEGACY, "")
        if (each := program.chain(prefix + table, chain)) is not None
    ]
    return max(found, key=lambda each: len(each.rules), default=None)


def where(place: Place) -> tuple[str, str]:
    """Table and chain of a place, whichever backend holds it."""
    return table_of(place).removeprefix(LEGACY), place.chain


def text_of(rule: CompiledRule) -> str:
    """A rule of iptables without `-A CHAIN`, as one adds it elsewhere; of nftables as it reads."""
    return str(rule.rule).removeprefix(f"-A {rule.place.chain} ")


def is_empty(chain: CompiledChain) -> bool:
    """Whether nothing stands in a chain but what the engine writes at its end."""
    return all(text_of(rule) == "-j RETURN" for rule in chain.rules)


@dataclass
class _Walk:
    """Remembers the rules that one packet matched, and where it ended."""

    matched: list[CompiledRule] = field(default_factory=list)
    place: Place | None = None
    by_policy: bool = False

    def tested(self, rule: CompiledRule, failed: int, _matched: bool, /) -> None:
        if failed < 0:
            self.matched.append(rule)
            self.place, self.by_policy = rule.place, False

    def reached_policy(self, chain: CompiledChain, _packets: bool, /) -> None:
        self.place, self.by_policy = chain.policy_place, True

    def path(self) -> tuple[CompiledRule, ...]:
        """The jumps that led to the last rule, and that rule."""
        if self.by_policy or not self.matched:
            return ()
        found = [self.matched[-1]]
        for rule in reversed(self.matched[:-1]):
            if rule.callee is not None and rule.callee == _chain_of(found[-1]):
                found.append(rule)
        return tuple(reversed(found))


def _chain_of(rule: CompiledRule) -> str:
    return rule.place.chain
