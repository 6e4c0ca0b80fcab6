"""A twin of a host: what is known of it, rebuilt in a lab, to be asked what the model was asked.

    with twin_of(subject) as twin:
        cells = twin.ask(tcp(80), [("lan", "web", address)])

The host itself is never touched: a twin lives in namespaces of this process alone, which must be in a sandbox
(`sandbox.enter`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from netverify.kernel.lab import Lab
from netverify.kernel.twin import NotTwinned, other_backends, realise
from netverify.kernel.twin_matrix import ask_twin
from netverify.kernel.twin_send import Landed, Shot, send_one
from netverify.model.matrix import Reach
from netverify.model.subject import Subject
from netverify.model.twinned import Twinned
from netverify.reachability.probe import Cell, Probe
from netverify.topology.model import Address

REBUILT = frozenset({"", "veth", "bridge", "bond", "team", "vlan", "dummy", "macvlan"})
"""The kinds of devices that a twin has: as they are, or as another Ethernet device of the same name.

What stands for a bond, a VLAN or a card is a cable of its own: what rules can tell by a device is the same.
"""


class Twin:
    """A lab that stands for a host. Made by `twin_of`.

    `not_twinned` is what could not be rebuilt, `notes` what is done in another way than on the host,
    `seconds` how long building took.
    """

    def __init__(
        self,
        lab: Lab,
        subject: Subject,
        not_twinned: Sequence[NotTwinned],
        notes: Sequence[str],
        seconds: float,
    ) -> None:
        self.lab, self.subject = lab, subject
        self.not_twinned = tuple(not_twinned)
        self.notes = tuple(notes)
        self.seconds = seconds
        stack = subject.world.stacks.get(subject.host)
        self._routing = None if stack is None else stack.routing
        self._known: dict[tuple[str, Address | None], frozenset[tuple[str, str]]] = {}

    def ask(self, probe: Probe, pairs: Sequence[tuple[str, str, Address]]) -> list[Cell | None]:
        """One cell for each (source, target, address), in order; None for a pair that is not twinned."""
        wanted = [pair for pair in pairs if self.lacking(pair[0], pair[2]) is None]
        cells = iter(ask_twin(self.lab, self.subject, probe, wanted))
        return [next(cells) if self.lacking(pair[0], pair[2]) is None else None for pair in pairs]

    def send(
        self,
        source: str,
        address: Address,
        probe: Probe,
        *,
        source_address: Address | None = None,
        sport: int | None = None,
        device: str | None = None,
        gateway: Address | None = None,
    ) -> Landed | None:
        """One packet from somebody's namespace; None where the twin lacks what it may depend on.

        `source_address` and `sport` are what the packet claims to be from. It leaves by `device` of the
        sender, in a frame for whoever has the address `gateway` there; with neither, the sender's kernel
        routes it. Raises InputError where the sender has no such device, or no address to send from.
        """
        if self.lacking(source, address) is not None:
            return None
        shot = Shot(self.subject.endpoint(source).node, source_address, sport, device, gateway)
        return send_one(self.lab, self.subject, shot, address, probe)

    def confirm(self, reach: Reach) -> Twinned:
        """Ask everything that the model was asked."""
        began = time.monotonic()
        pairs = [(pair.cell.source, pair.cell.target, pair.address) for pair in reach.pairs]
        cells = tuple(self.ask(reach.matrix.probe, pairs))
        said = tuple(map(str, self.not_twinned))
        return Twinned(reach, cells, said, self.notes, self.seconds, time.monotonic() - began)

    def lacking(self, source: str, address: Address) -> NotTwinned | None:
        """What the twin lacks that a packet from somebody to an address, or its answer, may depend on.

        Where the host itself lacks something (its rules, say), that is every packet.
        """
        if not self.not_twinned:
            return None
        node = self.subject.endpoint(source).node
        sender = self.subject.endpoint(source).address(address.version)
        places = self._places(node, sender) | self._places(self.subject.owner(address) or "", address)
        return next((each for each in self.not_twinned if _concerns(each, self.subject, places)), None)

    def _places(self, node: str, address: Address | None) -> frozenset[tuple[str, str]]:
        """A namespace with its devices, and the device of the host by which one gets there.

        Of the host itself no device: that by which others come to it is theirs.
        """
        key = (node, address)
        if key not in self._known:
            subject = self.subject
            found = {(node, "")}
            if node != subject.host:
                own = (view for view in subject.views if view.name == node)
                found |= {(node, link.name) for view in own for link in view.links}
                found |= {(subject.host, s.device) for s in subject.strangers if s.name == node}
                if address is not None and self._routing is not None:
                    decision = self._routing.lookup(address.version, int(address))
                    found |= {(subject.host, decision.device)} if decision.device else set()
            self._known[key] = frozenset(found)
        return self._known[key]


def _concerns(lack: NotTwinned, subject: Subject, places: frozenset[tuple[str, str]]) -> bool:
    if lack.device:
        return (lack.node, lack.device) in places
    return lack.node == subject.host or (lack.node, "") in places


@contextmanager
def twin_of(subject: Subject) -> Iterator[Twin]:
    """A twin of whatever is known, for as long as the `with` block runs.

    Raises SandboxError outside of a sandbox, and KernelError where the kernel refuses what every kernel
    should have.
    """
    began = time.monotonic()
    with Lab() as lab:
        missing = list(realise(lab, subject.world))
        known = {(each.node, each.device) for each in missing}
        missing += (each for each in _strange_devices(subject) if (each.node, each.device) not in known)
        notes = other_backends(subject.world)
        yield Twin(lab, subject, missing, notes, time.monotonic() - began)


def _strange_devices(subject: Subject) -> Iterator[NotTwinned]:
    """The devices for which something else stands in the twin that does not do what they do."""
    for (node, device), kind in subject.kinds.items():
        if kind not in REBUILT and device != "lo":
            why = f"{kind} devices are not rebuilt; a plain cable stands in its place"
            yield NotTwinned(node, f"device {device}", why, device)
