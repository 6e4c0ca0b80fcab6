"""Asking many pairs at once, and believing a silence only when it is accounted for.

A packet that arrives proves itself. A packet that does not arrive proves nothing: perhaps a rule dropped it,
perhaps our listener was missing, a buffer full, the neighbour table exhausted. So a negative is earned step
by step.

0. *A fresh start.* What earlier questions taught is forgotten (neighbours), and source ports are new, so
   that connection tracking knows nothing of them.
1. *Sound sockets.* Each socket tells which namespace it lives in; the kernel's own table of sockets must list
   each listener. What fails here is ERROR.
2. *The end of flight.* The barrier (`kernel/barrier.py`) says when every packet was delivered or dropped, and
   `kernel/neighbours.py` when none waits for a neighbour.
3. *A second round.* Every pair that was silent is asked again; one that answers now was lost before, and is
   ERROR: it flaps.
4. *Conservation.* Over that second round, packets are conserved: each silent probe must be matched by one
   packet that a dropping rule, a DROP policy or a kernel check has counted (`kernel/tally.py`), while nothing
   is counted when we are idle. If the sums agree, all are FILTERED. If not, the batch is halved and each half
   asked and counted by itself, down to single pairs. There a place must count a drop each time that the pair
   is asked, and none in between. A pair for which nothing was counted is ERROR: its packet vanished.

What answers (REJECT, a missing route) may be counted twice, when its answer is dropped too, and so make up
for a packet that vanished: where such a place moved, the sum of a batch proves nothing and it is halved.

Negative answers (refused, prohibited, unreachable) are asked twice as well. Only ARP waits by the clock, a
tenth of a second, for what macvlan hands to a kernel thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from netverify.kernel import neighbours, netlink
from netverify.kernel.barrier import Barrier
from netverify.kernel.bystanders import Bystanders
from netverify.kernel.channel import Channel
from netverify.kernel.engines.arp import ArpEngine
from netverify.kernel.engines.engine import Engine, Listener, Pair, Record, Relay, Source, Target
from netverify.kernel.engines.icmp import IcmpEngine
from netverify.kernel.engines.tcp import TcpEngine
from netverify.kernel.engines.udp import UdpEngine
from netverify.kernel.firewall import Filter, RuleBook
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.resting import Resting
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
PROOFS = 2000  # how often drops may be recounted for one question before the rest is called unproven
ALONE = 3  # how often a single pair is asked that does not add up by itself


@dataclass(frozen=True)
class Prober:
    """Asks questions of a lab: its namespaces, with a netlink channel each, and the filters in them.

    `bystanders` are processes beside our own that pass packets on.
    """

    visitor: Visitor
    channels: Mapping[str, tuple[Namespace, Channel]]
    filters: Sequence[Filter] = ()
    bystanders: Bystanders | None = None

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
        resting = Resting(self.visitor, self.channels)
        with Barrier(self.visitor) as barrier:
            engine: Engine = ENGINES[probe.protocol](
                self.visitor,
                probe,
                pairs,
                listeners,
                relays,
                lambda: self._settle(barrier),
                lambda: self._resolve(barrier, engine, resting),
                nonce or os.urandom(8),
            )
            book = Book(self, probe.version, barrier.cpu)
            try:
                neighbours.forget(self.channels)
                _, channel = next(iter(self.channels.values()))
                before = neighbours.overflows(channel)
                engine.open()
                cells = _Question(self, engine, book, barrier).answer()
                overflows = neighbours.overflows(channel) - before
                return [_with_cause(cell, overflows) for cell in cells] if overflows else cells
            finally:
                engine.close()
                book.close()

    def _settle(self, barrier: Barrier) -> None:
        """Wait until nothing is in flight."""
        if self.bystanders is None:
            barrier.wait()
        else:
            self.bystanders.settle(barrier)

    def _resolve(self, barrier: Barrier, engine: Engine, resting: Resting) -> None:
        """Wait for neighbours; whoever resolved one released the packets behind it on a CPU of its own."""
        idle = resting.but(engine)
        awake = {name: channel for name, channel in self.channels.items() if name not in idle}
        neighbours.settle(self.visitor, awake)
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
        rules = RuleBook(self._prober.filters, self._version).read()
        kernel = self._statistics.read()
        return Tally({**rules.dropped, **kernel.dropped}, {**rules.answered, **kernel.answered}, kernel.lost)

    def close(self) -> None:
        """Close the files behind it."""
        if self._statistics is not None:
            self._statistics.close()


class _Question:
    """One call of `Prober.ask`, from the first round to the last proof."""

    def __init__(self, prober: Prober, engine: Engine, book: Book, barrier: Barrier) -> None:
        self.prober, self.engine, self.book, self.barrier = prober, engine, book, barrier
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
        refused = [number for number in everything if first[number].outcome is not None]
        for again in (unanswered, refused):
            if again:
                self.engine.renew(again)
                self._round(again)
                self._compare(again, first)
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
            background, moved = self._counted(batch)
            still = self._compare(batch, first)
            told = {number: said for number in still if (said := self.engine.silence(number)) is not None}
            self.verdicts |= told
            rest = [number for number in still if number not in told]
            if len(rest) < len(batch):
                if rest:
                    waiting.append(rest)
            elif not background.total and moved.accounts_for(len(batch)):
                self.verdicts |= dict.fromkeys(batch, (Outcome.FILTERED, _dropped_where(moved)))
            elif len(batch) == 1:
                self._prove_alone(batch[0], first, [moved])
            else:
                middle = len(batch) // 2
                waiting += [batch[:middle], batch[middle:]]

    def _prove_alone(self, number: int, first: Sequence[Record], found: list[Tally]) -> None:
        """A single pair that does not add up to one drop: some place must count a drop each time it is asked,
        and none in between.
        """
        idle: set[str] = set()
        for _ in range(ALONE - 1):
            background, moved = self._counted([number])
            idle |= set(background.places)
            found.append(moved)
            if not self._compare([number], first):
                return
        each_time = set.intersection(*(set(moved.places) for moved in found)) - idle
        if not each_time or any(moved.lost for moved in found):
            self.verdicts[number] = (Outcome.ERROR, _vanished(found[-1], idle))
        else:
            kept = {place: 1 for place in found[-1].places if place in each_time}
            self.verdicts[number] = (Outcome.FILTERED, _dropped_where(Tally(kept)))

    def _counted(self, numbers: Sequence[int]) -> tuple[Tally, Tally]:
        """What is dropped, everywhere in the lab, while we are idle, and while `numbers` are asked again."""
        self.proofs += 1
        quiet = self.book.read()
        self.barrier.wait()
        before = self.book.read()
        self.engine.renew(numbers)
        self._round(numbers)
        return before.since(quiet), self.book.read().since(before)

    def _route_says(self, pair: Pair, error: int | None) -> bool:
        """Whether the sender's route to the target is one that refuses with this error."""
        _, channel = self.prober.channels[pair.source.namespace.name]
        return channel.refusal(netlink.find_route(pair.target.address)) == error

    def _cell(self, number: int, first: Record, unheard: Mapping[str, str]) -> Cell:
        pair = self.engine.pairs[number]
        outcome, detail = self._verdict(number, first, unheard)
        seen, receiver, replied = first.seen, first.receiver, first.replied
        return Cell(pair.source.name, pair.target.name, outcome, seen, receiver, replied, detail)

    def _verdict(self, number: int, first: Record, unheard: Mapping[str, str]) -> tuple[Outcome, str]:
        pair = self.engine.pairs[number]
        owner = _owner(pair, self.engine.probe)
        for name in (pair.source.namespace.name, owner or "", first.receiver or ""):
            if broken := self.engine.broken.get(name) or unheard.get(name):
                return Outcome.ERROR, broken
        if first.replied and first.outcome is not None:
            return Outcome.ERROR, f"both answered and refused: {first.detail}"
        if number in self.verdicts:
            return self.verdicts[number]
        if owner is None and first.receiver is None and (faults := {**unheard, **self.engine.broken}):
            # Nobody knows whom NAT would have led to: any of ours that is not in order may be the one.
            return Outcome.ERROR, "; ".join(faults.values())
        if first.errno in ROUTE_ERRORS and not self._route_says(pair, first.errno):
            return Outcome.ERROR, f"send failed: {os.strerror(first.errno or 0)}"
        if first.outcome is Outcome.REFUSED and owner in self.listening:
            # An answer that claims that nobody listens, where somebody does, comes from a filter.
            detail = f"{first.detail}, although a listener is there: a filter answers in its place"
            return Outcome.PROHIBITED, detail
        return first.outcome or Outcome.DELIVERED, first.detail


def _owner(pair: Pair, probe: Probe) -> str | None:
    """The namespace that should hold the listener; a loopback address never leaves its sender's."""
    if pair.target.address.is_loopback:
        return pair.source.namespace.name if pair.target.port in (None, probe.port) else None
    return pair.target.owner


# What sendto(2) says for a blackhole and a prohibit route; and for much else, so the route is looked up.
ROUTE_ERRORS = (errno.EINVAL, errno.EACCES)


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


def _vanished(moved: Tally, background: set[str]) -> str:
    """Why a silence is an error."""
    if background:
        return f"ambiguous: other traffic is dropped at {'; '.join(sorted(background))} at the same time"
    if moved.lost:
        return "lost, not filtered: " + "; ".join(f"{place} [{count}]" for place, count in moved.lost.items())
    return "vanished: it was sent, did not arrive, and no rule, policy or kernel check counted a drop"
