"""Questions to a lab in people's words: names instead of namespaces, tables instead of packets.

A *party* is a host or container of the topology. What a probe is sent to is written as

    NAME            the party's own address (a host's first card, a container's first network)
    NAME:PORT       the same, another port than the probe's: a published one
    NAME@ADDRESS    a certain address of the party: the gateway that a host is for a bridge, say
    NAME@ADDRESS:PORT, or NAME@[ADDRESS]:PORT for IPv6

and stands under that name in the matrix.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from netverify.errors import InputError, NetverifyError
from netverify.kernel.build import introduce
from netverify.kernel.engines.engine import Listener, Pair, Relay, Source, Target
from netverify.kernel.firewall import moved_rules
from netverify.kernel.flow_key import Nonce
from netverify.model.naming import split_target
from netverify.reachability import comparison
from netverify.reachability.matrix import ReachabilityMatrix
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Probe
from netverify.ruleset import Ruleset

if TYPE_CHECKING:
    from netverify.kernel.lab import Lab

OPEN: list[Lab] = []  # labs that stand right now, so that a failed comparison can ask again
EXPLAINED = 10  # differing cells for which a failure shows the rules; each costs some milliseconds


@dataclass(frozen=True)
class Asked:
    """A matrix with the question behind it, so that a cell of it can be asked again for an explanation."""

    matrix: ObservedMatrix
    probe: Probe
    listeners: tuple[str, ...] | None


def parties(lab: Lab) -> tuple[str, ...]:
    """Every container, then every host, in the topology's order, but for those that were let go of."""
    topology = lab.topology
    names = [container.name for container in topology.containers]
    names += [host.name for host in topology.hosts]
    return tuple(name for name in names if topology.namespace_of(name) in lab.channels)


def ask(
    lab: Lab,
    probe: Probe,
    sources: Sequence[str],
    targets: Sequence[str],
    listeners: Sequence[str] | None = None,
) -> list[Cell]:
    """One cell for each source and target, sources first.

    `listeners` names the parties that offer the service on the probe's port; by default everybody does.
    """
    return ask_pairs(lab, probe, [(source, aim) for source in sources for aim in targets], listeners)


def ask_pairs(
    lab: Lab,
    probe: Probe,
    wanted: Sequence[tuple[str, str]],
    listeners: Sequence[str] | None = None,
) -> list[Cell]:
    """One cell for each of these (source, target), in their order, all asked at once."""
    everybody = listeners if listeners is not None else parties(lab)
    aims = {text: target(lab, text, probe) for _source, text in wanted}
    pairs = [Pair(Source(name, lab.namespace(name)), aims[text]) for name, text in wanted]
    introduce(lab, len(pairs))
    relays = _relays(lab, probe)
    nonce = os.urandom(8)
    lab.flow = Nonce(nonce)
    return lab.prober.ask(probe, pairs, _listeners(lab, probe, everybody, relays), relays, nonce)


def reachability(
    lab: Lab,
    probe: Probe,
    among: Sequence[str] | None = None,
    *,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    listeners: Sequence[str] | None = None,
) -> ObservedMatrix:
    """The matrix of `sources` against `targets` (both `among`; by default every party with an address)."""
    rows = tuple(_first(sources, among, parties(lab)))
    columns = tuple(_first(targets, among, _addressed(lab, probe)))
    cells = ask(lab, probe, rows, columns, listeners)
    matrix = ObservedMatrix.of(probe, cells, rows=rows, columns=columns)
    lab.asked.append(Asked(matrix, probe, None if listeners is None else tuple(listeners)))
    return matrix


def explain(lab: Lab, probe: Probe, source: str, aim: str, listeners: Sequence[str] | None = None) -> Cell:
    """Ask one pair alone, and say which rules' counters moved while it was in flight."""
    before, native = _rules(lab, probe.version), [wall.everything() for wall in lab.nft_firewalls]
    (cell,) = ask(lab, probe, [source], [aim], listeners)
    moved: list[str] = []
    for (host, earlier), (_host, later) in zip(before, _rules(lab, probe.version), strict=True):
        moved += moved_rules(host, earlier, later)
    for wall, nft in zip(lab.nft_firewalls, native, strict=True):
        moved += wall.moved_since(nft)
    return replace(cell, rules=tuple(moved))


