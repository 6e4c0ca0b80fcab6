"""One host's IP stack for all packets at once: which packets, as they entered, end how.

The order of things is `stack`'s, which follows one packet: what is said there of hooks, routing, martians and
translation holds here. A step that decides there cuts each piece in parts here. What is registered at a hook
comes from `hooks`, and the chains are run by the one evaluator: each once, for everything, where it writes
nothing into packets; every piece then cuts what it needs out of that (`pieces.Lens`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from netverify.dataplane import found_sets, readout
from netverify.dataplane.bundles import MAPPING, Column
from netverify.dataplane.condition import Named
from netverify.dataplane.diagrams import Set
from netverify.dataplane.ends import End, refused
from netverify.dataplane.found_sets import Refusals
from netverify.dataplane.frames import routing_fields
from netverify.dataplane.hook_sets import HookSets
from netverify.dataplane.hooks import Filters, StageKind
from netverify.dataplane.packet import Packet
from netverify.dataplane.pieces import Lens, Piece
from netverify.dataplane.routing import Routing
from netverify.dataplane.support import Support
from netverify.dataplane.tracking import Tracker
from netverify.dataplane.view import LOOPBACK, HostView
from netverify.dataplane.ways import BACK_ALONE, Ways

HEADER = frozenset(
    {"source", "destination", "protocol", "sport", "dport", "icmp_type", "icmp_code", "tcp_flags", "length",
     "ttl", "tos", "fragment", "mac", "pkttype"}
)  # fmt: skip
"""What a packet brings along from the wire; everything else about it is found or written on the host."""
_WAYS_OUT = frozenset({"unicast", "local", "broadcast"})
_TTL, _DEVICE, _KIND = frozenset({"ttl"}), frozenset({"in_interface"}), frozenset({"pkttype"})
_FEW = 4  # devices that pieces with one destination are parted by


class HostSets:
    """One host, for the packets of one `PacketSets`.

    `apart` keeps pieces that leave by different ways apart, as a world needs it; else all that leave by some
    device, and were not translated, are one piece, whose `out_interface` is a function of the packet.
    """

    def __init__(self, view: HostView, filters: Filters, lens: Lens, *, apart: bool = False) -> None:
        self.view, self.filters, self.lens, self.sets = view, filters, lens, lens.sets
        self.apart = apart
        self.routing = Routing(view)
        self.ways = Ways(self.routing, self.sets)
        self.support = Support(filters.programs)
        self.ends: list[End] = []
        tracker = Tracker(lens, self.support.tested)
        self.hooks = HookSets(view, filters, tracker, self.ways, self.support)
        if apart:
            self.hooks.many, self.hooks.together = 1 << 16, False  # both are for pieces that stay together
        self._martians: tuple[Refusals, Refusals] | None = None

    # --- ways in --------------------------------------------------------------------------------------------

    def receive(self, pieces: Sequence[Piece]) -> list[End]:
        """The packets come in by the devices that `in_interface` says, which are no ports of a bridge."""
        self.ends = []
        pieces = self._refused(map(self._fresh, pieces), found_sets.refused_at_once(self.sets))
        self._in(self._hook("PREROUTING", pieces))
        return self.ends

    def send(self, pieces: Sequence[Piece]) -> list[End]:
        """Sockets of this host send the packets."""
        self.ends = []
        none = self.sets.fixed("in_interface", "")
        pieces = [self._blank(piece, keep=HEADER | {"uid", "gid", "mark"}) for piece in pieces]
        pieces = [piece.written(in_interface=none) for piece in pieces]
        routed = self._route_out(pieces)
        passed = self._hook("OUTPUT", routed)
        moved = [p.written(out_interface=p.moved_to).with_(moved_to=()) if p.moved_to else p for p in passed]
        self._out(moved, locally=True)
        return self.ends

    def bridge(self, pieces: Sequence[Piece], bridge: str, port: str, to_port: str | None) -> list[End]:
        """Frames come in by a port of a bridge, addressed to behind `to_port`, or to the bridge itself."""
        device = self.sets.fixed("in_interface", bridge)
        pieces = [piece.written(in_interface=device) for piece in pieces]
        if not self.view.bridge_calls_filter(self.sets.version):
            if to_port is None:
                return self.receive(pieces)
            return [End("bridged", piece) for piece in pieces]
        self.ends = []
        shown: dict[str, int | str] = {"physdev_in": port, "bridged": int(to_port is not None)}
        fresh = [self._written(self._fresh(piece), shown) for piece in pieces]
        for piece in self._refused(fresh, found_sets.refused_at_once(self.sets)):
            old = self.lens.bits(piece, "destination")
            for passed in self._hook("PREROUTING", [piece]):
                same = self.lens.same(old, self.lens.bits(passed, "destination"))
                self._readdressed(passed.cut(~same), bridge)
                stayed = passed.cut(same)
                if to_port is None:
                    self._in([stayed])
                else:
                    self._bridge_on([stayed], bridge, to_port)
        return self.ends

    def bridge_on(self, pieces: Sequence[Piece], bridge: str, to_port: str) -> list[End]:
        """Bridged packets that have passed PREROUTING go out by a port."""
        self.ends = []
        self._bridge_on(pieces, bridge, to_port)
        return self.ends

    def _bridge_on(self, pieces: Iterable[Piece], bridge: str, to_port: str) -> None:
        shown: dict[str, int | str] = {"out_interface": bridge, "physdev_out": to_port, "bridged": 1}
        pieces = self._hook("FORWARD", [self._written(piece, shown) for piece in pieces])
        none = self.sets.fixed("in_interface", "")
        for piece in self._hook("POSTROUTING", [piece.written(in_interface=none) for piece in pieces]):
            self.ends.append(End("bridged", self._confirmed(piece)))

    def _readdressed(self, piece: Piece, bridge: str) -> None:
        """A bridged packet got a new destination: to behind the same bridge, or it is routed."""
        if not piece.packets.satisfiable():
            return
        piece = self._written(piece, {"bridged": 0})
        for way, packets in self.ways.of().items():
            if way.kind == "unicast" and way.device == bridge:
                part = piece.cut(self.lens.of(piece, packets))
                if part.packets.satisfiable():
                    piece = piece.cut(~part.packets)
                    self.ends.append(End("redirected", part.with_(via=way.via)))
        self._in([piece])

    # --- on the way -----------------------------------------------------------------------------------------

    def _in(self, pieces: Iterable[Piece]) -> None:
        """Routing of packets that came in."""
        sets, view = self.sets, self.view
        if self._martians is None:
            self._martians = found_sets.martians(view, sets, self.ways)
        impossible, without_way_back = self._martians
        pieces = self._refused(pieces, impossible)
        joined, not_joined = found_sets.groups(view, sets)
        for_groups, pieces = self._split(pieces, joined)
        self._deliver(for_groups)
        pieces = self._refused(pieces, not_joined)
        arriving, pieces = self._split(pieces, self.ways.of_kind("local", "broadcast"))
        self._deliver(self._refused(arriving, without_way_back))
        no_way, forwards = found_sets.no_way(sets, self.ways), found_sets.not_received(view, sets)
        # IPv6 tells for want of a route also where it would not have forwarded.
        routed = (forwards, *no_way) if sets.version == 4 else (*no_way, forwards)
        pieces = self._refused(pieces, (*routed, *without_way_back))
        for worn_out in found_sets.worn_out(sets):  # concerns some of all packets: nothing is won together
            pieces = self._refused(pieces, (worn_out,))
        pieces = self._leaving([self._older(piece) for piece in pieces])
        pieces = self._refused(pieces, found_sets.not_forwarded(view, sets))
        self._out(self._hook("FORWARD", pieces))  # POSTROUTING still sees where they came in (ip_output)

    def _refused(self, pieces: Iterable[Piece], refusals: Refusals, *, locally: bool = False) -> list[Piece]:
        """End what is refused; returns the others."""
        left, ends = refused(self.lens, pieces, refusals, locally=locally)
        self.ends += ends
        return left

    def _route_out(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Routing of the host's own packets: what is for itself goes to lo."""
        closed = found_sets.cannot_leave(self.view, self.sets, self.ways)
        no_way = found_sets.no_way(self.sets, self.ways)
        pieces = self._refused(pieces, (*no_way, *closed), locally=True)
        arriving, onward = self._split(pieces, self.ways.of_kind("local", "broadcast"))
        own = [self._written(piece, {"out_interface": LOOPBACK}) for piece in arriving]
        return [*own, *self._leaving(onward)]

    def _deliver(self, pieces: Iterable[Piece]) -> None:
        for piece in self._hook("INPUT", list(pieces)):
            self.ends.append(End("delivered", self._confirmed(piece)))

    def _out(self, pieces: Sequence[Piece], *, locally: bool = False) -> None:
        pieces = self._hook("POSTROUTING", pieces)
        to_lo, others = self._split(pieces, self.sets.satisfying(Named("out_interface", LOOPBACK)))
        self._over_loopback(to_lo)
        for piece in others:
            self.ends.append(End("sent", self._confirmed(piece), locally=locally))

    def _over_loopback(self, pieces: Iterable[Piece]) -> None:
        """What is sent to lo comes in by lo, with its connection, and is delivered without being routed."""
        shown: dict[str, int | str] = {"out_interface": "", "in_interface": LOOPBACK}
        shown |= {"mac": 0} if "mac" in self.support.tested else {}
        pieces = [self._written(piece, shown) for piece in pieces]
        if not (self.view.has_link(LOOPBACK) and self.view.link(LOOPBACK).up):
            self.ends += [End("dropped", piece, "lo is down", locally=True) for piece in pieces]
            return
        self._deliver(self._hook("PREROUTING", pieces, tracked_already=True))

    def _confirmed(self, piece: Piece) -> Piece:
        if piece.known is None:
            return piece
        connmark = self.lens.bits(piece, "connmark") if "connmark" in self.support.tested else ()
        return piece.with_(known=piece.known.with_(connmark=connmark))

    def _hook(self, hook: str, pieces: Iterable[Piece], *, tracked_already: bool = False) -> list[Piece]:
        """Everything that is registered at a hook."""
        held = [piece for piece in pieces if piece.packets.satisfiable()]
        passed, ends = self.hooks.run(hook, held, self._route_again, tracked_already=tracked_already)
        self.ends += ends
        return passed

    def _route_again(self, piece: Piece, before: Piece, stage: StageKind) -> list[Piece]:
        """A local packet of which something was changed that routing goes by is routed anew.

        Chains that come later at the hook still see the old device (ip_route_me_harder).
        """
        same = self.sets.true
        for field in routing_fields(stage):
            if field in piece.now or field in before.now:
                same = same & self.lens.same(self.lens.bits(before, field), self.lens.bits(piece, field))
        moved = piece.cut(~same)
        if not moved.packets.satisfiable():
            return [piece]
        stayed = piece.cut(same)
        found = [stayed] if stayed.packets.satisfiable() else []
        for device, some in self._ways_out([moved]):
            found += [part.with_(moved_to=tuple(self.sets.fixed("out_interface", device))) for part in some]
        return found

    def _ways_out(self, pieces: Sequence[Piece]) -> Iterator[tuple[str, list[Piece]]]:
        """The parts of the host's own packets by the device that routing sends them to."""
        pieces = self._refused(pieces, found_sets.no_way(self.sets, self.ways), locally=True)
        for way, packets in self.ways.of().items():
            if way.kind in _WAYS_OUT:
                parts = [part.with_(via=way.via) for part in self._parts(pieces, packets)]
                if parts:
                    yield way.device, parts

    # --- parts ----------------------------------------------------------------------------------------------

    def _parts(self, pieces: Iterable[Piece], packets: Set) -> list[Piece]:
        """The parts of pieces that are in a set by now."""
        return self.hooks.parts(pieces, packets)

    def _split(self, pieces: Iterable[Piece], packets: Set) -> tuple[list[Piece], list[Piece]]:
        """The parts of pieces that are in a set by now, and the others."""
        held = list(pieces)
        inside, outside = [], []
        for piece, seen in zip(held, self.lens.seen(packets, held), strict=True):
            one = piece.cut(seen)
            if not one.packets.satisfiable():
                outside.append(piece)
                continue
            inside.append(one)
            other = piece.cut(~one.packets)  # which is a part of it: quicker than without what was seen
            if other.packets.satisfiable():
                outside.append(other)
        return inside, outside

    def _leaving(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Write the device by which each packet leaves that has a unicast way."""
        lens, pieces = self.lens, list(pieces)
        relation = self.ways.leaving("out_interface", "unicast")
        own = tuple(self.sets.bits("out_interface"))
        open_ended = [piece.written(out_interface=own) for piece in pieces]
        found: list[Piece] = []
        for piece, ready, way in zip(pieces, open_ended, lens.seen(relation, open_ended), strict=True):
            bundle = self._by_rows(ready, relation)
            devices = None if bundle is not None else self._devices(piece, way)
            if bundle is not None:
                found.append(bundle)
            elif devices is not None:
                found += self._one_by_one(piece, devices)
            elif piece.known is not None and piece.known.direction:
                found += self._back(piece, relation)
            else:
                found.append(ready.cut(way))
        return [piece for piece in found if piece.packets.satisfiable()]

    def _by_rows(self, piece: Piece, relation: Set) -> Piece | None:
        """A bundle whose every row leaves by one device: the device becomes a column of its table."""
        if piece.rows is None or piece.rows.column(self.lens.bits(piece, "destination")) is None:
            return None
        sets, way = self.sets, self.lens.by_number(relation, piece)
        if not sets.asked(way) <= {"out_interface", MAPPING}:
            return None
        codes = [sets.number("out_interface", "")] * len(piece.rows.columns[0].values)
        taken = sets.nothing  # what stays as it is has no unicast way: there is no packet of these rows left
        for ((low, high), *more), some in readout.ranges(sets, way, "out_interface"):
            if more or low != high or (some & taken).satisfiable():
                return None
            taken = taken | some
            for numbers, _all in readout.ranges(sets, some, MAPPING):
                for first, last in numbers:
                    codes[first : last + 1] = [low] * (last + 1 - first)
        column = Column.of(sets, "out_interface", codes)
        return piece.with_(rows=piece.rows.with_column(column)).written(out_interface=column.bits)

    def _devices(self, piece: Piece, way: Set) -> list[str] | None:
        """The devices by which a piece leaves, where it must be parted by them, or there are few."""
        if not self.apart and self._constant(piece, "destination") is None:
            return None
        alone = readout.only(self.sets, way & piece.packets if self.apart else way, "out_interface")
        devices = [
            self.sets.devices[code]
            for ranges, _rest in readout.ranges(self.sets, alone, "out_interface")
            for low, high in ranges
            for code in range(low, high + 1)
        ]
        return devices if self.apart or len(devices) <= _FEW else None

    def _one_by_one(self, piece: Piece, devices: Iterable[str]) -> Iterable[Piece]:
        """The parts of a piece by their devices, and by their gateways where ways are kept apart."""
        for device in devices:
            leaving = self._written(piece, {"out_interface": device})
            if not self.apart:
                (way,) = self.lens.seen(self.ways.leaving("out_interface", "unicast"), [leaving])
                yield leaving.cut(way)
                continue
            for each, packets in self.ways.of().items():
                if each.kind == "unicast" and each.device == device:
                    yield leaving.with_(via=each.via).cut(self.lens.of(piece, packets))

    def _back(self, piece: Piece, relation: Set) -> Iterable[Piece]:
        """An answer: it leaves by the device that the request came in by, or goes astray."""
        ready = piece.written(out_interface=self.sets.bits("in_interface"))
        (way,) = self.lens.seen(relation, [ready])
        back = ready.cut(way)
        astray = piece.cut(~back.packets)
        if astray.packets.satisfiable():
            self.ends.append(End("astray", astray, "it would leave by another device than the request's"))
        yield back

    # --- fields ---------------------------------------------------------------------------------------------

    def _written(self, piece: Piece, values: dict[str, int | str]) -> Piece:
        return piece.written(**{field: self.sets.fixed(field, value) for field, value in values.items()})

    def _blank(self, piece: Piece, keep: frozenset[str]) -> Piece:
        """The packets as they are when nobody on this host has looked at them."""
        default = Packet(self.sets.version, 0, 0, 0)
        now = {field: bits for field, bits in piece.now.items() if field in keep}
        for field in (self.support.tested | {"state", "tracked", "out_interface"}) - keep:
            now[field] = tuple(self.sets.fixed(field, getattr(default, field)))
        return piece.with_(now=now, known=None, via=None)

    def _fresh(self, piece: Piece) -> Piece:
        """The packets as they come off the wire, by the device that `in_interface` says."""
        fresh = self._blank(piece, keep=HEADER | {"in_interface"})
        if "reverse_path" not in self.support.tested:
            return fresh
        same = self.lens.of(fresh, self.ways.leaving("in_interface", "unicast", asked=BACK_ALONE))
        some = self.lens.of(fresh, self.ways.of_kind("unicast", asked=BACK_ALONE))
        return fresh.written(reverse_path=[same, some & ~same])

    def _older(self, piece: Piece) -> Piece:
        """One hop further: the time to live is one less."""
        if not self.apart and "ttl" not in self.support.tested:
            return piece
        bits, borrow = [], self.sets.true
        for bit in reversed(self.lens.bits(piece, "ttl")):
            bits.append(bit ^ borrow)
            borrow = borrow & ~bit
        return piece.written(ttl=bits[::-1])

    def _constant(self, piece: Piece, field: str) -> int | None:
        """A field's value, if one was written in all packets of a piece."""
        return self.lens.constant(piece, field) if field in piece.now else None
