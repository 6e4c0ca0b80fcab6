"""What is judged: a ruleset and the packets that are sent through it, as data and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from netverify.dataplane.packet import Packet, Tuple
from netverify.errors import InputError
from netverify.kernel.firewall import Backend
from netverify.kernel.judge import site, wire
from netverify.ruleset import Ruleset


@dataclass(frozen=True, slots=True)
class Shot:
    """One packet, and where it enters the judged host.

    `device` is a card or a port of the bridge, by whose cable the frame comes in; without one, a socket of
    the host sends the packet. `to_port` is, for a frame that comes in by a port, the port behind which its
    Ethernet address is; without one it is addressed to the host itself. Raises InputError where the packet
    cannot be written as it is, or nobody is at its addresses.
    """

    packet: Packet
    device: str = ""
    to_port: str | None = None

    def __post_init__(self) -> None:
        if self.device and self.device not in site.CABLES:
            raise InputError(f"no cable leads to {self.device!r}: expected one of {', '.join(site.CABLES)}")
        if self.to_port is not None and not {self.device, self.to_port} <= site.PORTS.keys():
            raise InputError(f"{self.device} -> {self.to_port}: only a bridge's port leads to another")
        if self.packet.length < wire.smallest(self.packet):
            raise InputError(f"{self.packet} is shorter ({self.packet.length} bytes) than its headers")

    @classmethod
    def of(cls, packet: Packet, device: str = "", to_port: str | None = None) -> Shot:
        """With the least length that the packet can have, where it says less."""
        return cls(replace(packet, length=max(packet.length, wire.smallest(packet))), device, to_port)

    @property
    def target(self) -> int:
        """The Ethernet address that its frame is for."""
        if self.packet.pkttype:
            return 0xFFFFFFFFFFFF
        if self.to_port is None:
            return site.card_mac(site.BRIDGE if self.device in site.PORTS else self.device)
        near = site.card_of(self.packet.destination_address)
        if near is not None and near[0] == site.BRIDGE and site.port_of(near[1]) == self.to_port:
            return site.neighbour_mac(*near)
        number = next(number for number in site.NEIGHBOURS if site.port_of(number) == self.to_port)
        return site.neighbour_mac(site.BRIDGE, number)  # a gateway to wherever the packet goes

    def __str__(self) -> str:
        packet = self.packet
        where = f"in by {self.device}" if self.device else "sent by the host"
        where += f" for behind {self.to_port}" if self.to_port else ""
        about = "" if packet.embedded is None else f" about {_tuple_text(packet.version, packet.embedded)}"
        kinds = {"flags": packet.tcp_flags, "ttl": packet.ttl, "tos": packet.tos, "length": packet.length}
        details = " ".join(f"{name}={value}" for name, value in kinds.items())
        mac = "" if packet.mac is None else f" from {site.mac_text(packet.mac)}"
        where += " in a frame for everybody" if packet.pkttype else ""
        return f"{packet}{about} [{details}] {where}{mac}"


@dataclass(frozen=True)
class Case:
    """A ruleset in one backend, sysctls that differ from the usual ones, and packets in their order."""

    rules: Ruleset
    shots: tuple[Shot, ...]
    backend: Backend = Backend.NFT
    settings: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    """For a case that is kept: what it once showed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @property
    def version(self) -> int:
        """The IP version of its packets."""
        return 4 if self.rules.family == "ipv4" else 6

    def as_json(self) -> str:
        """The case as a document that `from_json` reads."""
        document = {
            "why": self.why,
            "backend": self.backend.value,
            "family": self.rules.family,
            "settings": dict(self.settings),
            "rules": self.rules.render().splitlines(),
            "packets": [_shot_facts(shot) for shot in self.shots],
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Case:
        """Read what `as_json` wrote. Raises InputError for a document that is no case."""
        try:
            document = json.loads(text)
            rules = Ruleset.parse("\n".join(document["rules"]) + "\n", family=document["family"])
            shots = tuple(_shot(facts) for facts in document["packets"])
            backend = Backend(document["backend"])
            return cls(rules, shots, backend, document["settings"], document["why"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no case: {error!r}") from error


_NUMBERS = ("sport", "dport", "icmp_type", "icmp_code", "tcp_flags", "ttl", "tos", "length", "pkttype")


def _shot_facts(shot: Shot) -> dict[str, Any]:
    packet = shot.packet
    facts: dict[str, Any] = {"source": str(packet.source_address), "protocol": packet.protocol}
    facts["destination"] = str(packet.destination_address)
    facts |= {name: getattr(packet, name) for name in _NUMBERS if getattr(packet, name)}
    if packet.mac is not None:
        facts["mac"] = site.mac_text(packet.mac)
    if packet.embedded is not None:
        about = packet.embedded
        source, destination = (
            str(replace(packet, source=number).source_address) for number in (about.source, about.destination)
        )
        facts["about"] = [about.protocol, source, about.sport, destination, about.dport, about.kind]
    if shot.device:
        facts["device"] = shot.device
    if shot.to_port:
        facts["to_port"] = shot.to_port
    return facts


def _shot(facts: Mapping[str, Any]) -> Shot:
    source, destination = ip_address(facts["source"]), ip_address(facts["destination"])
    fields: dict[str, Any] = {name: facts.get(name, 0) for name in _NUMBERS}
    if "mac" in facts:
        fields["mac"] = int(facts["mac"].replace(":", ""), 16)
    if "about" in facts:
        protocol, sender, sport, receiver, dport, kind = facts["about"]
        addresses = int(ip_address(sender)), int(ip_address(receiver))
        fields["embedded"] = Tuple(protocol, addresses[0], sport, addresses[1], dport, kind)
    packet = Packet(source.version, int(source), int(destination), facts["protocol"], **fields)
    return Shot(packet, facts.get("device", ""), facts.get("to_port"))


def _tuple_text(version: int, about: Tuple) -> str:
    packet = Packet(version, about.source, about.destination, about.protocol, about.sport, about.dport)
    return str(packet)
