"""A snapshot of a real engine's host, taken by the collector, and its containers asked with packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from netverify.audit.case import Case
from netverify.host import read_snapshot
from netverify.kernel import addresses, collect
from netverify.kernel.bystanders import Bystanders
from netverify.kernel.docker_engine import Done, Engine
from netverify.kernel.engines.engine import Pair, Source, Target
from netverify.kernel.firewall import Backend
from netverify.kernel.lab import Lab
from netverify.kernel.twin_services import services
from netverify.model.subject import Subject
from netverify.reachability.probe import Cell, Probe
from netverify.topology.model import Address
from suites.engine.cells import ANSWERS, PORTS
from suites.engine.client import printed

STRANGER = "(behind eth0)"
OWN = ("192.0.2.2/24", "2001:db8::2/64")  # the first addresses that are free there
WAYS = ("172.16.0.0/12 via 192.0.2.1", "fd00::/16 via 2001:db8::1")


def plug(lab: Lab, engine: Engine) -> None:
    """Put a neighbour at the other end of the host's eth0: the model's stranger, with its addresses."""
    lab.create_namespaces([STRANGER], ipv6=True)
    lab.plan.versions = (4, 6)
    lab.adopt("host", engine.namespace_path())
    for key in ANSWERS:
        lab.sysctl("host", key, 0)
    lab.sysctl("host", *PORTS)
    lab.run("host", ["ip", "link", "set", "peer0", "netns", lab.namespace(STRANGER).path])
    commands = ["ip link set lo up", "ip link set peer0 name eth0"]
    commands += [f"ip address add {one} dev eth0 nodad" for one in OWN]
    commands += ["ip link set eth0 up", *(f"ip route add {way}" for way in WAYS)]
    lab.run(STRANGER, ["sh", "-ec", "; ".join(commands)])
    lab.settle()
    addresses.settle(lab.visitor, lab.channels)
    lab.firewall("host", Backend.NFT)


def adopt(lab: Lab, engine: Engine, subject: Subject) -> None:
    """Take in the containers of a snapshot. Whom the model takes to be behind bridges is nobody here."""
    others = [each.name for each in subject.strangers if each.name != STRANGER]
    lab.create_namespaces(others, ipv6=True)
    for node in subject.world.stacks:
        if node not in ("host", STRANGER, *others):
            lab.adopt(node, engine.namespace_path(node))
            for key in ANSWERS:
                lab.sysctl(node, key, 0)
    lab.settle()
    addresses.settle(lab.visitor, lab.channels)


def ask(
    lab: Lab, engine: Engine, subject: Subject, probe: Probe, pairs: Sequence[tuple[str, str, Address]]
) -> list[Cell]:
    """One cell for each (source, target, address), of the real containers; everybody listens.

    Where a proxy of the engine has the host's port, that proxy it is that listens there.
    """
    owners = {address: subject.owner(address) for _, _, address in pairs}
    offered = services(lab, subject, probe, owners)
    proxied = {(service.protocol, service.port) for view in subject.views for service in view.services}
    held = {"tcp": 6, "udp": 17}.get(probe.protocol, 0), probe.port
    taken = {lab.namespace("host").name} if held in proxied else set()
    listeners = [each for each in offered.listeners if each.namespace.name not in taken]
    wanted = [
        Pair(
            Source(source, lab.namespace(subject.endpoint(source).node)),
            Target(target, address, None, _holder(lab, owners[address], taken)),
        )
        for source, target, address in pairs
    ]
    prober = replace(lab.prober, bystanders=Bystanders(engine.proxies()))
    return prober.ask(probe, wanted, listeners)


def _holder(lab: Lab, owner: str | None, taken: set[str]) -> str | None:
    name = None if owner is None else lab.namespace(owner).name
    return None if name in taken else name


# --- collecting ---------------------------------------------------------------------------------------------


def case(engine: Engine) -> Case:
    """The engine's host, to be audited."""
    parts = collect.collect(lambda command: _run(engine, command), name="engine")
    return Case.of(read_snapshot(parts), "engine")


def _run(engine: Engine, command: Sequence[str]) -> Done:
    if command[0] == "docker":
        return Done(list(command), 0, printed(engine.ask, command[1:]), "")
    path = engine.namespace_path()
    if command[0] == "nsenter":  # the engine numbers processes as its own /proc does
        path = path.removesuffix("/ns/net") + "/root" + command[1].removeprefix("--net=")
        command = command[2:]
    return collect.run_here(["nsenter", f"--net={path}", "--", *command])
