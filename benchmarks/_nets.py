"""The networks that are measured, and the same networks in iproute2's words for the peers."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

from netverify import docker
from netverify.docker.from_topology import docker_host
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Visitor
from netverify.kernel.netlink import VethEnd, add_veth
from netverify.topology.model import (
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Network,
    NetworkDriver,
    Topology,
)

HOST = "host"
RTMGRP_LINK = 1  # include/uapi/linux/rtnetlink.h


def one_bridge(endpoints: int) -> Topology:
    """Endpoints on one bridge of one host that forwards, without any rules."""
    return _bridges("one-bridge", endpoints, 1, None)


def isolated_bridges(endpoints: int, bridges: int = 4) -> Topology:
    """Endpoints spread over bridges that Docker's classic rules keep apart (DOCKER-ISOLATION-STAGE-1, -2)."""
    return _bridges("isolated-bridges", endpoints, bridges, DockerDaemon("27.0"))


def _bridges(name: str, endpoints: int, bridges: int, engine: DockerDaemon | None) -> Topology:
    networks = tuple(
        Network(f"net{i}", NetworkDriver.BRIDGE, (HOST,), (IPv4Network(f"10.{i}.0.0/16"),))
        for i in range(bridges)
    )
    containers = tuple(Container(f"c{i}", HOST, (Endpoint(f"net{i % bridges}"),)) for i in range(endpoints))
    host = Host(HOST, forwarding=frozenset({"ipv4"}), docker=engine)
    return Topology(name, hosts=(host,), networks=networks, containers=containers)


def on_the_host(topology: Topology) -> str:
    """Batch of `ip` commands for the host's side; its own namespace is where the batch is run."""
    topology = topology.resolved()
    lines = []
    for network in topology.networks:
        lines.append(f"link add {network.device} up type bridge forward_delay 0")
        lines += [f"address add {address} dev {network.device}" for address in network.bridge_addresses]
    for container in topology.containers:
        for endpoint in container.endpoints:
            bridge = topology.network(endpoint.network).device
            lines.append(f"netns add {container.name}")
            lines.append(
                f"link add {endpoint.host_device} master {bridge} up type veth "
                f"peer name {endpoint.device} address {endpoint.mac} netns {container.name}"
            )
    return "\n".join(lines) + "\n"


def inside(topology: Topology) -> dict[str, str]:
    """For each container, the batch of `ip` commands that is run inside its namespace."""
    topology = topology.resolved()
    batches = {}
    for container in topology.containers:
        lines = ["link set lo up"]
        for attachment in topology.attachments(container.name):
            lines.append(f"link set {attachment.device} up")
            lines += [f"address add {address} dev {attachment.device}" for address in attachment.addresses]
        lines += [f"route add {route}" for route in topology.routes_of(container.name)]
        batches[container.name] = "\n".join(lines) + "\n"
    return batches


def take_down(topology: Topology) -> None:
    """Delete what the batches have made."""
    topology = topology.resolved()
    lines = [f"netns delete {container.name}" for container in topology.containers]
    lines += [f"link delete {network.device}" for network in topology.networks]
    batch("\n".join(lines) + "\n")


def batch(text: str, *options: str) -> None:
    """Run one `ip -batch`."""
    subprocess.run(["ip", *options, "-batch", "-"], input=text, text=True, check=True)


def docker_rules(topology: Topology) -> str:
    """The host's rules as a Docker engine of its version writes them, for iptables-restore."""
    ipv4, _ipv6 = docker.rules(docker_host(topology.resolved(), HOST))
    return ipv4.render()


@contextmanager
def quiet() -> Iterator[None]:
    """Leave only when the kernel has taken down every namespace that was let go meanwhile.

    It does so in the background, one batch after the other, holding locks that the next measurement would
    wait for. Two more namespaces go the same way: the second one is in a batch of its own, which begins when
    all before it is done (`cleanup_net`, net/core/net_namespace.c).
    """
    yield
    for _ in range(2):
        _let_one_go()


def _let_one_go() -> None:
    """Make a namespace, let it go, and wait for the end of its veth pair to disappear from ours."""
    with Visitor() as visitor:
        ((last, _),) = visitor.create(["last"], lambda: None)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as events:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)  # hundreds of devices go
        events.bind((0, RTMGRP_LINK))
        number = 1 + max(index for index, _name in socket.if_nameindex())
        channel = Channel()
        channel.send(HOST, [add_veth(VethEnd("last0", number), VethEnd("last1", 2, namespace=last.fd))])
        channel.close()
        last.close()
        while "last0" in (name for _index, name in socket.if_nameindex()):
            events.recv(65536)
