"""A Docker engine's effects on a lab's host: its rules, its sysctls, its userland proxies. No engine runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from pyroute2.ipset import IPSet

from netverify import docker
from netverify.docker.from_topology import docker_host
from netverify.kernel import netlink, sysctls
from netverify.kernel.engines.engine import Relay
from netverify.model.topologies import BRIDGE_NETFILTER
from netverify.topology.model import NetworkDriver

if TYPE_CHECKING:
    from netverify.kernel.lab import Lab


def start_docker(lab: Lab, host: str, engine: docker.DockerHost | None = None) -> None:
    """Leave on `host` what a Docker engine of its version leaves there.

    `engine` is what the engine knows, if that is more than the topology says: links, a swarm's mesh.
    """
    engine = docker_host(lab.topology, host) if engine is None else engine
    settings = dict(BRIDGE_NETFILTER) if docker.loads_br_netfilter(engine) else {}
    settings |= docker.sysctls(engine)
    wanted = [item for item in settings.items() if 6 in lab.plan.versions or "ipv6" not in item[0]]
    lab.visit(host, lambda: sysctls.write_all(wanted))
    if not engine.userland_proxy:
        _hairpin(lab, host)
    put_rules(lab, host, docker.Daemon.started(engine))
    space = lab.namespace(host)
    lab.relays[:] = [(protocol, relay) for protocol, relay in lab.relays if relay.namespace is not space]
    for listener in docker.listeners(engine):
        if listener.address.version not in lab.plan.versions:
            continue
        upstream, port = listener.target if listener.target is not None else (None, 0)
        address = None if listener.address.is_unspecified else listener.address
        version, as_asked = listener.address.version, listener.answers_as_asked
        relay = Relay(space, address, listener.port, upstream, port, version, as_asked)
        lab.relays.append((listener.protocol, relay))


def put_rules(lab: Lab, host: str, daemon: docker.Daemon) -> None:
    """Put a daemon's rules into the kernel in place of those there, with the sets that they look into.

    Tables that the daemon does not know stay as they are.
    """
    sets = docker.ipsets(daemon.host)
    if sets:
        lab.visit(host, lambda: make_sets(sets))
    for version, rules in ((4, daemon.ipv4), (6, daemon.ipv6)):
        if rules.tables and version in lab.plan.versions:
            lab.firewall(host).restore(rules.render(), version=version)
    if daemon.nft.tables:
        names = [f"{table.family} {table.name}" for table in daemon.nft.tables]
        lab.run(host, ["nft", "".join(f"add table {name}; delete table {name}; " for name in names)])
        lab.nft_firewall(host).load(daemon.nft)


def _hairpin(lab: Lab, host: str) -> None:
    """Without the proxy a container reaches its own published port through its own bridge port.

    Source: moby libnetwork/drivers/bridge/bridge.go, setHairpinMode.
    """
    ports = [
        lab.plan.device(host, endpoint.host_device)
        for network in lab.topology.networks_on(host)
        if network.driver is NetworkDriver.BRIDGE
        for _container, endpoint in lab.topology.endpoints_on(network.name)
        if endpoint.host_device is not None
    ]
    lab.netlink(host, [netlink.set_hairpin(port) for port in ports])


def make_sets(wanted: Mapping[str, Sequence[IPv4Network | IPv6Network]]) -> None:
    """The sets that 28.0.0's rules look into, before the rules that name them; those there are emptied."""
    with IPSet() as sets:
        for name, subnets in wanted.items():
            family = socket.AF_INET6 if name.endswith("v6") else socket.AF_INET
            sets.create(name, stype="hash:net", family=family, exclusive=False)
            sets.flush(name)
            for subnet in subnets:
                sets.add(name, str(subnet), family=family, etype="net")
