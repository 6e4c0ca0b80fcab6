"""A swarm's node: docker_gwbridge, by which tasks reach the outside, and DOCKER-INGRESS, by which they are
reached.

The mesh ends in the ingress sandbox, a namespace on docker_gwbridge, where IPVS hands connections to tasks on
all nodes by an overlay. Here a service in that namespace stands for all that is behind: what the host's rules
let through to it is shown, what IPVS does with it is not. The tasks' own rules need no IPVS; for them a
translation in the sandbox does what IPVS would do with a single task.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

import pytest

from netverify.docker import DockerError, Ingress, MeshPort, docker_host, rules, task_rules
from netverify.docker.version import INGRESS_RELOADED
from netverify.kernel.lab import Lab
from netverify.reachability.probe import icmp, tcp
from netverify.topology.model import Container, Endpoint, Network, NetworkDriver, Topology
from suites.docker.grid import setting
from suites.docker.releases import RELEASES, Release
from suites.docker.scene import HOST, Scene

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")

MESH = Ingress(IPv4Address("172.30.0.2"), ((8090, "tcp"),))


def node(release: Release) -> Topology:
    """The grid's host with docker_gwbridge, on it the ingress sandbox and two tasks."""
    found = setting("default").topology(release)
    gateway = Network(
        "docker_gwbridge",
        NetworkDriver.BRIDGE,
        (HOST,),
        (ip_network("172.30.0.0/16"),),
        device="docker_gwbridge",
        icc=False,
    )
    names = ("mesh", "task1", "task2")
    tasks = [Container(name, HOST, endpoints=(Endpoint("docker_gwbridge"),)) for name in names]
    return found.adding(gateway, *tasks).resolved()


@pytest.fixture
def swarm(lab: Lab, iptables_release: Release) -> Scene:
    """The node with port 8090 of a service in the mesh."""
    scene = Scene.of(lab, node(iptables_release))
    scene.start(replace(docker_host(scene.topology, HOST), ingress=MESH))
    return scene


def test_who_reaches_the_mesh(swarm: Scene) -> None:
    """Everybody, by every address of the host: LAN, internet, containers of other networks, tasks, the host.

    The host's own loopback too, which needs route_localnet on docker_gwbridge and the mesh's masquerading.
    """
    everybody = [
        (source, "host:8090", tcp(8090))
        for source in ("neighbour", "internet", "web1", "other", "task1", "host")
    ]
    everybody += [
        ("neighbour", "host@172.18.0.1:8090", tcp(8090)),
        ("host", "host@127.0.0.1:8090", tcp(8090)),
    ]
    found = swarm.answers(everybody)
    assert {one[0]: symbol for one, symbol in found.items() if symbol != "."} == {}
    cells = swarm.cells(everybody)
    assert {cell.receiver for cell in cells.values()} == {"mesh"}
    seen = {one: (cell.seen_source or "").rpartition(":")[0] for one, cell in cells.items()}
    # The LAN's addresses are kept. What comes from a bridge or from the host leaves with the bridge's own.
    assert seen["neighbour", "host:8090", tcp(8090)] == "198.51.100.20"
    assert seen["web1", "host:8090", tcp(8090)] == "172.30.0.1"
    assert seen["host", "host@127.0.0.1:8090", tcp(8090)] == "172.30.0.1"


def test_without_route_localnet_the_loopback_is_lost(swarm: Scene) -> None:
    """What the mesh's own setting is for."""
    asked = ("host", "host@127.0.0.1:8090", tcp(8090))
    assert swarm.lab.ask(asked[2], *asked[:2]).receiver == "mesh"
    swarm.lab.sysctl(HOST, "net.ipv4.conf.docker_gwbridge.route_localnet", 0)
    assert swarm.lab.ask(asked[2], *asked[:2]).receiver is None


def test_the_mesh_is_ipv4_s_alone(swarm: Scene) -> None:
    """Over IPv6 the engine's own socket takes the connection, and nobody ever reads from it."""
    asked = ("neighbour", "host:8090", tcp(8090, version=6))
    assert list(swarm.answers([asked]).values()) == [">"]


def test_tasks_and_the_outside(swarm: Scene) -> None:
    """docker_gwbridge is a network with icc=false: tasks reach the outside by it, and not each other."""
    found = swarm.answers(
        [
            ("task1", "internet", tcp(80)),
            ("task1", "task2", tcp(83)),
            ("task1", "mesh", icmp()),
            ("task1", "web1", tcp(83)),
            ("web1", "task1", tcp(83)),
            ("neighbour", "task1", tcp(83)),
        ]
    )
    assert list(found.values()) == [".", "F", "F", "F", "F", "F"]
    (cell,) = swarm.cells([("task1", "internet", tcp(80))]).values()
    assert (cell.seen_source or "").startswith("198.51.100.10:")


