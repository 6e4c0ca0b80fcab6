"""What can come to each of the kernel's own chains on a host, by its devices, addresses and routes alone.

A rule may ask for what never comes: a bridge's port as the device of a routed packet, one of the host's own
addresses in FORWARD, an established connection in the nat table. The sets here hold every packet that the
kernel could lead to a chain, forged sources included, and leave out only what it never does:

* a packet comes in by a device that is up and no bridge's port (br_handle_frame, net/bridge/br_input.c: what
  comes in by a port is the bridge's from then on);
* INPUT sees what routing calls the host's own, FORWARD what some table routes onward, by that route's device
  (net/ipv4/route.c, net/ipv6/route.c). Rules of routing may ask any table, so all tables are united;
* with br_netfilter, FORWARD also sees frames from port to port, as from the bridge to the bridge. A frame for
  an address of the host's own is addressed to the bridge itself, so that it is not among them;
* multicast may be delivered, and forwarded by any device: who routes it is not among the facts;
* lo brings only what was sent to lo, which is delivered and never forwarded;
* the nat table is asked for the packets that begin a connection, and for those that conntrack expects
  (net/netfilter/nf_nat_core.c, nf_nat_inet_fn);
* in raw, conntrack has not been asked, but for what came back by lo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from itertools import groupby

from netverify.dataplane.condition import AnyOf, Condition, Named, all_of, equals
from netverify.dataplane.matches import in_networks
from netverify.dataplane.packet import State
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.starts import Start
from netverify.dataplane.view import LEGACY, LOCAL, LOOPBACK, HostView, Link, Network, Route
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

_MULTICAST: dict[int, Network] = {4: IPv4Network("224.0.0.0/4"), 6: IPv6Network("ff00::/8")}
_LINK_LOCAL: dict[int, tuple[Network, ...]] = {4: (), 6: (IPv6Network("fe80::/10"),)}
"""Every device has a link-local address, which nobody writes down (RFC 4291, section 2.8)."""


@dataclass
class Arrivals:
    """The packets that can come to the chains of one host, in the sets of `sets`.

    With `lenient`, what may not have been written down is taken to be there: forwarding is on, and without
    any route of the IP version every destination is routed by every device.
    """

    view: HostView
    sets: PacketSets
    lenient: bool = False

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, str], Set] = {}
        view, version = self.view, self.sets.version
        ups = [link for link in view.links if link.up and link.master is None]
        self.addresses = self._satisfying(_within("destination", *_of_kind(view, version, "local")))
        broadcasts = self._satisfying(_within("destination", *_of_kind(view, version, "broadcast")))
        self.own = self.addresses | broadcasts
        self.multicast = self._satisfying(_within("destination", _MULTICAST[version]))
        self._link_local = self._satisfying(_within("destination", *_LINK_LOCAL[version]))
        self._comes_in = self._satisfying(_devices("in_interface", ups))
        self._goes_out = self._satisfying(_devices("out_interface", ups))
        self._routed = self._routed_onward()

    def at(self, table: str, chain: str) -> Set:
        """Every packet that can come to a chain of the kernel's own, in one of its tables."""
        key = (table, chain)
        if key not in self._known:
            self._known[key] = self._hook(chain) & self._tracked(table, chain)
        return self._known[key]

    def starting(self, table: str, start: Start) -> Set:
        """The same by where a chain starts. Before native chains, conntrack may have been asked or not."""
        plain = table.removeprefix(LEGACY)
        known = plain if plain in BUILTIN_CHAINS else "nat" if start.first_only else ""
        return self.at(known, start.hook)

    def _hook(self, chain: str) -> Set:
        sets = self.sets
        base = sets.entering(chain)
        if chain == "PREROUTING":
            return base & self._comes_in
        if chain == "INPUT":
            return base & self._comes_in & (self.own | self.multicast | self._link_local)
        forwarded = sets.entering("FORWARD") & ((self._routed & self._forwards()) | self._bridged())
        if chain == "FORWARD":
            return forwarded
        # A socket may be bound to any device, whatever its destination; for the host's own there is lo alone.
        own = self._goes_out & (~self.addresses | self._satisfying(Named("out_interface", LOOPBACK)))
        if chain == "OUTPUT":
            return base & own
        without_source = sets.satisfying(Named("in_interface", ""))
        return base & (forwarded | ((self._bridged_out() | own) & without_source))

    def _tracked(self, table: str, chain: str) -> Set:
        if table == "nat":
            return self._satisfying(equals("state", State.NEW, State.RELATED))
        if table == "raw" and chain == "PREROUTING":
            fresh = equals("state", State.INVALID)
            return self._satisfying(AnyOf((fresh, Named("in_interface", LOOPBACK))))
        return self.sets.everything

    def _routed_onward(self) -> Set:
        """Destinations with the device of a route to them, over all tables; none of the host's own."""
        version = self.sets.version
        if self.lenient and not any(route.destination.version == version for route in self.view.routes):
            return self.sets.everything & self._goes_out & ~self.own
        made = self.multicast & self._goes_out
        for table in sorted({route.table for route in self.view.routes} - {LOCAL}):
            left = self.sets.everything & ~self.own & ~self._link_local
            for routes in _longest_first(self.view, version, table):
                for route in routes:
                    if route.kind == "unicast":
                        there = left & self._satisfying(_within("destination", route.destination))
                        made = made | (there & self._satisfying(Named("out_interface", route.device or "")))
                taken = _within("destination", *(route.destination for route in routes))
                left = left & ~self._satisfying(taken)
        return made

    def _forwards(self) -> Set:
        devices = [
            link
            for link in self.view.links
            if link.up
            and link.master is None
            and link.name != LOOPBACK
            and (self.lenient or self.view.forwards(self.sets.version, link.name))
        ]
        return self._satisfying(_devices("in_interface", devices))

    def _bridges(self) -> list[str]:
        if not self.view.bridge_calls_filter(self.sets.version):
            return []
        return [link.name for link in self.view.links if link.is_bridge and link.up]

    def _bridged(self) -> Set:
        both = (
            all_of((Named("in_interface", name), Named("out_interface", name))) for name in self._bridges()
        )
        return self._satisfying(AnyOf(tuple(both))) & ~self.own

    def _bridged_out(self) -> Set:
        names = (Named("out_interface", name) for name in self._bridges())
        return self._satisfying(AnyOf(tuple(names))) & ~self.own

    def _satisfying(self, condition: Condition) -> Set:
        return self.sets.satisfying(condition)


def _devices(field: str, links: list[Link]) -> Condition:
    return AnyOf(tuple(Named(field, link.name) for link in links))


def _within(field: str, *networks: Network) -> Condition:
    return in_networks(field, networks)


def _of_kind(view: HostView, version: int, kind: str) -> Iterator[Network]:
    """Addresses that are local, or broadcast: by the host's devices, or by a route of that kind."""
    if kind == "local":
        yield from view.local_networks(version)
        yield from view.anycasts() if version == 6 else ()
    elif version == 4:
        yield from view.broadcasts()
    for route in view.routes:
        if route.kind == kind and route.destination.version == version:
            yield route.destination


def _longest_first(view: HostView, version: int, table: int) -> Iterator[list[Route]]:
    """The routes of a table that count, those of one prefix length together."""
    routes = [
        route
        for route in view.routes
        if route.table == table
        and route.destination.version == version
        and (route.device is None or route.kind != "unicast" or view.link(route.device).up)
    ]
    routes.sort(key=lambda route: -route.destination.prefixlen)
    for _length, together in groupby(routes, key=lambda route: route.destination.prefixlen):
        yield list(together)
