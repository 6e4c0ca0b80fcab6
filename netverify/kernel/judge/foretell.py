"""The model's side: what `netverify.dataplane` says will become of the same packets, in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from netverify.dataplane import answers
from netverify.dataplane.connections import Connection, Connections
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import ICMP, ICMPV6, Packet, State
from netverify.dataplane.stack import (
    HOST_UNREACHABLE,
    NET_UNREACHABLE,
    PROHIBITED,
    Bridged,
    Delivered,
    Fate,
    Redirected,
    Sent,
    Stack,
    Stopped,
)
from netverify.dataplane.trace import PolicyStep, Recorder, RuleStep
from netverify.dataplane.view import LEGACY
from netverify.kernel.firewall import Backend
from netverify.kernel.judge import site
from netverify.kernel.judge.case import Case, Shot
from netverify.kernel.judge.stand import DELIVERED, Outcome, Sighting, complete
from netverify.ruleset import RulePlace, Ruleset

Maker = Callable[[Ruleset, Mapping[str, str], Backend], Stack]
"""Makes the model of the judged host from rules, sysctls and the backend that the rules are in."""

_MOST_ANSWERS = 8
_IN_A_ROW = 3
_RATED = {each[4] for each in (NET_UNREACHABLE, HOST_UNREACHABLE, PROHIBITED)}
"""Errors of IPv4 that `ip_error` (net/ipv4/route.c) holds back by the sender's address, come what may."""


class ByChance(DataplaneError):
    """What the kernel does with this packet hangs on chance or on time, so that nothing can be foretold.

    `began` tells whether the model has gone on already with a part of it, so that it is of no use any more.
    """

    def __init__(self, reason: str, *, began: bool = False) -> None:
        super().__init__(reason)
        self.began = began


class _Watched(Connections):
    """A table that says when a new connection's reply would be another's: the kernel draws a port then."""

    def __init__(self) -> None:
        super().__init__()
        self.confirmations = 0
        self.touched = False

    def begin(self, packet: Packet) -> None:
        """A packet is sent: from now on, tell whether it changes anything."""
        self.confirmations = 0
        self._attached = None
        self.touched = self.known(packet.tuple) is not None

    @property
    def began(self) -> bool:
        """Whether something may have changed since `begin`."""
        return self.touched or self.confirmations > 0

    def confirm(self, packet: Packet, connection: Connection | None) -> None:
        if connection is not None and not connection.confirmed:
            if self.known(connection.reply) is not None:
                raise ByChance("two connections would have the same reply", began=self.began)
            self.confirmations += 1
        super().confirm(packet, connection)


def model(rules: Ruleset, settings: Mapping[str, str], backend: Backend) -> Stack:
    """The judged host as netverify sees it."""
    return Stack(site.view(complete(rules), settings, legacy=backend is Backend.LEGACY))


