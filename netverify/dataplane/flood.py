"""All packets that a host can send, followed through a world of hosts until they end.

Between hosts a packet goes as `world` says: whoever has the next hop's address on the wire gets it, over all
bridges in between. Here that parts a piece by its next hops. On each host the walk is `host_sets`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from netverify.dataplane.condition import Condition, equals
from netverify.dataplane.discovery import Neighbour
from netverify.dataplane.discovery_sets import DiscoverySets
from netverify.dataplane.ends import End
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.host_sets import HostSets
from netverify.dataplane.matches import in_networks
from netverify.dataplane.outcomes import HOST_UNREACHABLE
from netverify.dataplane.packet import Address
from netverify.dataplane.pieces import Known, Lens, Piece
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.world import MOST_HOPS, Way, World


@dataclass(frozen=True)
class Held:
    """What each host has taken down on the way of some packets: its connections, and its neighbours.

    Of neighbours there are those that it could not learn of by asking.
    """

    connections: Mapping[str, tuple[Known, ...]] = field(default_factory=dict)
    neighbours: frozenset[Neighbour] = frozenset()


@dataclass(frozen=True)
class Arrival:
    """How a piece ended, and on which host; `held` is what hosts have taken down on its way."""

    host: str
    end: End
    held: Held


@dataclass(frozen=True)
class _Travelling:
    """Packets between two hosts: where they are going to, after some hops over bridges."""

    piece: Piece
    way: Way
    hop: int
    held: Held
    hosts: int


class Flood:
    """Walks through one world, for the packets of one `PacketSets`."""

    def __init__(self, world: World, sets: PacketSets) -> None:
        self.world, self.sets, self.lens = world, sets, Lens(sets)
        self._hosts: dict[str, HostSets] = {}
        self._discovery = DiscoverySets(world, self.lens)
        self._neighbours: dict[tuple[str, str], list[tuple[Address, Way]]] = {}
        self._addresses = sorted(
            {
                own
                for stack in world.stacks.values()
                for own in stack.view.local_addresses
                if own.version == sets.version
            },
            key=int,
        )

    def host(self, name: str) -> HostSets:
        """The walk through one host."""
        if name not in self._hosts:
            stack = self.world.stacks[name]
            filters = stack.filters[self.sets.version]
            self._hosts[name] = HostSets(stack.view, filters, self.lens, apart=True)
        return self._hosts[name]

    def send(self, host: str, piece: Piece, held: Held | None = None) -> list[Arrival]:
        """Sockets of a host send the packets of a piece; `held` is what hosts know already."""
        held = held or Held()
        found: list[Arrival] = []
        waiting: list[_Travelling] = []
        self._onward(host, self.host(host).send([_known(piece, host, held)]), held, 0, found, waiting)
        while waiting:
            self._hop(waiting.pop(), found, waiting)
        return found

    def _hop(self, going: _Travelling, found: list[Arrival], waiting: list[_Travelling]) -> None:
        """Over the next bridge, or into the host that the packets go to."""
        way, held, hosts = going.way, going.held, going.hosts + 1
        if going.hop < len(way.hops):
            hop = way.hops[going.hop]
            host = self.host(hop.host)
            ends = host.bridge([_known(going.piece, hop.host, held)], hop.bridge, hop.port, hop.to_port)
            beyond = [end for end in ends if end.fate == "bridged"]
            for end in beyond:
                after = _taken_down(held, hop.host, end.piece)
                waiting.append(replace(going, piece=end.piece, hop=going.hop + 1, held=after))
            others = [end for end in ends if end.fate != "bridged"]
            self._onward(hop.host, others, held, hosts, found, waiting, port=hop.port)
            return
        host, piece = self.host(way.host), _known(going.piece, way.host, held)
        if way.port is None:
            device = self.sets.fixed("in_interface", way.device)
            ends = host.receive([piece.written(in_interface=device)])
        else:
            ends = host.bridge([piece], way.device, way.port, None)
        self._onward(way.host, ends, held, hosts, found, waiting, port=way.port or "")

    def _onward(
        self,
        host: str,
        ends: list[End],
        held: Held,
        hosts: int,
        found: list[Arrival],
        waiting: list[_Travelling],
        *,
        port: str = "",
    ) -> None:
        """What ended on a host ended, and what left it goes on."""
        for end in ends:
            after = _taken_down(held, host, end.piece) if end.fate in ("sent", "delivered") else held
            if end.fate == "redirected":
                self._redirected(host, end, held, hosts, found, waiting, port)
            elif end.fate == "sent" and hosts < MOST_HOPS:
                device = self._device(end.piece)
                for piece, way, learned in self._resolved(host, device, end, after, found):
                    waiting.append(_Travelling(piece, way, 0, learned, hosts))
            else:
                found.append(Arrival(host, end, after))

    def _redirected(
        self,
        host: str,
        end: End,
        held: Held,
        hosts: int,
        found: list[Arrival],
        waiting: list[_Travelling],
        port: str,
    ) -> None:
        """A bridged packet with a new destination goes out by the port behind which that is."""
        bridge = self._device(end.piece, "in_interface")
        view = self.world.stacks[host].view
        for piece, way, learned in self._resolved(host, bridge, end, held, found, answers=False):
            if way.first_port == port and not view.link(port).hairpin:
                reason = f"it would leave {bridge} by the port it came in by, {port}"
                found.append(Arrival(host, End("dropped", piece, reason), learned))
                continue
            for after in self.host(host).bridge_on([piece], bridge, way.first_port):
                if after.fate == "bridged":
                    taken = _taken_down(learned, host, after.piece)
                    waiting.append(_Travelling(after.piece, way, 0, taken, hosts))
                else:
                    found.append(Arrival(host, after, learned))

    def _resolved(
        self, host: str, device: str, end: End, held: Held, found: list[Arrival], *, answers: bool = True
    ) -> Iterator[tuple[Piece, Way, Held]]:
        """The parts of a piece by who gets them; for whom nobody answers, it ends here."""
        left = end.piece
        for neighbour, way in self._who(host, device):
            if left.via not in (None, neighbour):
                continue
            part = left
            if left.via is None:
                there = self.sets.satisfying(equals("destination", int(neighbour)))
                part = left.cut(self.lens.of(left, there))
            if not part.packets.satisfiable():
                continue
            left = left.cut(~part.packets)
            heard = self._discovery.parts(host, device, way, neighbour, part, held.neighbours)
            for piece, said in heard:
                after = replace(held, neighbours=held.neighbours | said.learned)
                if said.failed is None:
                    yield piece, way, after
                else:
                    found.append(
                        self._lost(host, replace(end, piece=piece), said.failed.reason, after, answers)
                    )
        if left.packets.satisfiable():
            reason = f"nobody on {device} answers for {left.via or 'the destination'}"
            found.append(self._lost(host, replace(end, piece=left), reason, held, answers))

    def _lost(self, host: str, end: End, reason: str, held: Held, answers: bool) -> Arrival:
        """What waited for a neighbour in vain."""
        answer = HOST_UNREACHABLE[self.sets.version] if answers else None
        fate = "unreachable" if answers else "dropped"
        return Arrival(host, End(fate, end.piece, reason, answer=answer), held)

    def _who(self, host: str, device: str) -> list[tuple[Address, Way]]:
        """Whoever can be asked for behind a device, and the way there."""
        key = (host, device)
        if key not in self._neighbours:
            ways = ((each, self.world.resolve(host, device, each)) for each in self._addresses)
            self._neighbours[key] = [(each, way) for each, way in ways if way is not None]
        return self._neighbours[key]

    def _device(self, piece: Piece, field: str = "out_interface") -> str:
        code = self.lens.constant(piece, field)
        if code is None:
            raise DataplaneError(f"packets between hosts have more than one {field}")
        return self.sets.devices[code]


def _known(piece: Piece, host: str, held: Held) -> Piece:
    return piece.with_(expected=held.connections.get(host, ()), known=None)


def _taken_down(held: Held, host: str, piece: Piece) -> Held:
    """The connections after a host has confirmed that of a piece."""
    if piece.known is None:
        return held
    before = held.connections.get(host, ())
    others = tuple(each for each in before if each.original != piece.known.original)
    taken = (*others, piece.known.with_(direction=0))
    return replace(held, connections={**held.connections, host: taken})


def own_sources(world: World, host: str, version: int) -> Condition:
    """A packet's source is an address of a host, its loopback network among them."""
    return in_networks("source", world.stacks[host].view.local_networks(version))
