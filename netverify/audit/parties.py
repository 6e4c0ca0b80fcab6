"""Who can show that packets between two networks get there: containers, or whoever is behind a bridge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netverify.audit.case import Case, Voice, arrives
from netverify.audit.finding import CellReference, Evidence
from netverify.audit.forwarding import Forwarding
from netverify.dataplane.condition import NEVER, All, Condition, Within, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.packet import ICMP, ICMPV6, SYN, TCP, UDP, Packet
from netverify.host.containers import HostNetwork
from netverify.model.questions import Answer
from netverify.reachability.probe import Probe

MOST_CELLS = 12
TRIED = 24
"""Pairs of networks of which a packet is sent, to find one that gets there."""
_PROBES = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmp"}
USUAL_SPORT = 40000


def familiar(case: Case, sources: Iterable[str], targets: Iterable[str], version: int) -> list[Condition]:
    """What to prefer in an example: addresses that somebody has, and a connection to a named port."""
    found: list[Condition] = []
    for name, bridges, who in (("source", sources, case.voices), ("destination", targets, case.containers)):
        own = [voice for bridge in bridges for voice in who(bridge, version)]
        if own:
            found.append(addressed(name, own))
    return [*found, *CONNECTION]


def to_containers(case: Case, bridges: Iterable[str], version: int) -> Condition:
    """What is addressed to a container that is there: nobody else on its network receives anything."""
    return addressed("destination", [v for bridge in bridges for v in case.containers(bridge, version)])


def addressed(name: str, own: Iterable[Voice]) -> Condition:
    """A field is one of their addresses."""
    numbers = sorted({int(voice.address) for voice in own})
    return Within(name, tuple((number, number) for number in numbers)) if numbers else NEVER


CONNECTION: tuple[Condition, ...] = (
    All((equals("protocol", TCP), equals("tcp_flags", SYN))),
    equals("fragment", 0),
    equals("dport", 80),
    equals("sport", USUAL_SPORT),
)


def asked(case: Case, packet: Packet, source: str, version: int) -> Answer | None:
    """What comes of a packet that somebody behind a device sends; None if nobody can be asked to send it."""
    protocol = _PROBES.get(packet.protocol)
    port = packet.dport if protocol in ("tcp", "udp") else None
    known = case.voices(source, version)
    if protocol is None or port == 0 or not known:
        return None
    sender, names = packet.source_address, {each.name for each in case.snapshot.containers}
    own = [voice for voice in known if voice.address == sender]
    forging = [voice for voice in known if voice.name in names][: 0 if own else 1]
    others = [voice for voice in known if voice.name not in names][:1]
    sport = packet.sport if port is not None and packet.sport != USUAL_SPORT else None
    found = None
    for voice in (*own, *forging, *others):
        found = case.ask(
            voice.name,
            packet.destination_address,
            Probe(protocol, port, version),
            source_address=None if voice.address == sender else sender,
            sport=sport,
        )
        if found.exchange is not None:  # a container without a route cannot send; others may who come later
            break
    return found


@dataclass(frozen=True)
class Passage:
    """Between which networks the packets of a set go, and one that gets there; None where none does."""

    pairs: tuple[tuple[str, str], ...]
    cells: tuple[CellReference, ...]
    evidence: Evidence | None
    answer: Answer | None

    @classmethod
    def of(
        cls,
        case: Case,
        forwarding: Forwarding,
        packets: Set,
        *,
        most: int = MOST_CELLS,
        prefer: Sequence[Condition] = (),
    ) -> Passage:
        """With at most so many cells; `prefer` comes before what is familiar."""
        pairs = tuple(forwarding.pairs(packets))
        cells: list[CellReference] = []
        first: Answer | None = None
        for source, target in pairs[:TRIED]:
            if len(cells) == most:
                break
            answer = _sample(case, forwarding, packets, (source, target), prefer)
            if answer is not None and arrives(answer):
                first = first or answer
                cells.append(case.cell(answer, named(answer)))
        return cls(pairs, tuple(cells), None if first is None else case.evidence(first), first)

    def words(self, case: Case) -> str:
        """Which networks reach which."""
        sources, targets = (list(dict.fromkeys(ends)) for ends in zip(*self.pairs, strict=True))
        verb = "reaches" if len(sources) == 1 else "reach"
        return f"{_listed(case, sources)} {verb} {_listed(case, targets)}"


def network_name(case: Case, device: str) -> str:
    """What the engine calls the network of a bridge; other devices by their own name."""
    network: HostNetwork | None = case.bridges.get(device)
    return device if network is None else network.name


def _listed(case: Case, devices: Sequence[str]) -> str:
    names = [network_name(case, device) for device in devices]
    if len(names) > 3:
        return f"{len(names)} {'networks' if all(each in case.bridges for each in devices) else 'devices'}"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _sample(
    case: Case, forwarding: Forwarding, packets: Set, pair: tuple[str, str], prefer: Sequence[Condition]
) -> Answer | None:
    version, (source, target) = forwarding.version, pair
    some = forwarding.between(packets, [source], [target])
    packet = forwarding.example(some, [*prefer, *familiar(case, [source], [target], version)])
    return None if packet is None else asked(case, packet, source, version)


def named(answer: Answer) -> str:
    """Who has the address that an answer is about."""
    node = answer.subject.owner(answer.address)
    found = (each.name for each in answer.subject.endpoints if each.node == node)
    return next(found, str(answer.address))


def written_again(case: Case, version: int) -> str:
    """What makes the engine write its rules for an IP version."""
    if version == 6 and not case.host.ipv6.tables:
        return '# in /etc/docker/daemon.json: "ip6tables": true (and "experimental": true before 27.0)'
    return "systemctl restart docker  # writes its rules again"
