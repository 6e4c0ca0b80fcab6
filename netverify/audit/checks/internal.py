"""Internal networks that others reach, or that reach others: openly, and with a forged source."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.audit.case import Case, Voice
from netverify.audit.finding import Finding, Severity
from netverify.audit.forwarding import Forwarding
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind
from netverify.audit.parties import Passage, addressed, written_again
from netverify.audit.shell import iptables
from netverify.dataplane.condition import Condition, equals
from netverify.dataplane.matches import in_networks
from netverify.dataplane.packet import UDP
from netverify.docker.writer import USER
from netverify.host.containers import HostNetwork

OPEN = Kind(
    "internal-network-open",
    "an internal network is not closed",
    Severity.HIGH,
    "`--internal` promises that a network has no way out and no way in. Here the rules forward its packets: "
    "who got into one of its containers sends out what he finds there, or is reached from elsewhere.",
    PARTS,
)
SPOOFED = Kind(
    "internal-network-spoofed-source",
    "an internal network takes packets with a forged source",
    Severity.LOW,
    "With iptables, Docker tells by source addresses who may send to an internal network, not by the device "
    "that a packet comes in by. Who forges an address of the network, for which Docker's default capability "
    "NET_RAW is enough, sends it datagrams from elsewhere. Answers do not come back.",
    PARTS,
)
_MOST = 4
"""Senders of whom each is shown; one is enough to prove it."""


def opened(case: Case, kind: Kind) -> Iterator[Finding]:
    """What leaves an internal network, and what comes to its containers, sources not forged."""
    for bridge, network, forwarding in _internal(case):
        others, sets = [device for device in case.devices if device != bridge], forwarding.sets
        out = forwarding.between(forwarding.passing, [bridge], others)
        out = out & sets.satisfying(_somebody(case, others, forwarding.version))
        back = forwarding.between(forwarding.passing, others, [bridge])
        back = back & sets.satisfying(_to(case, bridge, forwarding.version))
        back = sets.without(back, sets.satisfying(_inside(network, forwarding.version)))
        for direction, packets in (("outward", out), ("inward", back)):
            left = case.leaves(forwarding.version, packets)
            passage = Passage.of(case, forwarding, packets)
            if passage.answer is None:
                continue
            over = "" if forwarding.version == 4 else " over IPv6"
            by_itself = passage.answer.question.source_address is None
            is_filtered = bool(forwarding.meant.view.ruleset(forwarding.version).tables)
            yield kind.found(
                f"{network.name} over IPv{forwarding.version} {direction}",
                title=f"internal network: {passage.words(case)}{over}{left}",
                severity=kind.severity if by_itself and not (left and is_filtered) else Severity.MEDIUM,
                cells=passage.cells,
                rules=case.deciding(passage.answer),
                evidence=passage.evidence,
                remedy=(
                    written_again(case, forwarding.version),
                    *_closing(case, bridge, forwarding.version),
                ),
            )


def spoofed(case: Case, kind: Kind) -> Iterator[Finding]:
    """What comes to an internal network's containers with a source of that network, from elsewhere."""
    for bridge, network, forwarding in _internal(case):
        others = [device for device in case.devices if device != bridge]
        sets = forwarding.sets
        forged = sets.satisfying(_inside(network, forwarding.version))
        packets = forwarding.between(forwarding.passing, others, [bridge]) & forged
        packets = packets & sets.satisfying(_to(case, bridge, forwarding.version))
        passage = Passage.of(case, forwarding, packets, most=_MOST, prefer=(equals("protocol", UDP),))
        if passage.answer is not None:
            over = "" if forwarding.version == 4 else " over IPv6"
            sender = passage.answer.question.source
            words = f"internal network {network.name} takes packets with a forged source"
            yield kind.found(
                f"{network.name} over IPv{forwarding.version}",
                title=f"{words}, from {sender}{over}",
                cells=passage.cells,
                rules=case.deciding(passage.answer),
                evidence=passage.evidence,
                remedy=_closing(case, bridge, forwarding.version),
            )


def _internal(case: Case) -> Iterator[tuple[str, HostNetwork, Forwarding]]:
    for bridge, network in case.bridges.items():
        for version in case.subject.versions():
            if network.internal and any(subnet.version == version for subnet in network.subnets):
                yield bridge, network, case.forwarding(version)


def _inside(network: HostNetwork, version: int) -> Condition:
    subnets = (subnet for subnet in network.subnets if subnet.version == version)
    return in_networks("source", tuple(subnets))


def _to(case: Case, bridge: str, version: int) -> Condition:
    return addressed("destination", case.containers(bridge, version))


def _somebody(case: Case, devices: list[str], version: int) -> Condition:
    """A container of another network, or whoever is behind another device."""
    found: list[Voice] = []
    for device in devices:
        inside = device in case.bridges
        found += case.containers(device, version) if inside else case.voices(device, version)
    return addressed("destination", found)


def _closing(case: Case, bridge: str, version: int) -> tuple[str, ...]:
    """By devices, which nobody forges."""
    rules = case.host.ruleset(version)
    has_own = rules.has_table("filter") and rules.table("filter").has_chain(USER)
    chain = USER if has_own else "FORWARD"
    return (
        iptables(version, "-I", chain, "!", "-i", bridge, "-o", bridge, "-j", "DROP"),
        iptables(version, "-I", chain, "-i", bridge, "!", "-o", bridge, "-j", "DROP"),
    )


CHECKS = (Check(OPEN, opened), Check(SPOOFED, spoofed))
