"""A Docker engine's effects on a lab's host: its rules, its sysctls, its userland proxies. No engine runs."""

from __future__ import annotations

import socket
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


def start_docker(lab: Lab, host: str) -> None:
    """Leave on `host` what a Docker engine of its version leaves there."""
    engine = docker_host(lab.topology, host)
    settings = dict(BRIDGE_NETFILTER) if docker.loads_br_netfilter(engine) else {}
    settings |= docker.sysctls(engine)
    wanted = [item for item in settings.items() if 6 in lab.plan.versions or "ipv6" not in item[0]]
    lab.visit(host, lambda: sysctls.write_all(wanted))
    if not engine.userland_proxy:
        _hairpin(lab, host)
    ipv4, ipv6 = docker.rules(engine)
    if docker.ipsets(engine):
        lab.visit(host, lambda: _make_sets(engine))
    for version, rules in ((4, ipv4), (6, ipv6)):
        if rules.tables and version in lab.plan.versions:
            lab.firewall(host).restore(rules.render(), version=version)
    if engine.backend == "nftables":
        lab.nft_firewall(host).load(docker.nft_rules(engine))
    for listener in docker.listeners(engine):
        if listener.address.version not in lab.plan.versions:
            continue
        upstream, port = listener.target if listener.target is not None else (None, 0)
        address = None if listener.address.is_unspecified else listener.address
        relay = Relay(lab.namespace(host), address, listener.port, upstream, port, listener.address.version)
        lab.relays.append((listener.protocol, relay))


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


def _make_sets(engine: docker.DockerHost) -> None:
    """The sets that 28.0.0's rules look into, before the rules that name them."""
    with IPSet() as sets:
        for name, subnets in docker.ipsets(engine).items():
            family = socket.AF_INET6 if name.endswith("v6") else socket.AF_INET
            sets.create(name, stype="hash:net", family=family)
            for subnet in subnets:
                sets.add(name, str(subnet), family=family, etype="net")
