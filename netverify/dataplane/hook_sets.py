"""The hooks of one host for all packets at once: chains, connection tracking, translation.

A chain that writes nothing into packets is run once, for everything; each piece then is cut by what came out.
A chain that writes is run for each piece, with the functions that `entry.EntrySets` keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial

from netverify.dataplane import found_sets
from netverify.dataplane.bundles import BUNDLE, MANY, Bundler, Coming, Renamed, simple_endings
from netverify.dataplane.calls import Caller
from netverify.dataplane.condition import Named
from netverify.dataplane.connections import SOURCE
from netverify.dataplane.diagrams import Set
from netverify.dataplane.ends import End
from netverify.dataplane.entry import EntrySets
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.hooks import Call, Filters, Stage, StageKind
from netverify.dataplane.mapping import DIVERTED
from netverify.dataplane.packet import State
from netverify.dataplane.pieces import Bits, Known, Late, Moved, Piece
from netverify.dataplane.program import CompiledChain
from netverify.dataplane.support import Support
from netverify.dataplane.targets import Ending, Nat, NatKind, Reject, Verdict
from netverify.dataplane.tracking import Found, Tracker
from netverify.dataplane.view import DEFAULT_RULES, LOOPBACK, HostView
from netverify.dataplane.ways import Ways

PASSING = (Verdict.ACCEPT, Verdict.QUEUE)
RouteAgain = Callable[[Piece, Piece, StageKind], list[Piece]]
"""Routes a local packet again that a stage changed: the piece, and what it was before."""
_FINDING = frozenset({"in_interface", "out_interface", "destination", "source", "mark"})
_FINDS = frozenset({NatKind.REDIRECT, NatKind.MASQUERADE})


class HookSets:
    """What is registered at the hooks of one host."""

    def __init__(
        self, view: HostView, filters: Filters, tracker: Tracker, ways: Ways, support: Support
    ) -> None:
        self.view, self.filters, self.tracker, self.ways, self.support = view, filters, tracker, ways, support
        self.lens, self.sets = tracker.lens, tracker.sets
        self.many = MANY
        self.together = True
        self._simple: dict[tuple[int, str], list[Nat]] = {}
        self._evaluators: dict[tuple[int, str], Evaluator[Set]] = {}
        self._exits: dict[tuple[int, str, str], dict[Ending, Set]] = {}
        self._found: dict[str, Found] = {}
        self._algebras: dict[Moved, Renamed] = {}
        self._turned: dict[tuple[int, str, str, Moved], dict[Ending, Set]] = {}

    def run(
        self, hook: str, pieces: list[Piece], route_again: RouteAgain, *, tracked_already: bool = False
    ) -> tuple[list[Piece], list[End]]:
        """Everything at a hook, in order: who passes, and who ends here."""
        ends: list[End] = []
        for stage in self.filters.stages(hook):
            if stage.kind is StageKind.CONNTRACK:
                if not tracked_already:
                    pieces = [part for piece in pieces for part in self.tracker.enter(piece)]
            elif stage.kind is StageKind.OPAQUE:
                pieces = self._opaque(stage, pieces, ends)
            else:
                step = self._nat if stage.kind is StageKind.NAT else self._chain
                passed: list[Piece] = []
                for before, parts in zip(pieces, step(stage, pieces, ends), strict=True):
                    for part in parts:
                        passed += route_again(part, before, stage.kind) if stage.reroutes else [part]
                pieces = passed
        return pieces, ends

    def parts(self, pieces: Iterable[Piece], packets: Set) -> list[Piece]:
        """The parts of pieces that are in a set by now."""
        held = list(pieces)
        found = zip(held, self.lens.seen(packets, held), strict=True)
        cut = [piece.cut(some) for piece, some in found]
        return [piece for piece in cut if piece.packets.satisfiable()]

    def _opaque(self, stage: Stage, pieces: list[Piece], ends: list[End]) -> list[Piece]:
        if stage.unknown is None:
            return pieces
        passes = self.sets.satisfying(stage.unknown)
        reason = f"unless {stage.unknown.name}"
        ends += [End("dropped", piece, reason) for piece in self.parts(pieces, ~passes)]
        return self.parts(pieces, passes)

    # --- chains ---------------------------------------------------------------------------------------------

    def _chain(self, stage: Stage, pieces: list[Piece], ends: list[End]) -> Iterator[list[Piece]]:
        (call,) = stage.calls
        for exits in self._called(call, pieces):
            passed = []
            for ending, piece in exits:
                if ending in PASSING or isinstance(ending, Nat):
                    passed.append(piece)
                else:
                    ends.append(self._ended(call, stage, ending, piece))
            yield passed

    def _ended(self, call: Call, stage: Stage, ending: Ending, piece: Piece) -> End:
        where = f"{call.table}:{call.chain}"
        answer = ending if isinstance(ending, Reject) else None
        fate = "dropped" if answer is None else "rejected"
        return End(fate, piece, f"{fate} in {where}", where, answer, locally=stage.hook == "OUTPUT")

    def _called(self, call: Call, pieces: Sequence[Piece]) -> list[list[tuple[Ending, Piece]]]:
        """For each piece its parts by the endings that a chain of the kernel's own gives them."""
        chain = call.program.chain(call.table, call.chain)
        if chain is None:
            return [[(Verdict.ACCEPT, piece)] for piece in pieces]
        if chain.rewrites:
            return [list(self._writing(call, piece)) for piece in pieces]
        fields = self._fields(call, chain)
        found: list[list[tuple[Ending, Piece]]] = [[] for _ in pieces]
        plain: list[int] = []
        for index, piece in enumerate(pieces):
            moved = self.lens.moved(piece, fields) if self._is_long(call) else None
            if moved is None:
                plain.append(index)
                continue
            for ending, packets in self._renamed(call, moved).items():
                part = piece.cut(self.lens.with_constants(packets, piece, fields))
                if part.packets.satisfiable():
                    found[index].append((ending, part))
        for ending, packets in self._summary(call).items() if plain else ():
            seen = self.lens.seen(packets, [pieces[index] for index in plain], fields)
            for index, some in zip(plain, seen, strict=True):
                part = pieces[index].cut(some)
                if part.packets.satisfiable():
                    found[index].append((ending, part))
        return found

    def _fields(self, call: Call, chain: CompiledChain) -> frozenset[str]:
        """What a chain's result says something of; by `_coming` also of the way that packets leave by."""
        fields = self.support.of(call.program, chain)
        return fields | {"out_interface", "destination"} if call.chain == "POSTROUTING" else fields

    def _is_long(self, call: Call) -> bool:
        """Whether a chain has rules enough that what it does is large."""
        rules = sum(len(chain.rules) for chain in call.program.chains.values() if chain.table == call.table)
        return rules >= 8 * self.many

    def _renamed(self, call: Call, moved: Moved) -> dict[Ending, Set]:
        """What a chain does to everything whose fields have changed places."""
        key = (id(call.program), call.table, call.chain, moved)
        if key not in self._turned:
            algebra = self._algebras.get(moved)
            if algebra is None:
                rename = partial(self._rename, moved)
                algebra = self._algebras[moved] = Renamed(self.sets, rename)
            evaluator: Evaluator[Set] = Evaluator(call.program, algebra)
            self._turned[key] = evaluator.run(call.table, call.chain, self.sets.true)
        return self._turned[key]

    def _rename(self, moved: Moved, packets: Set) -> Set:
        return self.lens.put_in(packets, moved)

    def _summary(self, call: Call) -> dict[Ending, Set]:
        key = (id(call.program), call.table, call.chain)
        if key not in self._exits:
            evaluator = self._evaluator(call)
            self._exits[key] = evaluator.run(call.table, call.chain, self.sets.everything)
        return self._exits[key]

    def _evaluator(self, call: Call) -> Evaluator[Set]:
        """The evaluator of a program; for its nat table one that bundles translations, if there are many."""
        program, table = call.program, call.table
        if (id(program), table) not in self._simple:
            self._simple[id(program), table] = simple_endings(program, table)
        endings = self._simple[id(program), table]
        coming = None
        if call.chain == "POSTROUTING" and not self.filters.view.bridge_calls_filter(self.sets.version):
            coming = self._coming()
        bundled = len(endings) >= self.many or coming is not None
        key = (id(program), f"{table} {call.chain}" if bundled else "")
        if key not in self._evaluators:
            self._evaluators[key] = (
                Bundler(program, self.sets, endings if len(endings) >= self.many else (), coming)
                if bundled
                else Caller(program, self.sets)
            )
        return self._evaluators[key]

    def _coming(self) -> Coming | None:
        """What can come to POSTROUTING: by each device what some routing table sends there, and to lo."""
        if self.view.rules_of(self.sets.version) != DEFAULT_RULES:
            return None
        devices: dict[str, list[Set]] = {LOOPBACK: [self.sets.true]}
        for way, packets in self.ways.of().items():
            if way.kind == "unicast":
                devices.setdefault(way.device, []).append(packets)
        return Coming.of(
            self.sets,
            [
                (self.sets.satisfying(Named("out_interface", device)), self.sets.union(packets))
                for device, packets in devices.items()
            ],
        )

    def _writing(self, call: Call, piece: Piece) -> Iterator[tuple[Ending, Piece]]:
        algebra = EntrySets(self.sets)
        algebra.written = {field: list(bits) for field, bits in piece.now.items()}
        exits = Evaluator(call.program, algebra).run(call.table, call.chain, piece.packets)
        now = {field: tuple(bits) for field, bits in algebra.written.items()}
        for ending, packets in exits.items():
            part = piece.with_(packets=packets, now=now)
            if part.known is not None and "connmark" in now:
                part = part.with_(known=part.known.with_(connmark=now["connmark"]))
            yield ending, part

    # --- translation ----------------------------------------------------------------------------------------

    def _nat(self, stage: Stage, pieces: list[Piece], ends: list[End]) -> Iterator[list[Piece]]:
        if self.together and stage.half == SOURCE and not any(self._writes(call) for call in stage.calls):
            for piece in pieces:
                if self._is_asked(piece, stage.half):
                    yield [self.tracker.translated(p, stage.half) for p in self._late(stage, piece, ends)]
                else:
                    yield [self.tracker.translated(piece, stage.half)]
            return
        asked = [index for index, piece in enumerate(pieces) if self._is_asked(piece, stage.half)]
        decided: dict[int, list[Piece]] = {index: [] for index in asked}
        waiting = [(index, pieces[index]) for index in asked]
        for call in stage.calls:
            left: list[tuple[int, Piece]] = []
            for (index, _piece), exits in zip(
                waiting, self._called(call, [piece for _index, piece in waiting]), strict=True
            ):
                for ending, part in exits:
                    if ending is BUNDLE:
                        endings = self._simple[id(call.program), call.table]
                        decided[index].append(self.tracker.bundled(part, endings))
                    elif isinstance(ending, Nat):
                        decided[index] += self._mapped(stage, ending, part, ends)
                    elif ending in PASSING:
                        left.append((index, part))
                    else:
                        ends.append(self._ended(call, stage, ending, part))
            waiting = left
        for index, piece in waiting:
            decided[index].append(piece)
        for index, piece in enumerate(pieces):
            parts = decided.get(index, [piece])
            yield [self.tracker.translated(self._asked(part, stage.half), stage.half) for part in parts]

    def _writes(self, call: Call) -> bool:
        chain = call.program.chain(call.table, call.chain)
        return chain is not None and chain.rewrites

    def _late(self, stage: Stage, piece: Piece, ends: list[End]) -> list[Piece]:
        """A mapping of the source, for a piece as a whole: the new source is a function, made when asked for.

        Mostly nobody asks: it is the last thing that happens to a packet here, and an answer has the old
        one again before rules see it.
        """
        piece = self._asked(piece, stage.half)
        left = self.sets.true
        for call in stage.calls:
            chain = call.program.chain(call.table, call.chain)
            if chain is None:
                continue
            fields = self._fields(call, chain)
            passed = self.sets.nothing
            for ending, packets in self._summary(call).items():
                where = left & self.lens.seen(packets, [piece], fields)[0]
                if ending in PASSING:
                    passed = where
                elif isinstance(ending, Nat):
                    piece = self._mapped_late(stage, ending, piece, where, ends)
                else:
                    stopped = piece.cut(where)
                    if stopped.packets.satisfiable():
                        ends.append(self._ended(call, stage, ending, stopped))
                        piece = piece.cut(~where)
            left = passed
        return [piece] if piece.packets.satisfiable() else []

    def _mapped_late(self, stage: Stage, nat: Nat, piece: Piece, where: Set, ends: list[End]) -> Piece:
        known = piece.known
        if known is None or not where.satisfiable():
            return piece
        before = piece
        if nat.kind in _FINDS:
            some = self.lens.seen(self._finding(nat, stage.hook).some, [piece], _FINDING)[0]
            lost = piece.cut(where & ~some)
            if lost.packets.satisfiable():
                ends.append(End("dropped", lost, f"{nat.kind.value}: the device has no address to take"))
                piece = piece.cut(~lost.packets)

        def mapped() -> Known:
            to = None
            if nat.kind in _FINDS:
                to = self._finding(nat, stage.hook).bits(self.lens, before, _FINDING)[1]
            decided = self.tracker.decided(before, nat, stage.half, to).known
            return known if decided is None else decided

        once = cache(mapped)
        reply = dict(known.reply)
        for name in ("destination", "dport"):
            if name == "dport" and nat.ports is None and not nat.random:
                continue
            reply[name] = Late(partial(self._either, where, once, name, known))
        return piece.with_(known=known.with_(reply=reply))

    def _either(self, where: Set, mapped: Callable[[], Known], name: str, known: Known) -> Bits:
        return self.lens.chosen(where, mapped().reply[name], known.reply[name])

    def _is_asked(self, piece: Piece, half: int) -> bool:
        """Whether the nat table is asked: for the packet that begins a connection, once for each half."""
        known = piece.known
        if known is None or known.direction or known.decided & half:
            return False
        return self.lens.constant(piece, "state") == State.NEW

    def _asked(self, piece: Piece, half: int) -> Piece:
        if piece.known is None:
            return piece
        return piece.with_(known=piece.known.with_(decided=piece.known.decided | half))

    def _mapped(self, stage: Stage, nat: Nat, piece: Piece, ends: list[End]) -> list[Piece]:
        """A new connection gets a mapping; where there is no address to take, the packet is lost."""
        if nat.kind not in _FINDS:
            return [self.tracker.decided(piece, nat, stage.half, None)]
        some, bits = self._finding(nat, stage.hook).bits(self.lens, piece, _FINDING)
        lost = piece.cut(~some)
        if lost.packets.satisfiable():
            ends.append(End("dropped", lost, f"{nat.kind.value}: the device has no address to take"))
        piece = piece.cut(some)
        return [self.tracker.decided(piece, nat, stage.half, bits)] if piece.packets.satisfiable() else []

    def _finding(self, nat: Nat, hook: str) -> Found:
        """The addresses that REDIRECT and MASQUERADE find by themselves."""
        key = f"{nat.kind.value} {hook}"
        if key not in self._found:
            if nat.kind is NatKind.MASQUERADE:
                self._found[key] = found_sets.of_departure(self.view, self.sets, self.ways)
            elif hook == "OUTPUT":
                self._found[key] = Found.of(self.sets, {DIVERTED[self.sets.version]: self.sets.true})
            else:
                self._found[key] = found_sets.of_arrival(self.view, self.sets)
        return self._found[key]
