"""Neighbour discovery for sets of packets: which of them get to their next hop.

Questions for neighbours are packets of their own, and what becomes of them hangs on little of the packets
that wait: on whether their source is an address of the asking device (`discovery`), and on the unknowns that
rules ask. So questions are followed one by one, and the sets are cut by what their fate hangs on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address

from netverify.dataplane.condition import Unknown, all_of, equals, negated_if
from netverify.dataplane.discovery import Discovered, Neighbour, link_local
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.explore import Exploration, explore
from netverify.dataplane.packet import Address
from netverify.dataplane.pieces import Lens, Piece
from netverify.dataplane.wires import Way
from netverify.dataplane.world import World

MOST_RUNS = 512
"""So many values of unknowns are tried for one question."""


@dataclass(frozen=True)
class _Asked:
    """A question: who asks, by which device, for whom, and the way to who has the address."""

    host: str
    device: str
    way: Way
    neighbour: IPv6Address

    def back(self, source: IPv6Address) -> _Asked:
        """The question of who was asked for who asked."""
        return _Asked(self.way.host, self.way.device, self.way.back(self.host, self.device), source)


class DiscoverySets:
    """Neighbour discovery in one world, for the packets of one `PacketSets`."""

    def __init__(self, world: World, lens: Lens) -> None:
        self._world, self._lens = world, lens
        self._cases = cache(self._explored)

    def parts(
        self, host: str, device: str, way: Way, neighbour: Address, piece: Piece, known: frozenset[Neighbour]
    ) -> Iterator[tuple[Piece, Discovered]]:
        """The packets of a piece that a device sends to a neighbour, by what comes of asking for it.

        `known` are the neighbours that hosts have learned of already. What is learned is told where it makes
        a difference: where asking for the same would fail. Raises DataplaneError where a question meets more
        unknowns than can be tried.
        """
        asks = isinstance(neighbour, IPv6Address) and self._world.stacks[host].view.link(device).asks
        if not isinstance(neighbour, IPv6Address) or not asks or (host, device, neighbour) in known:
            yield piece, Discovered()
            return
        asked = _Asked(host, device, way, neighbour)
        if self._world.discovery.is_open(host, way):
            yield piece, Discovered()
            return
        by_source = list(self._by_source(asked, piece))
        if all(self._is_plain(asked, source) for source, _part in by_source):
            yield piece, Discovered()
            return
        sets = self._lens.sets
        for source, part in by_source:
            for case in self._cases(asked, source).cases:
                condition = all_of([negated_if(Unknown(name), not value) for name, value in case.assumed])
                cut = part.cut(sets.satisfying(condition))
                if cut.packets.satisfiable():
                    yield cut, case.found

    def _by_source(self, asked: _Asked, piece: Piece) -> Iterator[tuple[IPv6Address, Piece]]:
        """The parts of a piece by the address from which the host asks for them."""
        link, left = self._world.stacks[asked.host].view.link(asked.device), piece
        for own in link.addresses:
            if isinstance(own.ip, IPv6Address):
                part = left.cut(self._lens.holding(left, equals("source", int(own.ip))))
                if part.packets.satisfiable():
                    left = left.cut(~part.packets)
                    yield own.ip, part
        if left.packets.satisfiable():
            yield link_local(link), left

    def _explored(self, asked: _Asked, source: IPv6Address) -> Exploration[Discovered]:
        def run(assume: Mapping[str, bool]) -> Discovered:
            return self._world.discovery.ask(
                asked.host, asked.device, asked.way, asked.neighbour, source, assume
            )

        found = explore(
            run, lambda one: one.assumed, lambda one: (one.failed is None, one.learned), most=MOST_RUNS
        )
        if not found.complete:
            raise DataplaneError(
                f"neighbour discovery of {asked.neighbour} by {asked.host} hangs on too many unknowns: "
                f"{', '.join(found.unknowns[:3])} and others"
            )
        return found

    def _is_plain(self, asked: _Asked, source: IPv6Address) -> bool:
        """Whether asking gets there whatever the unknowns say, and so does asking back."""
        back = asked.back(source)
        ends = (asked, source), (back, asked.neighbour), (back, self._link_local(back))
        return all(
            found.is_certain and found.usual.failed is None for found in (self._cases(*end) for end in ends)
        )

    def _link_local(self, asked: _Asked) -> IPv6Address:
        return link_local(self._world.stacks[asked.host].view.link(asked.device))