def test_the_mesh_s_port_is_open_on_docker_gwbridge_itself(swarm: Scene) -> None:
    """DOCKER-INGRESS accepts its port to whatever address: the sandbox's and every task's own, from the LAN.

    Until 28.1 so; since 28.2 the raw table guards the addresses of endpoints that the engine knows of. It
    never asks who is asked.
    """
    found = swarm.answers(
        [("neighbour", "task1", tcp(8090)), ("web1", "task1", tcp(8090)), ("neighbour", "web1", tcp(8090))]
    )
    guarded = swarm.daemon.host.generation.name in ("B2", "C")
    assert set(found.values()) == {"F" if guarded else "."}


def test_icc_is_pierced_by_the_mesh_s_port(swarm: Scene) -> None:
    """And between tasks, whom icc=false keeps apart otherwise: the accept comes first, whoever asks."""
    found = swarm.answers([("task1", "task2", tcp(8090)), ("task1", "task2", tcp(8091))])
    assert list(found.values()) == [".", "F"]


def test_a_reload_of_firewalld_loses_the_mesh(swarm: Scene) -> None:
    """Before 29.0 (but for 25.0.13) the engine writes its networks' rules again, and the mesh's not.

    Its socket still takes connections to the port, and nobody reads them.
    """
    asked = [("neighbour", "host:8090", tcp(8090)), ("web1", "host:8090", tcp(8090))]
    for table in ("raw", "mangle", "nat", "filter"):
        swarm.iptables(f"-t {table} -F", f"-t {table} -X")
    assert set(swarm.answers(asked).values()) == {">"}
    swarm.become(swarm.daemon.reloaded())
    kept = swarm.daemon.host.engine.has(INGRESS_RELOADED)
    assert set(swarm.answers(asked).values()) == {"." if kept else ">"}


# --- behind IPVS -------------------------------------------------------------------------------------------

SANDBOX, TASK = "10.0.0.2", "10.0.0.3"


def test_a_task_s_own_rules(lab: Lab, iptables_release: Release) -> None:
    """From the LAN by the mesh to a task: its rules lead the published port to the service's own.

    On its address of the ingress network nothing else of the task is open, to its neighbours there either;
    and it begins nothing from that address. Its other address is not touched.
    """
    network = Network("ingress", NetworkDriver.BRIDGE, (HOST,), (ip_network("10.0.0.0/24"),), device="br-ing")
    found = node(iptables_release).adding(network)
    for name in ("mesh", "task1", "task2"):
        here = found.container(name).endpoints
        found = found.with_container(name, endpoints=(*here, Endpoint("ingress")))
    scene = Scene.of(lab, found)
    scene.start(replace(docker_host(scene.topology, HOST), ingress=MESH))
    at = {name: str(scene.topology.addresses_of(name, 4)[1]) for name in ("mesh", "task1")}
    assert at == {"mesh": SANDBOX, "task1": TASK}
    lab.firewall("task1").restore(task_rules(IPv4Address(TASK), (MeshPort(8090, 80),)).render())
    scene.sysctl("mesh", "net.ipv4.ip_forward", "1")
    for rule in (
        f"PREROUTING -p tcp --dport 8090 -j DNAT --to-destination {TASK}",
        f"POSTROUTING -d 10.0.0.0/24 -j SNAT --to-source {SANDBOX}",
    ):
        lab.firewall("mesh").run(f"-t nat -A {rule}")

    asked = ("neighbour", "host:8090", tcp(80))
    assert list(scene.answers([asked]).values()) == ["."]
    (cell,) = scene.cells([asked]).values()
    assert (cell.receiver, (cell.seen_source or "").partition(":")[0]) == ("task1", SANDBOX)
    others = [
        ("task2", f"task1@{TASK}", tcp(80)),
        ("task2", f"task1@{TASK}:8090", tcp(80)),
        ("task2", f"task1@{TASK}", tcp(83)),
        ("task1", "task2@10.0.0.4", tcp(83)),
        ("task2", f"task1@{TASK}", icmp()),
        ("task1", "internet", tcp(80)),
    ]
    assert list(scene.answers(others).values()) == [".", ".", "F", "F", ".", "."]


def test_ip6tables_knows_nothing_of_the_mesh(iptables_release: Release) -> None:
    """The mesh has no rules there, whether the release filters IPv6 or not."""
    engine = docker_host(node(iptables_release), HOST)
    mesh = replace(engine, ingress=MESH)
    assert rules(mesh)[0] != rules(engine)[0]
    assert rules(mesh)[1] == rules(engine)[1]


def test_no_swarm_runs_on_the_nftables_backend() -> None:
    """moby daemon/config/config_linux.go refuses it."""
    with pytest.raises(DockerError, match="a swarm does not run on the nftables backend"):
        replace(docker_host(node(RELEASES[-1]), HOST), ingress=MESH)
