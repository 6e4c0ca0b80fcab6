"""What is asked of every release: the grid of options, the lab of each point, and the questions.

A `Setting` is a point of the grid: an option of the network `web`, and options of the daemon. Its lab is
fixtures/topologies/docker-generations.yaml with these options and one release's Docker on the host. All
questions are asked of all settings, so that what an option or an upgrade changes somewhere else is seen too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from fixtures.documented import topology
from netverify.docker import GENERATIONS, Version
from netverify.docker.version import (
    DIRECT_ROUTING,
    FORWARD_POLICY_ON_DEMAND,
    IP6TABLES,
    IP6TABLES_BY_DEFAULT,
    RAW_OPT_OUT,
    ROUTED_MODE,
    UNPROTECTED_AND_ISOLATED_MODES,
    Change,
)
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.topology.model import DockerDaemon, Route, Topology
from suites.docker.releases import Release

NO_ROUTE_WHEN_INTERNAL = Change(
    Version(25, 0),
    "containers of internal networks have no default route",
    "moby PR 46603, 47356",
)

OLDEST, NO_END = GENERATIONS[0].first, GENERATIONS[-1].until


@dataclass(frozen=True, eq=False)
class Setting:
    """Options of the network and of the daemon, and since and until when (before) they can be given.

    `option` names the network's option, which settings with different daemons share.
    """

    name: str
    network: Mapping[str, Any] = field(default_factory=dict)
    daemon: Mapping[str, Any] = field(default_factory=dict)
    since: Version = OLDEST
    until: Version = NO_END
    backends: tuple[str, ...] = ("iptables", "nftables")
    option: str = ""

    @property
    def family(self) -> str:
        """What this setting has in common with others: the network's option, if that is all."""
        return self.option or self.name

    def exists_in(self, release: Release) -> bool:
        """Whether an engine of that release understands all of it."""
        return self.since <= release.version < self.until and release.backend in self.backends

    def topology(self, release: Release) -> Topology:
        """The lab's topology."""
        daemon = DockerDaemon(release.asked, backend=release.backend, **self.daemon)
        found = topology("docker-generations").with_host("host", docker=daemon)
        found = found.with_network("web", **self.network)
        if self.network.get("internal") and not release.version.has(NO_ROUTE_WHEN_INTERNAL):
            ways = (Route.parse("default via 172.18.0.1"), Route.parse("default via fd00:18::1"))
            for name in ("web1", "web2"):
                found = found.with_container(name, routes=ways)
        return found


def _options(*changes: Change, **network: Any) -> tuple[dict[str, Any], Version]:
    return network, max((change.since for change in changes), default=OLDEST)


_NETWORKS = {
    "default": _options(),
    "icc=false": _options(icc=False),
    "no masquerading": _options(masquerade=False),
    "host_binding=127.0.0.1": _options(host_binding=ip_address("127.0.0.1")),
    "internal": _options(internal=True),
    "isolated": _options(
        UNPROTECTED_AND_ISOLATED_MODES, internal=True, gateway_mode="isolated", gateway_mode6="isolated"
    ),
    "routed": _options(ROUTED_MODE, gateway_mode="routed", gateway_mode6="routed"),
    "nat-unprotected": _options(
        UNPROTECTED_AND_ISOLATED_MODES, gateway_mode="nat-unprotected", gateway_mode6="nat-unprotected"
    ),
    "trusted eth0": _options(DIRECT_ROUTING, trusted=("eth0",)),
}
_DAEMONS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "no proxy": {"userland_proxy": False},
    "host forwarded before": {"forward_policy": "ACCEPT", "forward_policy6": "ACCEPT"},
}

# Internal networks publish nothing, so no proxy is missed; of isolated ones the host forwards nothing.
_WITHOUT = {"internal": ("no proxy",), "isolated": ("no proxy", "host forwarded before")}


def _grid() -> Iterator[Setting]:
    for network, (options, since) in _NETWORKS.items():
        for words, daemon in _DAEMONS.items():
            if words in _WITHOUT.get(network, ()):
                continue
            name = ", ".join(filter(None, (network if network != "default" or not words else "", words)))
            yield Setting(name, options, daemon, since, option=network)
    both = {"userland_proxy": False, "forward_policy": "ACCEPT", "forward_policy6": "ACCEPT"}
    yield Setting("no proxy, host forwarded before", daemon=both)
    yield Setting(
        "ip6tables on",
        daemon={"ipv6": True},
        since=IP6TABLES.since,
        until=IP6TABLES_BY_DEFAULT.since,
    )
    yield Setting("ip6tables off", daemon={"ipv6": False}, since=IP6TABLES_BY_DEFAULT.since)
    yield Setting(
        "ip-forward-no-drop",
        daemon={"ip_forward_no_drop": True},
        since=FORWARD_POLICY_ON_DEMAND.since,
    )
    yield Setting(
        "allow-direct-routing",
        daemon={"allow_direct_routing": True},
        since=DIRECT_ROUTING.since,
    )
    yield Setting(
        "no raw rules",
        daemon={"raw_rules": False},
        since=RAW_OPT_OUT.since,
        backends=("iptables",),
    )


SETTINGS = tuple(_grid())


def setting(name: str) -> Setting:
    """The setting of that name."""
    return next(one for one in SETTINGS if one.name == name)


# --- questions ---------------------------------------------------------------------------------------------

SOURCES = ("web1", "web2", "other", "host", "neighbour", "internet")


@dataclass(frozen=True, order=True)
class Question:
    """One probe from one party to a target, as `kernel/questions.py` writes targets."""

    probe: Probe
    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} {self.probe}"


def _questions() -> Iterator[Question]:
    for version, bridge in ((4, "172.18.0.1"), (6, "[fd00:18::1]")):
        targets = {
            icmp(version=version): f"web1 web2 other host host@{bridge} neighbour internet",
            tcp(80, version=version): f"web1 host:8080 host@{bridge}:8080 internet",
            tcp(81, version=version): "web1 host:8081",
            tcp(82, version=version): f"host:8082 host@{bridge}:8082",
            tcp(83, version=version): "web1 web2 other host",
            udp(53, version=version): "web1 host:5353",
        }
        for probe, names in targets.items():
            for source in SOURCES:
                for target in names.split():
                    yield Question(probe, source, target)
    for probe, port in (
        (tcp(80), 8080),
        (tcp(81), 8081),
        (tcp(80, version=6), 8080),
        (tcp(81, version=6), 8081),
    ):
        loopback = "127.0.0.1" if probe.version == 4 else "[::1]"
        yield Question(probe, "host", f"host@{loopback}:{port}")
        if probe.version == 4:
            yield Question(probe, "neighbour", f"host@{loopback}:{port}")


QUESTIONS = tuple(_questions())
