"""Hosts: namespaces that route and filter, and the Docker engine that may write their rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from netverify.topology.devices import Interface, Route
from netverify.topology.errors import TopologyError, quoted
from netverify.topology.values import (
    FAMILIES,
    NOTHING,
    check_choice,
    check_distinct,
    check_listens,
    check_name,
    check_text,
    check_tuple,
    frozen_settings,
)

POLICIES: Final = ("ACCEPT", "DROP")
BACKENDS: Final = ("iptables", "nftables")
_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,3})?")


class Role(Enum):
    """What a host stands for; the kernel treats all of them alike, drawings and matrices do not."""

    HOST = "host"  # runs containers
    ROUTER = "router"
    NEIGHBOUR = "neighbour"  # another machine on the LAN
    INTERNET = "internet"  # a server far away, which knows no private routes
    NETNS = "netns"  # a bare namespace, as `ip netns add` makes it


@dataclass(frozen=True)
class DockerDaemon:
    """Options of the Docker engine whose rules a host carries.

    `version` picks the generation of rules ("17.06" ... "29.0"), together with `backend`; `forward_policy` is
    the policy of FORWARD ("DROP" when the daemon itself turned forwarding on, "ACCEPT" when the host already
    forwarded), `forward_policy6` that of IPv6.
    """

    version: str = "27.0"
    ipv6: bool | None = None  # --ip6tables; None: the version's default
    userland_proxy: bool = True
    forward_policy: str = "DROP"
    forward_policy6: str = "DROP"
    backend: str = "iptables"  # --firewall-backend
    ip_forward_no_drop: bool = False
    allow_direct_routing: bool = False
    raw_rules: bool = True  # false: DOCKER_INSECURE_NO_IPTABLES_RAW=1
    accept_fwmark: str | None = None  # --bridge-accept-fwmark

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.version):
            raise TopologyError(
                "docker",
                ("version",),
                f"{quoted(self.version)} is no version",
                "a version such as 24.0 or 28.5.1",
            )
        check_choice("docker", "forward_policy", self.forward_policy, POLICIES)
        check_choice("docker", "forward_policy6", self.forward_policy6, POLICIES)
        check_choice("docker", "backend", self.backend, BACKENDS)
        check_text("docker", "accept_fwmark", self.accept_fwmark)


@dataclass(frozen=True)
class Host:
    """A network namespace that routes and filters.

    `forwarding` lists the families ("ipv4", "ipv6") that it forwards. `rules` and `rules6` are loaded with
    iptables-restore as they stand, unless `docker` writes them. `listens` are (protocol, port) pairs on
    which the host itself offers a service, on all its addresses.
    """

    name: str
    role: Role = Role.NETNS
    forwarding: frozenset[str] = frozenset()
    interfaces: tuple[Interface, ...] = ()
    bridges: tuple[Interface, ...] = ()  # bare bridges that no Network describes
    routes: tuple[Route, ...] = ()
    sysctls: Mapping[str, str] = NOTHING
    loopback: bool = True
    docker: DockerDaemon | None = None
    rules: str | None = None
    rules6: str | None = None
    listens: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        subject = f"host {quoted(self.name)}"
        check_name(subject, "name", self.name)
        check_choice(subject, "role", self.role, Role)
        if not isinstance(self.forwarding, frozenset):
            raise TopologyError(
                subject, ("forwarding",), f"{quoted(self.forwarding)} is no frozenset", "a frozenset"
            )
        for family in self.forwarding:
            check_choice(subject, "forwarding", family, FAMILIES)
        check_tuple(subject, "interfaces", self.interfaces, (Interface,))
        check_tuple(subject, "bridges", self.bridges, (Interface,))
        check_tuple(subject, "routes", self.routes, (Route,))
        check_distinct(subject, "routes", self.routes)
        for bridge in self.bridges:
            for key, value in (("segment", bridge.segment), ("master", bridge.master)):
                if value is not None:
                    raise TopologyError(
                        subject,
                        ("bridges", bridge.device, key),
                        f"a bridge is plugged into nothing, not into {quoted(value)}",
                        f"no {key} (an interface can have the bridge as its master)",
                    )
        object.__setattr__(self, "sysctls", frozen_settings(subject, "sysctls", self.sysctls))
        for key, rules in (("rules", self.rules), ("rules6", self.rules6)):
            check_text(subject, key, rules, lines=True)
            if rules is not None and self.docker is not None:
                raise TopologyError(
                    subject, (key,), "docker writes the rules of this host", f"{key} or docker"
                )
        check_listens(subject, self.listens)
