"""Asking many pairs at once, and believing a silence only when it is accounted for.

A packet that arrives proves itself. A packet that does not arrive proves nothing: perhaps a rule dropped it,
perhaps our listener was missing, a buffer full, the neighbour table exhausted. So a negative is earned step
by step.

0. *A fresh start.* What earlier questions taught is forgotten (neighbours), and source ports are new, so
   that connection tracking knows nothing of them.
1. *Sound sockets.* Each socket tells which namespace it lives in; the kernel's own table of sockets must list
   each listener. What fails here is ERROR.
2. *The end of flight.* The barrier (`kernel/barrier.py`) says when every packet was delivered or dropped, and
   `kernel/neighbours.py` when none waits for a neighbour. No timeout decides anything.
3. *A second round.* Every pair that was silent is asked again; one that answers now was lost before, and is
   ERROR: it flaps.
4. *Conservation.* Over that second round, packets are conserved: each silent probe must be matched by one
   packet that a dropping rule, a DROP policy or a kernel check has counted (`kernel/tally.py`). If the sums
   agree, all are FILTERED. If not, the batch is halved and each half asked and counted by itself, down to
   single pairs, where one drop must have been counted for one probe. A pair for which nothing was counted is
   ERROR: its packet vanished.

The sum can also come out too large, when other traffic meets the same rules, or when an error message about a
dropped packet is dropped in turn; halving settles that too, since a single pair needs only one drop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netverify.kernel import neighbours
from netverify.kernel.barrier import Barrier
from netverify.kernel.channel import Channel
from netverify.kernel.engine import Engine, Listener, Pair, Record, Relay, Source, Target
from netverify.kernel.engine_arp import ArpEngine
from netverify.kernel.engine_icmp import IcmpEngine
from netverify.kernel.engine_tcp import TcpEngine
from netverify.kernel.engine_udp import UdpEngine
from netverify.kernel.firewall import Firewall, RuleBook
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.sockets import missing_listeners
from netverify.kernel.tally import StatisticsBook, Tally
from netverify.reachability.probe import Cell, Outcome, Probe

__all__ = ["Listener", "Pair", "Prober", "Relay", "Source", "Target"]

ENGINES: Mapping[str, type[Engine]] = {
    "icmp": IcmpEngine,
    "udp": UdpEngine,
    "tcp": TcpEngine,
    "arp": ArpEngine,
}
PROOFS = 600  # how often one batch may be halved before the rest is called unproven


@dataclass(frozen=True)
class Prober:
    """Asks questions of a lab: its namespaces, with a netlink channel each, and the firewalls in them."""

    visitor: Visitor
    channels: Mapping[str, tuple[Namespace, Channel]]
    firewalls: Sequence[Firewall] = ()

    def ask(
        self,
        probe: Probe,
        pairs: Sequence[Pair],
        listeners: Sequence[Listener],
        relays: Sequence[Relay] = (),
        nonce: bytes | None = None,
    ) -> list[Cell]:
        """One cell for each pair, in order. `listeners` are opened for the question and closed after it.

        `relays` are userland proxies that stand between. Every payload begins with `nonce` (8 bytes; random
        by default), by which a sniffer knows the packets.
        """
        if not pairs:
            return []
        with Barrier(self.visitor) as barrier:
            engine = ENGINES[probe.protocol](
                self.visitor,
                probe,
                pairs,
                listeners,
                relays,
                barrier.wait,
                lambda: self._resolve(barrier),
                nonce or os.urandom(8),
            )
            book = Book(self, probe.version, barrier.cpu)
            try:
                neighbours.forget(self.channels)
                _, channel = next(iter(self.channels.values()))
                before = neighbours.overflows(channel)
                engine.open()
                cells = _Question(self, engine, book).answer()
                overflows = neighbours.overflows(channel) - before
                return [_with_cause(cell, overflows) for cell in cells] if overflows else cells
            finally:
                engine.close()
                book.close()

    def _resolve(self, barrier: Barrier) -> None:
        """Wait for neighbours; whoever resolved one released the packets behind it on a CPU of its own."""
        neighbours.settle(self.visitor, self.channels)
        barrier.wait_everywhere()


class Book:
    """Both tallies of a lab, opened only when the first silence needs them."""

    def __init__(self, prober: Prober, version: int, cpu: int) -> None:
        self._prober, self._version, self._cpu = prober, version, cpu
        self._statistics: StatisticsBook | None = None

    def read(self) -> Tally:
        """What has been dropped so far, everywhere in the lab."""
        if self._statistics is None:
            spaces = [namespace for namespace, _ in self._prober.channels.values()]
            self._statistics = StatisticsBook(self._prober.visitor, spaces, self._cpu)
        rules = RuleBook(self._prober.firewalls, self._version).read()
        kernel = self._statistics.read()
        return Tally({**rules.dropped, **kernel.dropped}, kernel.lost)

    def close(self) -> None:
        """Close the files behind it."""
        if self._statistics is not None:
            self._statistics.close()


class _Question:
    """One call of `Prober.ask`, from the first round to the last proof."""

    def __init__(self, prober: Prober, engine: Engine, book: Book) -> None:
        self.prober, self.engine, self.book = prober, engine, book
        self.verdicts: dict[int, tuple[Outcome, str]] = {}
        self.listening = {listener.namespace.name for listener in engine.listeners}
        self.proofs = 0

    def answer(self) -> list[Cell]:
        """Run the rounds and judge every pair."""
        everything = range(len(self.engine.pairs))
        self._round(everything)
        first = list(self.engine.records)
        silent = [number for number in everything if first[number].silent]
        unanswered = [number for number in everything if first[number].unanswered]
        if unanswered:
            self.engine.renew(unanswered)
            self._round(unanswered)
            self._compare(unanswered, first)
        if silent:
            self._prove(silent, first)
        unheard = missing_listeners(self.prober.visitor, self.engine.listeners, self.engine.probe)
        return [self._cell(number, first[number], unheard) for number in everything]

    def _round(self, numbers: Sequence[int]) -> None:
        """Send, and wait until all is decided."""
        self.engine.send(numbers)
        self.engine.conclude(numbers)

    def _compare(self, numbers: Sequence[int], first: Sequence[Record]) -> list[int]:
        """Note the pairs whose second answer differs from the first; return those that stayed the same."""
        same = []
        for number in numbers:
            before, now = first[number], self.engine.records[number]
            if _shape(before) == _shape(now):
                same.append(number)
            else:
                story = f"flaps: {_story(before)} at first, {_story(now)} when asked again"
                self.verdicts[number] = (Outcome.ERROR, story)
        return same

    def _prove(self, numbers: Sequence[int], first: Sequence[Record]) -> None:
        """Ask `numbers` again while counting drops; halve what does not add up."""
        waiting = [list(numbers)]
        while waiting:
            batch = waiting.pop()
            if self.proofs >= PROOFS:
                story = f"silent, and not proven within {PROOFS} recounts"
                self.verdicts |= dict.fromkeys(batch, (Outcome.ERROR, story))
                continue
            self.proofs += 1
            before = self.book.read()
            self.engine.renew(batch)
            self._round(batch)
            moved = self.book.read().since(before)
            still = self._compare(batch, first)
            told = {number: said for number in still if (said := self.engine.silence(number)) is not None}
            self.verdicts |= told
            rest = [number for number in still if number not in told]
            if len(rest) < len(batch):
                if rest:
                    waiting.append(rest)
            elif self._adds_up(batch, moved):
                self.verdicts |= dict.fromkeys(batch, (Outcome.FILTERED, _dropped_where(moved)))
            elif len(batch) == 1:
                self.verdicts[batch[0]] = (Outcome.ERROR, _vanished(moved))
            else:
                middle = len(batch) // 2
                waiting += [batch[:middle], batch[middle:]]

    @staticmethod
    def _adds_up(batch: Sequence[int], moved: Tally) -> bool:
        if moved.lost:
            return False
        return moved.total == len(batch) or (len(batch) == 1 and moved.total > 0)

    def _cell(self, number: int, first: Record, unheard: Mapping[str, str]) -> Cell:
        pair = self.engine.pairs[number]
        outcome, detail = self._verdict(number, first, unheard)
        seen, receiver, replied = first.seen, first.receiver, first.replied
        return Cell(pair.source.name, pair.target.name, outcome, seen, receiver, replied, detail)

    def _verdict(self, number: int, first: Record, unheard: Mapping[str, str]) -> tuple[Outcome, str]:
        pair = self.engine.pairs[number]
        owner = _owner(pair)
        for name in (pair.source.namespace.name, owner or "", first.receiver or ""):
            if broken := self.engine.broken.get(name) or unheard.get(name):
                return Outcome.ERROR, broken
        if first.replied and first.outcome is not None:
            return Outcome.ERROR, f"both answered and refused: {first.detail}"
        if number in self.verdicts:
            return self.verdicts[number]
        if first.outcome is Outcome.REFUSED and owner in self.listening:
            # An answer that claims that nobody listens, where somebody does, comes from a filter.
            detail = f"{first.detail}, although a listener is there: a filter answers in its place"
            return Outcome.PROHIBITED, detail
        return first.outcome or Outcome.DELIVERED, first.detail


def _owner(pair: Pair) -> str | None:
    """The namespace that the target's address leads to; a loopback address never leaves its sender's."""
    return pair.source.namespace.name if pair.target.address.is_loopback else pair.target.owner


def _shape(record: Record) -> tuple[object, ...]:
    return record.receiver, record.replied, record.outcome


def _story(record: Record) -> str:
    if record.outcome is not None:
        return record.outcome.value
    if record.receiver is None:
        return "answered" if record.replied else "silent"
    return f"delivered to {record.receiver}" + ("" if record.replied else " and unanswered")


def _with_cause(cell: Cell, overflows: int) -> Cell:
    """Say of an error that the neighbour table was full meanwhile; that is what most of them come from."""
    if cell.outcome is not Outcome.ERROR:
        return cell
    full = f"the machine's neighbour table was full {overflows} times meanwhile (gc_thresh3, arp(7))"
    return replace(cell, detail=f"{cell.detail}; {full}")


def _dropped_where(moved: Tally) -> str:
    """Which rule or check dropped a batch; one of several, where the batch met several."""
    if len(moved.dropped) == 1:
        (place,) = moved.dropped
        return f"dropped by {place}"
    few = "; ".join(sorted(moved.dropped)[:2])
    more = f"; and {len(moved.dropped) - 2} more" if len(moved.dropped) > 2 else ""
    return f"dropped by one of {len(moved.dropped)} rules and checks ({few}{more})"


def _vanished(moved: Tally) -> str:
    if moved.lost:
        return "lost, not filtered: " + "; ".join(f"{place} [{count}]" for place, count in moved.lost.items())
    return "vanished: it was sent, did not arrive, and no rule, policy or kernel check counted a drop"
