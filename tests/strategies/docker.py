"""Strategies for the docker room: hosts with networks and published ports that an engine would accept."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from netverify.docker import GATEWAY_MODES, Attachment, BridgeNetwork, DockerHost, PublishedPort, Version
from netverify.docker.config import PROTOCOLS
from netverify.docker.version import (
    DIRECT_ROUTING,
    FORWARD_POLICY_ON_DEMAND,
    IP6TABLES,
    ROUTED_MODE,
    UNPROTECTED_AND_ISOLATED_MODES,
)

VERSIONS = (
    "17.06",
    "18.05",
    "18.09",
    "19.03.11",
    "20.10.5",
    "20.10.24",
    "23.0",
    "24.0",
    "25.0",
    "26.1",
    "27.0",
    "27.5",
    "28.0.0",
    "28.0.1",
    "28.2.2",
    "28.5",
    "29.0",
)


@cache
def versions() -> st.SearchStrategy[str]:
    """Versions on every side of every change of the iptables generations."""
    return st.sampled_from(VERSIONS)


def networks(lowest: int = 0) -> st.SearchStrategy[BridgeNetwork]:
    """A network out of a hundred, numbered from `lowest`; two of different numbers have nothing in common."""

    def build(number: int, dual: bool, **options: bool) -> BridgeNetwork:
        subnet = IPv4Network((f"10.{number}.0.0", 16))
        subnet6 = IPv6Network((f"fd00:{number:x}::", 64)) if dual else None
        return BridgeNetwork(f"net{number}", f"br{number}", subnet, subnet6, **options)

    flags = {name: st.booleans() for name in ("internal", "icc", "masquerade")}
    return st.builds(build, st.integers(lowest, lowest + 99), st.booleans(), **flags)


def ports(network: BridgeNetwork) -> st.SearchStrategy[PublishedPort]:
    """A published port of one of the network's first containers."""

    def build(number: int, *values: object) -> PublishedPort:
        container = network.subnet[number + 2]
        container6 = None if network.subnet6 is None else network.subnet6[number + 2]
        return PublishedPort(network.name, container, *values, container6=container6)

    addresses = st.sampled_from(
        [None, *map(IPv4Address, ("0.0.0.0", "127.0.0.1")), *map(IPv6Address, ("::", "::1"))]
    )
    numbers = st.integers(1, 65535)
    return st.builds(build, st.integers(0, 3), numbers, numbers, st.sampled_from(PROTOCOLS), addresses)


@st.composite
def docker_hosts(draw: st.DrawFn) -> DockerHost:
    """A host with up to six networks, the default bridge among them or not, and a few published ports."""
    version = draw(versions())
    found = draw(st.lists(networks(), max_size=6, unique_by=lambda network: network.name))
    if found and draw(st.booleans()):
        found[0] = replace(found[0], name="bridge", bridge="docker0", default=True, internal=False)
    engine = Version.parse(version)
    modes = st.sampled_from([mode for mode in GATEWAY_MODES if _goes(mode, engine)])
    found = [replace(one, gateway_mode=draw(modes), gateway_mode6=draw(modes)) for one in found]
    attached = [
        Attachment(one.name, one.subnet[9], None if one.subnet6 is None else one.subnet6[9])
        for one in found
        if draw(st.booleans())
    ]
    open_networks = [network for network in found if not network.internal]
    published: list[PublishedPort] = []
    if open_networks:
        choice = st.sampled_from(open_networks).flatmap(ports)
        published = draw(st.lists(choice, max_size=6, unique_by=lambda port: (port.host_port, port.protocol)))
    return DockerHost(
        version,
        tuple(found),
        tuple(published),
        forward_policy=draw(st.sampled_from(["ACCEPT", "DROP"])),
        userland_proxy=draw(st.booleans()),
        ip6tables=draw(st.booleans()) and engine.has(IP6TABLES),
        forward_policy6=draw(st.sampled_from(["ACCEPT", "DROP"])),
        ip_forward_no_drop=engine.has(FORWARD_POLICY_ON_DEMAND) and draw(st.booleans()),
        allow_direct_routing=engine.has(DIRECT_ROUTING) and draw(st.booleans()),
        attached=tuple(attached),
    )


def _goes(mode: str, engine: Version) -> bool:
    """Whether a network that need not be internal can have the gateway mode."""
    needs = {"routed": ROUTED_MODE, "nat-unprotected": UNPROTECTED_AND_ISOLATED_MODES}
    return mode == "nat" or (mode in needs and engine.has(needs[mode]))
