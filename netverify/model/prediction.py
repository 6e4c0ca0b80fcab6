"""The model's answers in the lab's words: the same questions, the same cells, and no packet sent.

`predict` takes what `Lab.reachability` takes, so that the two matrices can be held against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from netverify.dataplane.program import Place
from netverify.dataplane.trace import RuleStep, Trace
from netverify.dataplane.world import Exchange, World
from netverify.errors import InputError
from netverify.model.naming import describe, split_target
from netverify.model.topologies import with_rules, world_of
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.ruleset import NftRule, Rule, Ruleset
from netverify.topology.model import Topology


def predict(
    topology: Topology,
    probe: Probe,
    among: Sequence[str] | None = None,
    *,
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    listeners: Sequence[str] | None = None,
    rules: Mapping[str, Ruleset] | None = None,
    sysctls: Mapping[str, Mapping[str, str]] | None = None,
) -> ObservedMatrix:
    """What `Lab.reachability` would show for this topology.

    `rules` and `sysctls` replace or add to what the topology gives single hosts, by name. Raises InputError
    for a question over ARP, which the model does not answer.
    """
    topology = topology.resolved()
    world = predicted_world(topology, rules or {}, sysctls or {})
    everybody = [
        *(container.name for container in topology.containers),
        *(host.name for host in topology.hosts),
    ]
    addressed = [name for name in everybody if topology.addresses_of(name, probe.version)]
    rows = list(sources or among or everybody)
    columns = list(targets or among or addressed)
    cells = [cell(topology, world, probe, row, column, listeners) for row in rows for column in columns]
    return ObservedMatrix.of(probe, cells, rows=rows, columns=columns)


def predicted_world(
    topology: Topology, rules: Mapping[str, Ruleset], sysctls: Mapping[str, Mapping[str, str]]
) -> World:
    """The hosts and wires of a topology, with rules and sysctls of single hosts changed."""
    world = with_rules(world_of(topology), rules)
    views = [
        replace(stack.view, sysctls={**stack.view.sysctls, **sysctls.get(name, {})})
        for name, stack in world.stacks.items()
    ]
    return World(views, world.wires)


def cell(
    topology: Topology,
    world: World,
    probe: Probe,
    source: str,
    target: str,
    listeners: Sequence[str] | None = None,
) -> Cell:
    """One pair. Its `rules` are those whose counters would move, its `detail` what decides."""
    return as_cell(source, target, exchange(topology, world, probe, source, target, listeners))


def exchange(
    topology: Topology,
    world: World,
    probe: Probe,
    source: str,
    target: str,
    listeners: Sequence[str] | None = None,
) -> Exchange | None:
    """One pair with its traces; None when the source has no address to send from."""
    if probe.protocol == "arp":
        raise InputError("the model follows IP packets; it says nothing about ARP")
    name, address, port = split_target(target)
    if address is None:
        own = topology.addresses_of(name, probe.version)
        if not own:
            raise InputError(f"{name} has no IPv{probe.version} address; write {name}@ADDRESS")
        address = own[0]
    world.forget()
    sender = topology.namespace_of(source)
    ports = {} if probe.port is None else {"dport": port or probe.port}
    packet = world.packet(sender, address, probe.protocol, **ports)
    if packet is None:
        return None
    names = listeners if listeners is not None else [node.name for node in topology.nodes()]
    listening = frozenset((topology.namespace_of(name), probe.port or 0) for name in names)
    return world.ask(packet, sender, listening=listening)


def as_cell(source: str, target: str, found: Exchange | None) -> Cell:
    """What a probe would see of an exchange."""
    if found is None:
        return Cell(source, target, Outcome.UNREACHABLE, detail="the sender has no address to send from")
    outcome = Outcome(found.outcome)
    rules = tuple(
        f"{describe(host, place, rules.get((host, place)))} [{count}]"
        for trace, rules in ((trace, _rules_of(trace)) for trace in _traces(found))
        for (host, place), count in trace.hits().items()
    )
    decided = found.decided
    last = _last(found)
    seen = str(last.request.final.source_address) if last.request.verdict == "delivered" else None
    detail = decided.reason
    if outcome is Outcome.FILTERED and decided.place is not None:
        rule = _rules_of(decided).get((decided.host, decided.place))
        detail = f"dropped by {describe(decided.host, decided.place, rule)}"
    return Cell(source, target, outcome, seen, found.receiver, found.replied, detail, rules)


def _last(found: Exchange) -> Exchange:
    """What the service itself sees: behind a userland proxy, the proxy's own request."""
    return found if found.beyond is None else _last(found.beyond)


def _traces(found: Exchange) -> list[Trace]:
    traces = [found.request] if found.answer is None else [found.request, found.answer]
    return traces if found.beyond is None else traces + _traces(found.beyond)


def _rules_of(trace: Trace) -> dict[tuple[str, Place], Rule | NftRule]:
    """The rules that a packet met, by host and place."""
    return {(step.host, step.place): step.rule.rule for step in trace.steps if isinstance(step, RuleStep)}