def explained(left: ReachabilityMatrix, right: ReachabilityMatrix) -> list[str]:
    """Why two matrices differ, in lines; where their lab still stands, with the rules behind each cell."""
    return comparison.explain(_with_rules(left, right), _with_rules(right, left))


def _with_rules(matrix: ReachabilityMatrix, other: ReachabilityMatrix) -> ReachabilityMatrix:
    if not isinstance(matrix, ObservedMatrix):
        return matrix
    mine = set(matrix.cells())
    found = [(lab, asked) for lab in OPEN for asked in lab.asked if mine <= set(asked.matrix.cells())]
    if not found:
        return matrix
    lab, asked = found[0]
    cells = {(cell.source, cell.target): cell for cell in matrix.cells()}
    for difference in comparison.compare(other, matrix).differences[:EXPLAINED]:
        pair = (difference.source, difference.target)
        if pair in cells:
            cells[pair] = _asked_again(lab, asked, cells[pair])
    return ObservedMatrix.of(asked.probe, cells.values(), rows=matrix.rows, columns=matrix.columns)


def _asked_again(lab: Lab, asked: Asked, first: Cell) -> Cell:
    """A cell with the rules that moved when it was asked again; and with that answer, where it differs."""
    try:
        again = explain(lab, asked.probe, first.source, first.target, asked.listeners)
    except NetverifyError as error:  # the tables are worth more than this: say so beside them
        return replace(first, detail=f"{first.detail}; asked again for its rules: {error}")
    if (first.outcome, first.replied) == (again.outcome, again.replied):
        return replace(first, rules=again.rules)
    now = f"asked again: {again.outcome.value}{'' if again.replied else ', unanswered'}"
    return replace(first, rules=again.rules, detail="; ".join(filter(None, (first.detail, now))))


def target(lab: Lab, text: str, probe: Probe) -> Target:
    """Read a target as a person writes it. Raises InputError where the name or the address is not there."""
    name, address, port = split_target(text)
    own = lab.addresses(name, probe.version)
    if address is None:
        if not own:
            raise InputError(f"{name} has no IPv{probe.version} address to send to; write {name}@ADDRESS")
        address = own[0]
    listening = address in own and port in (None, probe.port)
    return Target(text, address, port, lab.namespace(name).name if listening else None)


def _first(*choices: Sequence[str] | None) -> Sequence[str]:
    return next(choice for choice in choices if choice is not None)


def _addressed(lab: Lab, probe: Probe) -> tuple[str, ...]:
    return tuple(name for name in parties(lab) if lab.topology.addresses_of(name, probe.version))


def _listeners(lab: Lab, probe: Probe, names: Iterable[str], relays: Sequence[Relay]) -> list[Listener]:
    """One listener for each namespace, unless a userland proxy has the port already.

    Proxies that lead from one IP version to the other find a listener of that other version too.
    """
    taken = {relay.namespace.fd for relay in relays if relay.port == probe.port}
    spaces = {lab.namespace(name).fd: lab.namespace(name) for name in names}
    listeners = [Listener(namespace, probe.port) for fd, namespace in spaces.items() if fd not in taken]
    upstreams = {relay.upstream.version for relay in relays if relay.upstream is not None}
    others = upstreams - {probe.version}
    return listeners + [replace(listener, version=version) for version in others for listener in listeners]


def _relays(lab: Lab, probe: Probe) -> list[Relay]:
    return [
        relay
        for protocol, relay in lab.relays
        if protocol == probe.protocol and relay.version == probe.version
    ]


def _rules(lab: Lab, version: int) -> list[tuple[str, Ruleset]]:
    return [(firewall.namespace.name, firewall.rules(version=version)) for firewall in lab.firewalls]
