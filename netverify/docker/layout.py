"""How the iptables generations since 28.0 lay out their chains: the table that their writer reads.

One writer (`default_drop.py`) writes them all; what differs between them stands here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from netverify.docker.config import DockerHost
from netverify.docker.version import (
    DROPS_BY_CONTAINER,
    DROPS_BY_PORT,
    INTERNAL_CHAIN,
    SETS,
    Generation,
)
from netverify.docker.writer import STAGE_1

FORWARD = "DOCKER-FORWARD"
CONNTRACK = "DOCKER-CT"
BRIDGE = "DOCKER-BRIDGE"
INTERNAL = "DOCKER-INTERNAL"

SET_NAMES = {"ipv4": "docker-ext-bridges-v4", "ipv6": "docker-ext-bridges-v6"}
"""28.0.0's ipsets (hash:net): the subnets of all networks that are not internal."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One generation's choices.

    `forward`: the chain that holds the rules for forwarded packets. `by_set`: replies and published ports are
    told by an ipset of subnets, and not by a rule a bridge in DOCKER-CT and DOCKER-BRIDGE. `internal`: the
    chain of internal networks' drops, which FORWARD's rules come to before any ACCEPT but that of replies.
    `stages`: whether STAGE-1 and STAGE-2 keep networks apart, beside each bridge's own default drop.
    `by_family`: whether a network stands in STAGE-1 and STAGE-2 of those families alone that it has.
    `skip_dnat`: of which networks the containers' requests pass by the translations: while the proxy runs
    those of `masqueraded` ones; `masqueraded and routed`: and those of routed ones even without the proxy.
    `drops_ports`: whether the raw table protects the published ports of a container, or (false) all of it.
    """

    forward: str
    by_set: bool
    internal: str
    stages: bool
    by_family: bool
    skip_dnat: Literal["none", "masqueraded", "masqueraded and routed"]
    drops_ports: bool


LAYOUTS: Mapping[Generation, Layout] = {
    SETS: Layout(
        "FORWARD", True, STAGE_1, True, by_family=False, skip_dnat="masqueraded and routed", drops_ports=True
    ),
    DROPS_BY_PORT: Layout(
        FORWARD, False, STAGE_1, True, by_family=False, skip_dnat="masqueraded and routed", drops_ports=True
    ),
    DROPS_BY_CONTAINER: Layout(
        FORWARD, False, STAGE_1, True, by_family=True, skip_dnat="masqueraded", drops_ports=False
    ),
    INTERNAL_CHAIN: Layout(
        FORWARD, False, INTERNAL, False, by_family=True, skip_dnat="none", drops_ports=False
    ),
}


def ipsets(host: DockerHost) -> dict[str, tuple[IPv4Network | IPv6Network, ...]]:
    """The sets that the host's rules refer to, by name, with what they hold; none but with 28.0.0."""
    if host.generation is not SETS:
        return {}
    open_networks = [network for network in host.networks if not network.internal]
    return {
        SET_NAMES["ipv4"]: tuple(network.subnet for network in open_networks),
        SET_NAMES["ipv6"]: tuple(one.subnet6 for one in open_networks if one.subnet6 is not None),
    }
