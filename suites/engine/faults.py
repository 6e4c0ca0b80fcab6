"""Faults to plant on a real engine's host: what somebody does to it, and the finding that must come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from netverify.docker import Version
from netverify.kernel.docker_engine import COMMAND, IMAGE

SPLIT = Version(
    28, 0, 1
)  # from here on Docker's rules hang on DOCKER-FORWARD, and raw drops protect containers


@dataclass(frozen=True)
class Fault:
    """A fault: the id of its finding, who does it (`shell` in the host's namespaces), and how it is undone.

    `container` is the configuration of one that is started for it. Rules are put back by who plants.
    """

    name: str
    id: str
    shell: Callable[[Version], str] | str = ""
    undo: str = ""
    container: Callable[[Version], dict[str, Any]] | None = None

    def commands(self, version: Version) -> str:
        """What to run on the host of an engine of this version."""
        return self.shell if isinstance(self.shell, str) else self.shell(version)


def _without_raw(version: Version) -> str:
    """Since 28.0.1 packets to containers' own addresses end before any other rule sees them."""
    return "iptables -t raw -F PREROUTING; ip6tables -t raw -F PREROUTING; " if version >= SPLIT else ""


def _opened(rule: str) -> Callable[[Version], str]:
    return lambda version: _without_raw(version) + rule


def _stage_1(version: Version) -> str:
    frame = "DOCKER-FORWARD" if version >= SPLIT else "FORWARD"
    return f"iptables -D {frame} -j DOCKER-ISOLATION-STAGE-1"


def _without_stage_1(version: Version) -> str:
    chain = "DOCKER-ISOLATION-STAGE-1"
    return f"{_stage_1(version)}; iptables -F {chain}; iptables -X {chain}"


def _leftover(version: Version) -> str:
    """What an older engine's rules look like after an upgrade that did not see them."""
    if version >= SPLIT:
        return "iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1; iptables -A FORWARD -o br-web -j DOCKER"
    return (
        "iptables -N DOCKER-ISOLATION; iptables -A DOCKER-ISOLATION -j RETURN; "
        "iptables -A FORWARD -j DOCKER-ISOLATION"
    )


def _container(**host_config: Any) -> Callable[[Version], dict[str, Any]]:
    body = {"Image": IMAGE, "Cmd": list(COMMAND), "StopSignal": "SIGKILL", "HostConfig": host_config}
    return lambda _version: body


def _published_on(address: str) -> Callable[[Version], dict[str, Any]]:
    bindings = {"80/tcp": [{"HostIp": address, "HostPort": "9000"}]}
    made = _container(NetworkMode="web", PortBindings=bindings)
    return lambda version: made(version) | {"ExposedPorts": {"80/tcp": {}}}


FAULTS: Sequence[Fault] = (
    Fault(
        "a rule of DOCKER-USER opens one network to another",
        "networks-not-isolated",
        _opened("iptables -I DOCKER-USER -i br-web -o br-four -j ACCEPT"),
    ),
    Fault(
        "the same over IPv6",
        "networks-not-isolated",
        _opened("ip6tables -I FORWARD -i br-web -o br-closed -j ACCEPT"),
    ),
    Fault("isolation is emptied", "isolation-chain-emptied", "iptables -F DOCKER-ISOLATION-STAGE-2"),
    Fault("nothing leads to isolation", "isolation-chain-unreached", _stage_1),
    Fault("a chain of isolation is gone", "isolation-chain-missing", _without_stage_1),
    Fault(
        "rules in the other backend too",
        "rules-in-both-backends",
        "iptables-legacy -A INPUT -p tcp --dport 25 -j DROP",
        "iptables-legacy -D INPUT -p tcp --dport 25 -j DROP",
    ),
    Fault(
        "one network's rule is gone",
        "isolation-rule-missing",
        "iptables -D DOCKER-ISOLATION-STAGE-1 -i br-web ! -o br-web -j DOCKER-ISOLATION-STAGE-2",
    ),
    Fault("filter is flushed", "isolation-chain-emptied", "iptables -F"),
    Fault(
        "a rule stands above Docker's",
        "isolation-bypassed",
        "iptables -I FORWARD 1 -o br-web -j ACCEPT",
    ),
    Fault(
        "an internal network is opened",
        "internal-network-open",
        _opened(
            "iptables -I DOCKER-USER -o br-inside -j ACCEPT; iptables -I DOCKER-USER -i br-inside -j ACCEPT"
        ),
    ),
    Fault(
        "bridged packets pass no rules",
        "icc-not-enforced",
        "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables",
        "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables",
    ),
    Fault(
        "a rule of DOCKER-USER names the published port",
        "docker-user-rule-without-effect",
        "iptables -I DOCKER-USER -p tcp --dport 8080 -j DROP",
    ),
    Fault(
        "a rule of DOCKER-USER waits for somebody",
        "docker-user-rule-unused",
        "iptables -R FORWARD 1 -j DOCKER-USER -c 7 420; iptables -I DOCKER-USER -s 203.0.113.7 -j DROP",
    ),
    Fault("an upgrade left rules", "mixed-generations", _leftover),
    Fault(
        "rules of a network that is gone",
        "stale-rules",
        "iptables -A DOCKER-ISOLATION-STAGE-2 -o br-0123456789ab -j DROP",
    ),
    Fault(
        "INPUT closes what Docker publishes",
        "published-beyond-firewall",
        "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -P INPUT DROP",
    ),
    Fault("loopback's protection is gone", "loopback-publication-reachable", _without_raw),
    Fault(
        "a port on one address is open on another",
        "publication-reachable-directly",
        _without_raw,
        container=_published_on("192.0.2.1"),
    ),
    Fault(
        "neighbours are let in",
        "unpublished-port-reachable",
        _opened("iptables -I DOCKER-USER -i eth0 -j ACCEPT"),
    ),
    Fault(
        "IPv6 has no rules",
        "ipv6-open-where-ipv4-closed",
        _opened("ip6tables -F; ip6tables -P FORWARD ACCEPT"),
    ),
    Fault(
        "a network is not translated",
        "masquerade-missing",
        "iptables -t nat -D POSTROUTING -s 172.18.0.0/16 ! -o br-web -j MASQUERADE",
    ),
    Fault(
        "a network is translated twice",
        "masquerade-doubled",
        "iptables -t nat -A POSTROUTING -s 172.18.0.0/16 ! -o br-web -j MASQUERADE",
    ),
    Fault(
        "a link takes packets for loopback",
        "loopback-routed",
        "echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet",
        "echo 0 >/proc/sys/net/ipv4/conf/eth0/route_localnet",
    ),
    Fault(
        "somebody switched forwarding off",
        "forwarding-off",
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        "echo 1 >/proc/sys/net/ipv4/ip_forward",
    ),
    Fault(
        "a bridge listens to routers",
        "router-advertisements-taken",
        "echo 2 >/proc/sys/net/ipv6/conf/br-web/accept_ra",
        "echo 0 >/proc/sys/net/ipv6/conf/br-web/accept_ra",
    ),
    Fault(
        "a container on the host's network",
        "container-on-host-network",
        container=_container(NetworkMode="host"),
    ),
    Fault(
        "a container with NET_ADMIN",
        "container-administers-network",
        container=_container(NetworkMode="web", CapAdd=["NET_ADMIN"]),
    ),
    Fault(
        "a container with NET_RAW on an internal network",
        "container-forges-packets",
        container=_container(NetworkMode="inside", CapAdd=["NET_RAW"]),
    ),
)
"""Each is planted alone, on a host that was sound before."""
