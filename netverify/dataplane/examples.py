"""Example packets for classes of a difference: such as people recognise, with addresses at home there."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from netverify.dataplane.condition import Condition, Named, Not, Unknown, Within, equals, unknowns
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program
from netverify.dataplane.sets import PacketSets, Set

_EXAMPLES = {4: ("198.51.100.7", "203.0.113.9"), 6: ("2001:db8:a::7", "2001:db8:b::9")}
"""Source and destination where no device says better ones (RFC 5737, RFC 3849)."""


class Examples:
    """Finds examples in sets of packets that meet these programs."""

    def __init__(self, sets: PacketSets, *programs: Program) -> None:
        self.sets = sets
        self._programs = programs
        self._usual: dict[str, bool] | None = None
        self._real = self._real_devices()

    def of(self, packets: Set) -> tuple[Packet, dict[str, bool]]:
        """A packet that people recognise, and what must be assumed for it to be in the set."""
        sets = self.sets
        usual = [Unknown(n) if v else Not(Unknown(n)) for n, v in self.usual().items()]
        likely = packets
        for condition in (*usual, *self._real):
            narrowed = likely & sets.satisfying(condition)
            likely = narrowed if narrowed.satisfiable() else likely
        first = sets.example(likely)
        if first is None:
            raise DataplaneError("an empty class has no example: this is a defect of netverify")
        packet = sets.example(likely, list(self._neighbours(first))) or first
        if not sets.unknowns:
            return packet, {}
        inside = packets & sets.singleton(packet)
        for condition in usual:
            narrowed = inside & sets.satisfying(condition)
            inside = narrowed if narrowed.satisfiable() else inside
        surely = sets.surely(packets & sets.singleton(packet)).satisfiable()
        return packet, {} if surely else sets.assumptions(inside)

    def _real_devices(self) -> list[Condition]:
        """Devices that the host has are better examples than those that a rule only names."""
        names = {link.name for program in self._programs for link in program.host.links} - {"lo"}
        codes = [code for code, name in enumerate(self.sets.devices) if name in names or not name]
        return [
            Within(field, tuple((code, code) for code in codes))
            for field in ("in_interface", "out_interface")
        ]

    def _neighbours(self, packet: Packet) -> Iterator[Condition]:
        """Its devices again, with addresses that are at home there."""
        for field, own in (("in_interface", "source"), ("out_interface", "destination")):
            name = getattr(packet, field)
            yield Named(field, name)
            for link in self._programs[-1].host.links:
                if link.name != name:
                    continue
                for held in link.addresses:
                    network = held.network
                    if held.version == packet.version and network.num_addresses > 4:
                        low = int(network.network_address)
                        yield Within(own, ((low + 2, low + network.num_addresses - 2),))
        for own, text in zip(("source", "destination"), _EXAMPLES[packet.version], strict=True):
            yield equals(own, int(ip_address(text)))

    def usual(self) -> dict[str, bool]:
        """The sensible reading of each unknown."""
        if self._usual is None:
            self._usual = {}
            if self.sets.unknowns:
                for program in self._programs:
                    for chain in program.chains.values():
                        for rule in chain.rules:
                            for test in rule.tests:
                                for each in unknowns(test.condition):
                                    self._usual[each.name] = each.usual
        return self._usual
