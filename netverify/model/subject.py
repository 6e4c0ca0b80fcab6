"""What questions are asked about, wherever its facts came from: hosts, wires, and whom one can name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property

from netverify.dataplane.packet import Address
from netverify.dataplane.routing import Routing
from netverify.dataplane.view import HostView
from netverify.dataplane.world import Wire, World
from netverify.model.errors import QuestionError
from netverify.model.strangers import Stranger, attach
from netverify.reachability.text import printable


@dataclass(frozen=True)
class Lack:
    """A fact about a namespace that nobody has: which part of a snapshot, why, and for which IP versions."""

    part: str
    reason: str
    versions: tuple[int, ...] = (4, 6)

    def __str__(self) -> str:
        return f"{self.part}: {self.reason}"


@dataclass(frozen=True)
class Endpoint:
    """Somebody who sends and receives: a name, the namespace, its addresses, the preferred ones first.

    `shown` says whether it is a row and a column of a matrix when nobody chooses.
    """

    name: str
    node: str
    addresses: tuple[Address, ...] = ()
    shown: bool = True

    def address(self, version: int) -> Address | None:
        """Where others send to."""
        return next((address for address in self.addresses if address.version == version), None)


def has_rules(view: HostView) -> bool:
    """Whether a namespace has a packet filter."""
    return bool(view.ipv4.tables or view.ipv6.tables or view.nft.tables or view.legacy)


@dataclass(frozen=True)
class Subject:
    """A lab, a snapshot of a host, or a bare ruleset.

    `strangers` are neighbours of `host` that stand for whoever is there; behind the devices in `open` anybody
    may be, so that an address which nobody has is taken to be there. `lacks` says by namespace what was not
    collected; `notes` what was assumed. `is_bare` says that it was rules alone, and all else is assumed.
    `kinds` are those of devices (as `ip link add type KIND` has them) by namespace and name, where known;
    `offers` are the ports that somebody is known to serve: namespace, protocol, number.
    """

    title: str
    views: tuple[HostView, ...]
    wires: tuple[Wire, ...]
    endpoints: tuple[Endpoint, ...]
    host: str = ""
    strangers: tuple[Stranger, ...] = ()
    open: frozenset[str] = frozenset()
    lacks: Mapping[str, tuple[Lack, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_bare: bool = False
    kinds: Mapping[tuple[str, str], str] = field(default_factory=dict)
    offers: tuple[tuple[str, str, int], ...] = ()

    @cached_property
    def world(self) -> World:
        """Everybody, ready to be asked."""
        views, wires = list(self.views), self.wires
        if self.strangers:
            position = next(index for index, view in enumerate(views) if view.name == self.host)
            views[position], wires = attach(views[position], self.strangers, wires)
            views += (stranger.view() for stranger in self.strangers)
        return World(views, wires)

    @cached_property
    def filtering(self) -> tuple[HostView, ...]:
        """The namespaces that have rules, or of which it is not known."""
        return tuple(view for view in self.views if has_rules(view) or view.name in self.lacks)

    def endpoint(self, name: str) -> Endpoint:
        """Whom a name means. Raises QuestionError with the names that there are."""
        for endpoint in self.endpoints:
            if endpoint.name == name:
                return endpoint
        raise QuestionError(self._unheard(name))

    def versions(self) -> tuple[int, ...]:
        """The IP versions in which somebody can be asked."""
        return tuple(v for v in (4, 6) if any(endpoint.address(v) for endpoint in self.endpoints))

    def owner(self, address: Address) -> str | None:
        """The namespace that has an address; None where nobody has it."""
        own = (view for view in self.views if address in view.local_addresses)
        found = next(own, None)
        if found is not None:
            return found.name
        for stranger in self.strangers:
            if any(each.ip == address for each in stranger.addresses):
                return stranger.name
        return None

    def reaching(self, address: Address) -> Subject:
        """The same with a stranger who has that address, if nobody has it and somebody may."""
        if self.owner(address) is not None or not self.host:
            return self
        view = next(view for view in self.views if view.name == self.host)
        decision = Routing(view).lookup(address.version, int(address))
        if decision.kind != "unicast" or decision.device not in self.open:
            return self
        behind = [stranger for stranger in self.strangers if stranger.device == decision.device]
        hop = decision.next_hop
        holding = [s for s in behind if hop != address and any(own.ip == hop for own in s.addresses)]
        if holding or behind:
            return self.with_address((holding or behind)[0].name, address)
        return self

    def with_address(self, stranger: str, address: Address) -> Subject:
        """The same with one more address of a stranger, which it sends from from now on."""
        moved = tuple(each.also(address) if each.name == stranger else each for each in self.strangers)
        return replace(self, strangers=moved)

    def misleading(self, stranger: str) -> Subject:
        """The same with a stranger on the host's link who sends it what is for 127.0.0.1."""
        view = next(view for view in self.views if view.name == self.host)
        device = next(each.device for each in self.strangers if each.name == stranger)
        gateway = next(own.ip for own in view.link(device).addresses if own.version == 4)
        moved = (
            replace(each, loopback_by=gateway) if each.name == stranger else each for each in self.strangers
        )
        return replace(self, strangers=tuple(moved))

    def is_stranger(self, node: str) -> bool:
        """Whether a namespace stands for whoever is there."""
        return any(stranger.name == node for stranger in self.strangers)

    def lacking(self, nodes: Iterable[str], version: int) -> tuple[Lack, ...]:
        """What is not known of these namespaces and matters for an IP version."""
        found = (lack for node in dict.fromkeys(nodes) for lack in self.lacks.get(node, ()))
        return tuple(dict.fromkeys(lack for lack in found if version in lack.versions))

    def _unheard(self, name: str) -> str:
        known = [endpoint.name for endpoint in self.endpoints]
        listed = ", ".join(map(printable, known[:30])) + (", ..." if len(known) > 30 else "")
        near = get_close_matches(name[:80], known, n=1, cutoff=0.6)
        guess = f" (did you mean {printable(near[0])}?)" if near else ""
        shown = printable(name if len(name) <= 60 else name[:57] + "...")
        return f"nobody is called '{shown}' in {printable(self.title)}{guess}; there are {listed or 'none'}"
