"""A real engine's own containers in a lab: the same questions, put to them with packets and to the model."""

from __future__ import annotations

from pathlib import Path

from netverify.docker import Version
from netverify.docker.version import IP6TABLES
from netverify.kernel.docker_engine import Engine
from netverify.kernel.engines.engine import Listener, Pair, Source, Target
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.model.naming import split_target
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Probe
from netverify.topology.load import load
from netverify.topology.model import DockerDaemon, Route, Topology
from suites.docker.grid import NO_ROUTE_WHEN_INTERNAL

HOST, NEIGHBOUR = "host", "neighbour"

# As kernel/sysctls.py has them in every lab: no answer is withheld, none repeated into a later question.
ANSWERS = ("net.ipv4.icmp_ratemask", "net.ipv6.icmp.ratelimit", "net.ipv4.tcp_synack_retries")


def topology(version: str) -> Topology:
    """cells.yaml with an engine of that version on the host."""
    engine = Version.parse(version)
    daemon = DockerDaemon(version, userland_proxy=False, ipv6=True if engine.has(IP6TABLES) else None)
    found = load(Path(__file__).with_name("cells.yaml")).with_host(HOST, docker=daemon)
    if not engine.has(NO_ROUTE_WHEN_INTERNAL):
        ways = (Route.parse("default via 172.20.0.1"), Route.parse("default via fd00:20::1"))
        for name in ("inside1", "inside2"):
            found = found.with_container(name, routes=ways)
    return found.resolved()


def adopt(lab: Lab, engine: Engine, plan: Topology) -> None:
    """Take in the engine's host and containers, and plug a neighbour into the host's other end of eth0."""
    lab.create_namespaces([NEIGHBOUR], ipv6=True)
    lab.adopt(HOST, engine.namespace_path())
    for container in plan.containers:
        lab.adopt(container.name, engine.namespace_path(container.name))
    for name in lab.channels:
        for key in ANSWERS:
            lab.sysctl(name, key, 0)
    lab.run(HOST, ["ip", "link", "set", "peer0", "netns", lab.namespace(NEIGHBOUR).path])
    node = plan.host(NEIGHBOUR)
    commands = ["ip link set lo up", "ip link set peer0 name eth0"]
    commands += [f"ip address add {one} dev eth0 nodad" for one in node.interfaces[0].addresses]
    commands += ["ip link set eth0 up"]
    commands += [f"ip route add {one.destination} via {one.via}" for one in node.routes]
    lab.run(NEIGHBOUR, ["sh", "-ec", "; ".join(commands)])
    lab.settle()
    lab.firewall(HOST, Backend.NFT)


def observed(
    lab: Lab, plan: Topology, probe: Probe, sources: list[str], targets: list[str]
) -> ObservedMatrix:
    """The matrix that the kernel shows; everybody listens on the probe's port."""
    nodes = [node.name for node in plan.nodes()]
    listeners = [Listener(lab.namespace(name), probe.port) for name in nodes]
    aims = [_target(plan, probe, text) for text in targets]
    pairs = [Pair(Source(name, lab.namespace(name)), aim) for name in sources for aim in aims]
    cells = lab.prober.ask(probe, pairs, listeners)
    return ObservedMatrix.of(probe, cells, rows=sources, columns=targets)


def _target(plan: Topology, probe: Probe, text: str) -> Target:
    name, address, port = split_target(text)
    own = plan.addresses_of(name, probe.version)
    address = address or own[0]
    return Target(text, address, port, name if address in own and port in (None, probe.port) else None)
