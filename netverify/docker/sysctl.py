"""What a daemon sets on its host besides rules."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.docker.config import GATEWAY_BRIDGE, BridgeNetwork, DockerHost
from netverify.docker.version import (
    ACCEPT_RA_OFF,
    BR_NETFILTER_ON_DEMAND,
    BR_NETFILTER_WITHOUT_PROXY,
    FORWARD_POLICY_ON_DEMAND,
)


def sysctls(host: DockerHost) -> dict[str, str]:
    """The sysctls that the daemon writes, in sysctl(8)'s notation, in the order of writing.

    The `net.ipv4.conf.BRIDGE` and `net.ipv6.conf.BRIDGE` ones need the bridge to exist. Nothing is ever set
    back to 0: what is not named here stays what it was.

    Sources: moby libnetwork/drivers/bridge/setup_ip_forwarding.go, setup_ipv4.go
    (setupLoopbackAddressesRouting), setup_ipv6.go, setup_device.go (setupDefaultSysctl),
    setup_bridgenetfiltering.go; libnetwork/service_linux.go (programIngress).
    """
    return dict(_sysctls(host))


def loads_br_netfilter(host: DockerHost) -> bool:
    """Whether the daemon loads br_netfilter.

    Where it was not loaded before, the kernel then sets net.bridge.bridge-nf-call-iptables and
    -ip6tables to 1 by itself, so that traffic within a bridge passes FORWARD. Until 27.2 that happens
    whenever the daemon starts with iptables, so on nearly every host; since then only for networks that
    need it.

    Sources: moby libnetwork/drivers/bridge/bridge_linux.go (configure), PR 48492; kernel
    net/bridge/br_netfilter_hooks.c (br_netfilter_sysctl_default).
    """
    if not (host.iptables or host.filters_ipv6):
        return False
    if not host.engine.has(BR_NETFILTER_ON_DEMAND):
        return True
    return any(_needs_br_netfilter(host, network) for network in host.networks)


def _sysctls(host: DockerHost) -> Iterator[tuple[str, str]]:
    turns_on = host.backend == "iptables"  # with the other the operator does, moby PR 50646
    if turns_on and (host.networks or not host.engine.has(FORWARD_POLICY_ON_DEMAND)):
        yield "net.ipv4.ip_forward", "1"
    for network in host.networks:
        # sysctl(8) writes a dot within a device's name as a slash.
        device = network.bridge.replace(".", "/")
        if host.engine.has(ACCEPT_RA_OFF):
            yield f"net.ipv6.conf.{device}.accept_ra", "0"
        if network.subnet6 is not None:
            if network.gateway_mode6 != "isolated":  # its bridge has no address, and stays without IPv6
                yield f"net.ipv6.conf.{device}.disable_ipv6", "0"
            if turns_on:
                yield "net.ipv6.conf.default.forwarding", "1"
                yield "net.ipv6.conf.all.forwarding", "1"
        serves_mesh = host.ingress is not None and network.bridge == GATEWAY_BRIDGE
        if not host.userland_proxy or serves_mesh:
            yield f"net.ipv4.conf.{device}.route_localnet", "1"
        if _needs_br_netfilter(host, network):
            yield "net.bridge.bridge-nf-call-iptables", "1"
            if network.subnet6 is not None:
                yield "net.bridge.bridge-nf-call-ip6tables", "1"


def _needs_br_netfilter(host: DockerHost, network: BridgeNetwork) -> bool:
    """Whether the network's rules only work when traffic within its bridge passes iptables.

    icc=false is a rule on such traffic. Without the proxy, so is the translation of a container's request
    to a published port of its neighbour: the reply must come back through the host.
    """
    if not host.iptables:
        return False
    without_proxy = not host.userland_proxy and host.engine.has(BR_NETFILTER_WITHOUT_PROXY)
    return not network.icc or without_proxy