class Foretelling:
    """The model of the judged host, asked packet by packet."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._may_untrack = _untracks_own(stack)
        self._rated: Counter[int] = Counter()  # errors that are held back, by sender
        self._speaking = False  # whether the latest packet is an ICMP packet of the kernel's own
        self._table = stack.connections = _Watched()
        self.packets: Counter[RulePlace] = Counter()
        self.bytes: Counter[RulePlace] = Counter()

    def fire(self, shot: Shot) -> tuple[Sighting, ...]:
        """What is seen of one packet and of everything that the host answers.

        Raises ByChance where that cannot be known; the packet then counts nowhere.
        """
        self._table.begin(shot.packet)
        recorder = self.stack.recorder = Recorder()
        found: list[Sighting] = []
        self._speaking = False
        fate: Fate | None = self._begin(shot)
        for _ in range(_MOST_ANSWERS):
            if fate is None:
                break
            fate = self._after(fate, shot, found)
        self._count(recorder)
        return tuple(found)

    def outcome(self, rules: Ruleset, sightings: Sequence[tuple[Sighting, ...]]) -> Outcome:
        """Everything that was foretold so far: with every counter of every rule, also those at rest."""
        loaded = complete(rules)
        places = [place for place, _ in loaded.rules()]
        places += [
            RulePlace(table.name, chain.name, 0)
            for table in loaded.tables
            for chain in table.chains
            if chain.policy is not None
        ]
        counts = {place: (self.packets[place], self.bytes[place]) for place in places}
        return Outcome(tuple(sightings), counts)

    def _begin(self, shot: Shot) -> Fate:
        packet = shot.packet
        if not shot.device:
            return self.stack.send(packet.with_(uid=0, gid=0, mac=None))
        if shot.device in site.PORTS:
            return self.stack.bridge(packet, site.BRIDGE, shot.device, shot.to_port)
        return self.stack.receive(packet, shot.device)

    def _after(self, fate: Fate, shot: Shot, found: list[Sighting]) -> Fate | None:
        """Note what shows of a fate, and return what follows from it."""
        if isinstance(fate, Redirected):
            number = site.card_of(fate.next_hop)
            port = None if number is None else site.port_of(number[1])
            if port is None or port == fate.port:
                return None
            onward = self.stack.bridge_on(fate.packet, fate.bridge, port)
            if isinstance(onward, Bridged):
                found.append(_sighting(port, onward.packet, site.mac_of(fate.next_hop)))
                return None
            return onward
        if isinstance(fate, Bridged):
            found.append(_sighting(shot.to_port or "", fate.packet, shot.target))
            return None
        if isinstance(fate, Sent):
            where = fate.device
            number = site.card_of(fate.next_hop)
            if where == site.BRIDGE and number is not None:
                where = site.port_of(number[1])
            found.append(_sighting(where, fate.packet, site.mac_of(fate.next_hop)))
            return None
        if isinstance(fate, Delivered):
            found.append(_sighting(DELIVERED, fate.packet, None))
            return self._say(answers.of_host(fate.packet, self.stack.routing))
        return self._told(fate, shot, found)

    def _told(self, stopped: Stopped, shot: Shot, found: list[Sighting]) -> Fate | None:
        if stopped.answer is None or (stopped.locally and stopped.place is None):
            return None
        if stopped.locally and self._speaking:
            return None  # the kernel's ICMP socket is locked while it sends (icmp_xmit_lock)
        filtered = stopped.place is not None
        if not filtered and stopped.answer in _RATED:
            self._rated[stopped.packet.source] += 1
            if stopped.packet.source not in site.ONCE or self._rated[stopped.packet.source] > _IN_A_ROW:
                reason = "the kernel says only some times in a row that it has no route"
                raise ByChance(reason, began=self._table.began)
        if stopped.packet.state == State.UNTRACKED and self._may_untrack:
            reason = "what is told about an untracked packet cannot be untracked again"
            raise ByChance(reason, began=self._table.began)
        answer = answers.refusal(stopped.packet, stopped.answer, self.stack.routing, filtered=filtered)
        if stopped.answer.reset and stopped.packet.physdev_in:
            self._over_the_port(answer, stopped.packet, shot, found)
            return None
        return self._say(answer)

    def _over_the_port(self, answer: Packet | None, about: Packet, shot: Shot, found: list[Sighting]) -> None:
        """A reset about what br_netfilter saw goes back by the port, past all hooks (nf_send_reset)."""
        if answer is None:
            return
        way = self.stack.routing.lookup(answer.version, answer.destination, answer.source)
        if way.kind in ("unicast", "local", "broadcast"):  # else there is nobody to be told
            found.append(_sighting(about.physdev_in, answer, shot.packet.mac))

    def _say(self, answer: Packet | None) -> Fate | None:
        """The kernel sends a packet of its own."""
        if answer is None:
            return None
        self._speaking = answer.protocol in (ICMP, ICMPV6)
        return self.stack.send(answer)

    def _count(self, recorder: Recorder) -> None:
        for step in recorder.steps:
            if not isinstance(step, RuleStep | PolicyStep) or not step.counted:
                continue
            place = step.place
            if isinstance(place, RulePlace):
                place = replace(place, table=place.table.removeprefix(LEGACY))
                self.packets[place] += 1
                self.bytes[place] += step.packet.length


def foretell(case: Case, make: Maker = model) -> Outcome:
    """What the model says will become of a case. Raises ByChance where it cannot say."""
    told = Foretelling(make(case.rules, case.settings, case.backend))
    return told.outcome(case.rules, [told.fire(shot) for shot in case.shots])


def _untracks_own(stack: Stack) -> bool:
    """Whether a rule of raw could untrack what the host itself sends."""
    return any(
        rule.target is not None and rule.target.name in ("CT", "NOTRACK")
        for rules in (stack.view.ipv4, stack.view.ipv6, *stack.view.legacy)
        for _place, rule in rules.rules()
    )


def _sighting(where: str, packet: Packet, mac: int | None) -> Sighting:
    """A packet as it can be seen from outside."""
    bare = Packet(
        packet.version, packet.source, packet.destination, packet.protocol, packet.sport, packet.dport,
        packet.icmp_type, packet.icmp_code, packet.tcp_flags, length=packet.length, ttl=packet.ttl,
        tos=packet.tos, embedded=packet.embedded,
    )  # fmt: skip
    return where, replace(bare, mac=mac)
