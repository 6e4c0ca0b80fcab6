"""The kernel's side: the judged host in namespaces, packets sent into it, and what came of each.

Nothing waits for time to pass. After each packet a few marker frames go through a veth pair on the same CPU
(`netverify.kernel.barrier`): when they have come out, the packet, everything that the host made of it, and
what came back over lo have ended. So the kernel sees the packets in exactly the order that the model sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from netverify.dataplane.packet import Packet
from netverify.errors import KernelError
from netverify.kernel import sandbox, sysctls
from netverify.kernel.barrier import ETHERTYPE, Barrier
from netverify.kernel.channel import Channel
from netverify.kernel.conntrack import Conntrack
from netverify.kernel.firewall import Backend, Firewall
from netverify.kernel.judge import site, wire
from netverify.kernel.judge.case import Case, Shot
from netverify.kernel.judge.ground import OUTSIDE, build, furnish
from netverify.kernel.judge.taps import HELD, Cable, delivered, frame, receiver, sender
from netverify.kernel.namespace import Namespace, Visitor
from netverify.ruleset import Chain, RulePlace, Ruleset, Table
from netverify.ruleset.vocabulary import BUILTIN_CHAINS

DELIVERED = "host"
"""Where a packet was seen that reached the host's own sockets."""

ROUNDS = 5
"""Marker frames after each packet: in by the cable, over lo, the answer over lo, out by a cable; and one."""

Sighting = tuple[str, Packet]
"""Where a packet came out, and how it looked there; `mac` is whom the frame was for."""

Counts = Mapping[RulePlace, tuple[int, int]]
"""Packets and bytes of every rule and policy."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case: the sightings of each of its packets in order, and every counter."""

    sightings: tuple[tuple[Sighting, ...], ...]
    counts: Counts
    strays: tuple[Sighting, ...] = ()
    """Packets that carry no number: nobody sent them on behalf of the case."""


