"""Who must listen where in a twin, so that whatever arrives for a service finds somebody.

Everybody listens on the port that is asked for. Translation may lead elsewhere: to the ports that DNAT and
REDIRECT rules write, and to those that userland proxies pass requests on to. Which rules can apply is read
off the rules alone, not off what the model says of single packets: a twin is there to contradict it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import tested_fields
from netverify.dataplane.packet import Address, Packet, address
from netverify.dataplane.program import CompiledRule
from netverify.dataplane.targets import Nat
from netverify.dataplane.translation import NatKind
from netverify.kernel.engines.engine import Listener, Relay
from netverify.kernel.lab import Lab
from netverify.model.subject import Subject
from netverify.reachability.probe import Probe

MOST_CHOICES = 256  # addresses or ports of one rule's range that get a listener
_ASKED = frozenset({"protocol", "dport"})


@dataclass(frozen=True)
class Services:
    """The sockets that a question needs. In namespaces `taken` a proxy has the port on every address."""

    listeners: tuple[Listener, ...]
    relays: tuple[Relay, ...]
    taken: frozenset[str]


def services(lab: Lab, subject: Subject, probe: Probe, owners: Mapping[Address, str | None]) -> Services:
    """Who listens while a twin is asked for `probe`; `owners` are known namespaces by address."""
    nodes = list(subject.world.stacks)
    if probe.port is None:
        return Services(tuple(Listener(lab.namespace(node), None) for node in nodes), (), frozenset())
    wanted = {(node, probe.port) for node in nodes}

    def owner(held: Address) -> str | None:
        return owners[held] if held in owners else subject.owner(held)

    for node, nat in _translations(subject, probe):
        for port in _range(nat.ports):
            if nat.kind is NatKind.REDIRECT:
                wanted.add((node, port))
            elif nat.addresses is None:
                wanted |= {(any_node, port) for any_node in nodes}
            else:
                holders = (owner(address(probe.version, one)) for one in _range(nat.addresses))
                wanted |= {(holder, port) for holder in holders if holder is not None}
    relays = tuple(
        relay
        for protocol, relay in lab.relays
        if (protocol, relay.version) == (probe.protocol, probe.version)
        and (relay.namespace.name, relay.port) in wanted
    )
    versions = {(node, port, probe.version) for node, port in wanted}
    for relay in relays:
        holder = None if relay.upstream is None else owner(relay.upstream)
        if relay.upstream is not None and holder is not None:
            versions.add((holder, relay.upstream_port, relay.upstream.version))
    everywhere = {
        (relay.namespace.name, relay.port, relay.version) for relay in relays if relay.address is None
    }
    listeners = tuple(
        Listener(lab.namespace(node), port, None if version == probe.version else version)
        for node, port, version in sorted(versions - everywhere)
    )
    taken = frozenset(name for name, port, _version in everywhere if port == probe.port)
    return Services(listeners, relays, taken)


def _translations(subject: Subject, probe: Probe) -> Iterator[tuple[str, Nat]]:
    """The rules that could give a request another destination port, by namespace."""
    source, target = (address(probe.version, number) for number in (1, 2))
    packet = Packet.of(source, target, probe.protocol, dport=probe.port or 0)
    asked = OnePacket(packet)
    for node, stack in subject.world.stacks.items():
        for program in stack.filters[probe.version].programs:
            for chain in program.chains.values():
                for rule in chain.rules:
                    nat = rule.ending
                    if isinstance(nat, Nat) and _leads_elsewhere(nat) and _can_apply(rule, asked):
                        yield node, nat


def _leads_elsewhere(nat: Nat) -> bool:
    return nat.ports is not None and nat.kind in (NatKind.DNAT, NatKind.REDIRECT)


def _can_apply(rule: CompiledRule, asked: OnePacket) -> bool:
    """Whether no test of protocol and port alone keeps the service's packets from a rule."""
    return all(
        asked.satisfying(test.condition) for test in rule.tests if tested_fields(test.condition) <= _ASKED
    )


def _range(ends: tuple[int, int] | None) -> Iterable[int]:
    if ends is None:
        return ()
    low, high = ends
    return range(low, min(high, low + MOST_CHOICES - 1) + 1)
