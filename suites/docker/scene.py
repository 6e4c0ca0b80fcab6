"""Labs beside the grid: a host whose rules are changed after its engine started, asked with packets and by
the model.

The model is given what the kernel has then, so that an answer says as much of the rules as of the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fixtures.misled import mislead, misled
from netverify import docker
from netverify.dataplane.world import World
from netverify.docker import Daemon, DockerHost
from netverify.docker.from_topology import docker_host
from netverify.kernel.docker_host import put_rules, start_docker
from netverify.kernel.lab import Lab
from netverify.kernel.questions import ask_pairs
from netverify.model.prediction import as_cell, exchange, predicted_world
from netverify.model.topologies import services_of
from netverify.reachability.probe import Cell, Outcome, Probe
from netverify.reachability.symbols import symbol_of
from netverify.ruleset import NftRuleset, belongs_to_iptables
from netverify.topology.model import Topology
from suites.docker.answers import NEIGHBOUR

HOST = "host"

Wanted = tuple[str, str, Probe]
"""Who asks, whom, with what."""


@dataclass
class Scene:
    """A lab and the daemon on its host; `settings` are the sysctls that were changed, by namespace."""

    lab: Lab
    topology: Topology
    daemon: Daemon
    settings: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, lab: Lab, topology: Topology) -> Scene:
        """The topology as it is, with its engine started, and a neighbour who sends 127.0.0.1 to the host."""
        topology = topology.resolved()
        lab.up(topology)
        mislead(lab, *NEIGHBOUR)
        return cls(lab, topology, Daemon.started(docker_host(topology, HOST)))

    def start(self, engine: DockerHost) -> None:
        """The engine of the topology with what no topology says."""
        start_docker(self.lab, HOST, engine)
        self.daemon = Daemon.started(engine)

    def become(self, daemon: Daemon) -> None:
        """The daemon, and its rules in the kernel, are those."""
        self.daemon = daemon
        put_rules(self.lab, HOST, daemon)

    def sysctl(self, name: str, key: str, value: str) -> None:
        """Change a setting of a namespace, in the lab and in the model."""
        self.lab.sysctl(name, key, value)
        self.settings.setdefault(name, {})[key] = value

    def iptables(self, *commands: str) -> None:
        """Somebody else runs these iptables commands, and the same with ip6tables."""
        for version in (4, 6):
            if version in self.lab.plan.versions:
                for command in commands:
                    self.lab.firewall(HOST).run(command, version=version)

    def answers(self, wanted: Iterable[Wanted], *, sets: DockerHost | None = None) -> dict[Wanted, str]:
        """The symbol of each question; raises AssertionError where the model says another.

        `sets`: whose ipsets the kernel has, if not the daemon's own.
        """
        cells = self.cells(wanted)
        world = self.world(sets)
        foretold = {one: symbol_of(self._foretold(world, one)) for one in cells}
        found = {one: symbol_of(cell) for one, cell in cells.items()}
        differing = {
            one: (str(found[one]), cells[one].detail, str(foretold[one]))
            for one in found
            if found[one] != foretold[one]
        }
        assert differing == {}, "the lab, and the model"
        return {one: str(symbol) for one, symbol in found.items()}

    def cells(self, wanted: Iterable[Wanted]) -> dict[Wanted, Cell]:
        """What became of each question in the lab."""
        by_probe: dict[Probe, list[Wanted]] = defaultdict(list)
        order = list(wanted)
        for one in order:
            by_probe[one[2]].append(one)
        found: dict[Wanted, Cell] = {}
        for probe, group in by_probe.items():
            cells = ask_pairs(self.lab, probe, [(source, target) for source, target, _ in group])
            found |= dict(zip(group, cells, strict=True))
        assert [cell.detail for cell in found.values() if cell.outcome is Outcome.ERROR] == []
        return {one: found[one] for one in order}

    def world(self, sets: DockerHost | None = None) -> World:
        """The model of the lab, with the rules that the host's kernel has now."""
        self.lab.firewall(HOST)
        walls = {one.namespace.name: one for one in self.lab.firewalls}
        native = NftRuleset()
        if self.daemon.nft.tables:
            tables = self.lab.nft_firewall(HOST).everything().tables
            native = NftRuleset(tuple(table for table in tables if not belongs_to_iptables(table)))
        world = predicted_world(self.topology, {}, self.settings)
        views = []
        for view in (stack.view for stack in world.stacks.values()):
            if view.name in walls:
                wall = walls[view.name]
                view = replace(view, ipv4=wall.rules(), ipv6=wall.rules(version=6))
            if view.name == HOST:
                engine = self.daemon.host
                view = replace(
                    view,
                    nft=native,
                    sets=docker.ipsets(sets or engine),
                    services=services_of(engine),
                    sysctls={**view.sysctls, **docker.sysctls(engine)},
                )
            views.append(view)
        return misled(World(views, world.wires), *NEIGHBOUR)

    def _foretold(self, world: World, wanted: Wanted) -> Cell:
        source, target, probe = wanted
        found = exchange(self.topology, world, probe, source, target)
        return as_cell(source, target, found)


def all_of(sources: str, targets: str, *probes: Probe) -> list[Wanted]:
    """Every one of the sources to every one of the targets, both as words, with each probe."""
    return [
        (source, target, probe)
        for probe in probes
        for source in sources.split()
        for target in targets.split()
    ]
