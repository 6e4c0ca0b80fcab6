"""A Docker engine's effects on a lab's host: its rules, its sysctls, its userland proxies. No engine runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    for version, rules in ((4, ipv4), (6, ipv6)):
        if rules.tables and version in lab.plan.versions:
            lab.firewall(host).restore(rules.render(), version=version)
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
