"""A real engine's own containers in a lab: the same questions, put to them with packets and to the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from netverify.docker import Version
from netverify.docker.version import IP6TABLES
from netverify.kernel import addresses
from netverify.kernel.bystanders import Bystanders
from netverify.kernel.docker_engine import Engine
from netverify.kernel.engines.engine import Listener, Pair, Source, Target
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.model.naming import split_target
from netverify.reachability.observed import ObservedMatrix
from netverify.reachability.probe import Probe
from netverify.topology.load import load
from netverify.topology.model import DockerDaemon, Route, Topology
from suites.docker.answers import Answer
from suites.docker.grid import NO_ROUTE_WHEN_INTERNAL

HOST, NEIGHBOUR = "host", "neighbour"

# As kernel/sysctls.py has them in every lab: no answer is withheld, none repeated into a later question.
ANSWERS = ("net.ipv4.icmp_ratemask", "net.ipv6.icmp.ratelimit", "net.ipv4.tcp_synack_retries")


# Where the userland proxies' own ports come from: not from where those of our probes do, which name cells.
PORTS = ("net.ipv4.ip_local_port_range", "60000 65535")


def topology(version: str, *, proxy: bool) -> Topology:
    """cells.yaml with an engine of that version on the host, with or without userland proxies."""
    engine = Version.parse(version)
    daemon = DockerDaemon(version, userland_proxy=proxy, ipv6=True if engine.has(IP6TABLES) else None)
    found = load(Path(__file__).with_name("cells.yaml")).with_host(HOST, docker=daemon)
    if not engine.has(NO_ROUTE_WHEN_INTERNAL):
        ways = (Route.parse("default via 172.20.0.1"), Route.parse("default via fd00:20::1"))
        for name in ("inside1", "inside2"):
            found = found.with_container(name, routes=ways)
    return found.resolved()


def adopt(lab: Lab, engine: Engine, plan: Topology) -> None:
    """Take in the engine's host and containers, and plug a neighbour into the host's other end of eth0."""
    lab.create_namespaces([NEIGHBOUR], ipv6=True)
    lab.plan.versions = (4, 6)
    lab.adopt(HOST, engine.namespace_path())
    for container in plan.containers:
        lab.adopt(container.name, engine.namespace_path(container.name))
    for name in lab.channels:
        for key in ANSWERS:
            lab.sysctl(name, key, 0)
    lab.sysctl(HOST, *PORTS)
    lab.run(HOST, ["ip", "link", "set", "peer0", "netns", lab.namespace(NEIGHBOUR).path])
    node = plan.host(NEIGHBOUR)
    commands = ["ip link set lo up", "ip link set peer0 name eth0"]
    commands += [f"ip address add {one} dev eth0 nodad" for one in node.interfaces[0].addresses]
    commands += ["ip link set eth0 up"]
    commands += [f"ip route add {one.destination} via {one.via}" for one in node.routes]
    lab.run(NEIGHBOUR, ["sh", "-ec", "; ".join(commands)])
    lab.settle()
    addresses.settle(lab.visitor, lab.channels)
    lab.firewall(HOST, Backend.NFT)


def addressed(plan: Topology, version: int) -> list[str]:
    """Everybody who has an address of that IP version: containers, then hosts."""
    everybody = [*(one.name for one in plan.containers), *(one.name for one in plan.hosts)]
    return [name for name in everybody if plan.addresses_of(name, version)]


def observed(
    lab: Lab, engine: Engine, plan: Topology, probe: Probe, sources: list[str], targets: list[str]
) -> ObservedMatrix:
    """The matrix that the kernel shows; everybody listens on the probe's port, over both IP versions."""
    spaces = [lab.namespace(node.name) for node in plan.nodes()]
    listeners = [Listener(space, probe.port) for space in spaces]
    if probe.port is not None:  # a proxy may lead from one to the other
        listeners += [Listener(space, probe.port, 10 - probe.version) for space in spaces]
    aims = [_target(plan, probe, text) for text in targets]
    pairs = [Pair(Source(name, lab.namespace(name)), aim) for name in sources for aim in aims]
    prober = replace(lab.prober, bystanders=Bystanders(engine.proxies()))
    cells = prober.ask(probe, pairs, listeners)
    return ObservedMatrix.of(probe, cells, rows=sources, columns=targets)


def seen(left: ObservedMatrix, right: ObservedMatrix) -> Iterator[str]:
    """Where somebody else received a request, or from another address: what translation made of it."""
    answers = [{(one.source, one.target): Answer.of(one) for one in side.cells()} for side in (left, right)]
    for pair, one in answers[0].items():
        other = answers[1][pair]
        if (one.receiver, one.source) != (other.receiver, other.source):
            yield f"{pair[0]} -> {pair[1]}: {_view(one)}, and {_view(other)}"


def _view(answer: Answer) -> str:
    if answer.receiver is None:
        return "nobody received it"
    return f"{answer.receiver} received it" + (f" from {answer.source}" if answer.source else "")


def _target(plan: Topology, probe: Probe, text: str) -> Target:
    name, address, port = split_target(text)
    own = plan.addresses_of(name, probe.version)
    address = address or own[0]
    return Target(text, address, port, name if address in own and port in (None, probe.port) else None)
