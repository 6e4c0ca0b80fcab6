"""What Docker writes: networks and published ports of a host, by the engine's version, to exact rules.

Start with `DockerHost` and `rules`, or `nft_rules` for the nftables backend. `Daemon` plays a longer life:
networks that come and go, restarts, and rules that were there before. `listeners` and `sysctls` are what
the daemon sets up besides rules.
"""

from __future__ import annotations

from netverify.docker.binding import Binding, Listener, bindings, listeners
from netverify.docker.config import (
    Attachment,
    BridgeNetwork,
    DockerHost,
    Ingress,
    Link,
    Protocol,
    PublishedPort,
)
from netverify.docker.daemon import Daemon, rules
from netverify.docker.errors import DockerError, UnsupportedEngine
from netverify.docker.firewall import Firewaller, firewaller
from netverify.docker.from_topology import docker_host
from netverify.docker.layout import ipsets
from netverify.docker.mesh import MeshPort, sandbox_rules, task_rules
from netverify.docker.nft import nft_rules
from netverify.docker.options import GATEWAY_MODES, GatewayMode
from netverify.docker.recognition import Missing, Recognition, Stale, recognise
from netverify.docker.step import Action, Step, play
from netverify.docker.sysctl import loads_br_netfilter, sysctls
from netverify.docker.version import GENERATIONS, Backend, Change, Generation, Version, generation_of

__all__ = [
    "GATEWAY_MODES",
    "GENERATIONS",
    "Action",
    "Attachment",
    "Backend",
    "Binding",
    "BridgeNetwork",
    "Change",
    "Daemon",
    "DockerError",
    "DockerHost",
    "Firewaller",
    "GatewayMode",
    "Generation",
    "Ingress",
    "Link",
    "Listener",
    "MeshPort",
    "Missing",
    "Protocol",
    "PublishedPort",
    "Recognition",
    "Stale",
    "Step",
    "UnsupportedEngine",
    "Version",
    "bindings",
    "docker_host",
    "firewaller",
    "generation_of",
    "ipsets",
    "listeners",
    "loads_br_netfilter",
    "nft_rules",
    "play",
    "recognise",
    "rules",
    "sandbox_rules",
    "sysctls",
    "task_rules",
]