class Stand:
    """The judged host. A context manager; `fire` as often as wanted inside it.

    Raises SandboxError outside netverify's sandbox, and MissingCapability or KernelError where the kernel
    lacks a part.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        sandbox.require()
        with ExitStack() as stack:
            self.visitor = stack.enter_context(Visitor())
            made = self.visitor.create((site.HOST, OUTSIDE), furnish)
            self._channels: dict[str, tuple[Namespace, Channel]] = {}
            for namespace, channel in made:
                stack.callback(namespace.close)
                stack.callback(channel.close)
                self._channels[namespace.name] = namespace, channel
            self.host, self.outside = (namespace for namespace, _ in made)
            build(self.visitor, self._channels)
            self.conntrack = stack.enter_context(Conntrack(self.visitor, self.host))
            self._open(stack)
            self._barrier = stack.enter_context(Barrier(self.visitor))
            self._firewalls = {backend: Firewall(self.host, self.visitor, backend) for backend in Backend}
            self._loaded: tuple[Backend, int] | None = None
            self._settings = dict(site.SETTINGS)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _open(self, stack: ExitStack) -> None:
        """Open the sockets by which packets go in and come out."""
        visit = self.visitor.visit
        self._cables = {
            name: stack.enter_context(visit(self.outside, partial(Cable, name))) for name in site.CABLES
        }
        self._senders = {
            version: stack.enter_context(visit(self.host, partial(sender, version))) for version in HELD
        }
        self._receivers = {
            version: [
                (stack.enter_context(visit(self.host, partial(receiver, version, protocol))), protocol)
                for protocol in protocols
            ]
            for version, protocols in HELD.items()
        }

    # --- judging --------------------------------------------------------------------------------------------

    def fire(self, case: Case) -> Outcome:
        """Load the rules anew, forget every connection, send the packets, and read everything.

        Raises FirewallError where the kernel refuses the rules.
        """
        self._load(case)
        self._introduce()
        seen: list[list[Sighting]] = [[] for _ in case.shots]
        strays: list[Sighting] = []
        for number, shot in enumerate(case.shots):
            self._send(shot, number)
            self._barrier.wait(ROUNDS)
            self._collect(case.version, number, seen, strays)
        self._barrier.wait()
        self._collect(case.version, len(seen), seen, strays)
        for cable in self._cables.values():
            cable.check()
        counts = self._counts(case)
        return Outcome(tuple(map(tuple, seen)), counts, tuple(strays))

    def _load(self, case: Case) -> None:
        wanted = (case.backend, case.version)
        if self._loaded not in (None, wanted):
            backend, version = self._loaded
            empty = complete(Ruleset("ipv4" if version == 4 else "ipv6"))
            self._firewalls[backend].restore(empty.render(), version=version)
        self._firewalls[case.backend].restore(complete(case.rules).render(), version=case.version)
        self._loaded = wanted
        settings = {**site.SETTINGS, **case.settings}
        changed = [(key, value) for key, value in settings.items() if self._settings.get(key) != value]
        if changed or settings.keys() != self._settings.keys():
            reset = [(key, "0") for key in self._settings.keys() - settings.keys()]
            self.visitor.visit(self.host, lambda: sysctls.write_all([*reset, *changed]))
            self._settings = settings
        self.conntrack.flush()

    def _introduce(self) -> None:
        """Let the bridge learn, from a frame of each, behind which port its neighbours are."""
        for number in site.NEIGHBOURS:
            source = site.neighbour_mac(site.BRIDGE, number).to_bytes(6, "big")
            target = site.card_mac(site.BRIDGE).to_bytes(6, "big")
            frame = target + source + ETHERTYPE.to_bytes(2, "big") + bytes(46)
            self._cables[site.port_of(number)].socket.send(frame)
        self._barrier.wait(ROUNDS)
        for cable in self._cables.values():
            cable.read()

    def _send(self, shot: Shot, number: int) -> None:
        data = wire.encode(shot.packet, number)
        if not shot.device:
            target = (str(shot.packet.destination_address), 0)
            try:
                self._senders[shot.packet.version].sendto(data, target)
            except OSError:
                return  # dropped on its way out, or without a route: the counters say where
            return
        self._cables[shot.device].socket.send(frame(shot) + data)

    def _collect(self, version: int, latest: int, seen: list[list[Sighting]], strays: list[Sighting]) -> None:
        found: list[tuple[str, Packet, int | None, int | None]] = [
            (name, *wire.decode(data), mac)
            for name, cable in self._cables.items()
            for mac, data in cable.read()
        ]
        for sock, protocol in self._receivers[version]:
            for packet, number in delivered(sock, version, protocol):
                found.append((DELIVERED, packet, number, None))
        for where, packet, number, mac in found:
            sighting = where, packet.with_(mac=mac)
            if number is None or number >= len(seen):
                number = latest  # a reset, an error about one, or timestamps
            if number < len(seen):
                seen[number].append(sighting)
            else:
                strays.append(sighting)

    def _counts(self, case: Case) -> Counts:
        loaded = self._firewalls[case.backend].rules(version=case.version)
        counts: dict[RulePlace, tuple[int, int]] = {}
        for table in loaded.tables:
            for chain in table.chains:
                if chain.counters is not None and chain.policy is not None:
                    place = RulePlace(table.name, chain.name, 0)
                    counts[place] = chain.counters.packets, chain.counters.bytes
                for number, rule in enumerate(chain.rules, 1):
                    if rule.counters is None:
                        raise KernelError(f"the kernel shows no counters for {rule.render()}")
                    counts[RulePlace(table.name, chain.name, number)] = (
                        rule.counters.packets,
                        rule.counters.bytes,
                    )
        return counts


def complete(rules: Ruleset) -> Ruleset:
    """The ruleset with every table and every chain of the kernel's own, empty where it had none.

    So that loading it leaves nothing of what was there, and that every hook of both backends is in use.
    """
    tables = []
    for name, chains in BUILTIN_CHAINS.items():
        table = rules.table(name) if rules.has_table(name) else Table(name)
        for chain in chains:
            if not table.has_chain(chain):
                table = table.with_chain(Chain(chain, "ACCEPT"))
        tables.append(table)
    return Ruleset(rules.family, tuple(tables))
