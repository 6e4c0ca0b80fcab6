"""What comes to a host's chains when nobody forges: every sender uses its own address, and connections begin.

The set of packets that a change of rules concerns may hold only such as nobody in a topology sends: from a
container to its own address over the bridge, in a connection between two bridges that no rule lets begin.
This is the whole way of a new connection for all packets at once (PREROUTING with its translation, routing,
FORWARD, POSTROUTING), so that such a set can be shown to stay out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.condition import (
    AnyOf,
    Condition,
    Masked,
    Named,
    Not,
    all_of,
    equals,
)
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import State
from netverify.dataplane.program import Program
from netverify.dataplane.rewrite import Bits
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Nat, Verdict
from netverify.dataplane.view import LOOPBACK, HostView, Link

NEW = equals("state", State.NEW)
BEGUN = equals("state", State.ESTABLISHED, State.RELATED)
LOOP = Masked("destination", 127 << 24, 255 << 24)
ALL_BITS = 0xFFFFFFFF


@dataclass(frozen=True)
class Senders:
    """Who stands behind each device of a host: on a bridge its subnet, on another card everybody else.

    `addresses` are those of single parties; what they send to themselves never leaves them. Who stands on a
    bridge sends nothing to 127.0.0.0/8 there; of the others one might.
    """

    view: HostView
    addresses: tuple[int, ...]

    def condition(self) -> Condition:
        """Sources that fit the device by which a packet comes in."""
        bridges = [link for link in self.view.links if link.is_bridge]
        inside = {link.name: _subnets(link) for link in bridges}
        own = AnyOf(tuple(equals("source", int(ip)) for ip in self.view.local_addresses if ip.version == 4))
        parts = [all_of((Named("in_interface", name), subnet, Not(LOOP))) for name, subnet in inside.items()]
        outside = Not(AnyOf(tuple(inside.values())))
        parts += [
            all_of((Named("in_interface", link.name), outside))
            for link in self.view.links
            if link.master is None and link.name not in (*inside, LOOPBACK)
        ]
        to_self = AnyOf(
            tuple(all_of((equals("source", ip), equals("destination", ip))) for ip in self.addresses)
        )
        return all_of((AnyOf(tuple(parts)), Not(own), Not(to_self)))


def _subnets(link: Link) -> Condition:
    networks = (address.network for address in link.addresses if address.version == 4)
    return AnyOf(tuple(Masked("source", int(n.network_address), int(n.netmask)) for n in networks))


class Honest:
    """The packets that come to each chain under one ruleset."""

    def __init__(self, program: Program, sets: PacketSets, senders: Senders) -> None:
        self.program, self.sets, self.view = program, sets, senders.view
        self.arrivals = Arrivals(senders.view, sets)
        self._run = Evaluator(program, sets)
        self.devices = [name for name in sets.devices if name and self.view.has_link(name)]
        coming = self.arrivals.at("nat", "PREROUTING") & sets.satisfying(all_of((senders.condition(), NEW)))
        self._forwarded = self._forward(self._translated(coming))
        accepted = self._run.run("filter", "FORWARD", self._forwarded).get(Verdict.ACCEPT, sets.nothing)
        self.at: Mapping[tuple[str, str], Set] = {
            ("nat", "PREROUTING"): coming,
            ("filter", "FORWARD"): self._forwarded | self._begun(accepted),
            ("nat", "POSTROUTING"): self._written(accepted, "in_interface", 0) | self._own(),
        }

    def _translated(self, coming: Set) -> Set:
        """After PREROUTING: as it came, or with the destination that DNAT writes."""
        made = self.sets.nothing
        for ending, packets in self._run.run("nat", "PREROUTING", coming).items():
            if isinstance(ending, Nat):
                if ending.addresses is not None:
                    packets = self._written(packets, "destination", ending.addresses[0])
                if ending.ports is not None:
                    packets = self._written(packets, "dport", ending.ports[0])
            made = made | packets
        return made

    def _forward(self, packets: Set) -> Set:
        """Each by the device that routing, or a bridge, chooses."""
        made = self.sets.nothing
        for name in self.devices:
            made = made | self._written(packets, "out_interface", self.sets.devices.index(name))
        return made & self.arrivals.at("filter", "FORWARD")

    def _begun(self, accepted: Set) -> Set:
        """What belongs to a connection, between devices between which some can begin."""
        made = self.sets.nothing
        for source in self.devices:
            for target in self.devices:
                if not self.sets.is_empty(accepted & self._between(source, target)):
                    made = made | self._between(source, target) | self._between(target, source)
        return made & self.sets.satisfying(BEGUN) & self.arrivals.at("filter", "FORWARD")

    def _between(self, source: str, target: str) -> Set:
        names = Named("in_interface", source), Named("out_interface", target)
        return self.sets.satisfying(all_of(names))

    def _own(self) -> Set:
        """What the host's sockets send, but for those that carry their device's address.

        They carry it unless they send to the host itself, over lo; MASQUERADE would write what is there.
        """
        own = AnyOf(tuple(equals("source", int(ip)) for ip in self.view.local_addresses if ip.version == 4))
        over_lo = all_of((Named("in_interface", ""), Named("out_interface", LOOPBACK), own, NEW))
        return self.sets.everything & self.sets.satisfying(over_lo)

    def _written(self, packets: Set, field: str, value: int) -> Set:
        return self.sets.rewritten(packets, Bits(field, ALL_BITS, value))


def noticed(old: Program, new: Program, sets: PacketSets, senders: Senders) -> Iterator[tuple[str, str]]:
    """The chains in which some packet that comes, under either ruleset, has another fate in the new one."""
    ways = Honest(old, sets, senders), Honest(new, sets, senders)
    runs = Evaluator(old, sets), Evaluator(new, sets)
    for chain in ways[0].at:
        coming = ways[0].at[chain] | ways[1].at[chain]
        before, after = (run.run(*chain, coming) for run in runs)
        if before != after:
            yield chain
