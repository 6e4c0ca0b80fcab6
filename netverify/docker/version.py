"""Versions of the Docker engine, and the generation of rules that each one writes.

A generation is a way of laying out chains. Within one, single rules still changed; each such `Change` is
data here, with the version that brought it, so that the code that writes rules asks
`version.has(IP6TABLES)` and never compares numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from netverify.docker.errors import DockerError, UnsupportedEngine

# What `docker version` prints: 18.06.3-ce, 20.10.24+dfsg1, 27.5.1, 28.0.0-rc.1
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[-+~][0-9A-Za-z.+~-]*)?")


@dataclass(frozen=True, order=True, slots=True)
class Version:
    """An engine's version. Whatever a distribution appends to it (`+dfsg1`, `-ce`) is not kept."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version as `docker version` prints it. Raises DockerError."""
        found = _VERSION.fullmatch(text)
        if found is None:
            raise DockerError(f"{text!r} is not a version of Docker: expected one such as 20.10 or 27.5.1")
        return cls(int(found[1]), int(found[2]), int(found[3] or 0))

    def has(self, change: Change) -> bool:
        """Whether this version has that change already."""
        return self >= change.since

    def __str__(self) -> str:
        # The engine pads months, as in 18.05, but not minor numbers, as in 24.0.
        minor = f"{self.minor:02}" if 17 <= self.major <= 19 else str(self.minor)
        return f"{self.major}.{minor}" + (f".{self.patch}" if self.patch else "")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the engine does since a version: what, and where that is from."""

    since: Version
    what: str
    source: str


ACCEPT_RA_OFF = Change(
    Version(19, 3, 11), "router advertisements are ignored on bridges", "CVE-2020-13401, libnetwork PR 2558"
)
IP6TABLES = Change(Version(20, 10), "ip6tables can be switched on", "moby 20.10 cmd/dockerd/config_unix.go")
HOST_IPV4 = Change(
    Version(20, 10),
    "com.docker.network.host_ipv4: SNAT to a chosen address",
    "libnetwork, drivers/bridge/setup_ip_tables.go",
)
BINDING_PER_FAMILY = Change(
    Version(20, 10),
    "a port without a host address is bound to 0.0.0.0 and to [::], each by a socket of its own",
    "libnetwork 20.10, drivers/bridge/port_mapping.go: allocatePortsInternal",
)
PROXY_6_TO_4 = Change(
    Version(20, 10, 6),
    "the userland proxy again takes IPv6 connections to containers without IPv6",
    "moby 20.10.6 release notes, issue 42205",
)
USER_CHAIN_IPV6 = Change(
    Version(23, 0), "DOCKER-USER exists in ip6tables too", "moby 23.0 libnetwork/firewall_linux.go"
)
HAIRPIN_RULE_REMOVED = Change(
    Version(23, 0),
    "with the userland proxy, the rule that masquerades the host towards a bridge is removed if found",
    "moby PR 44803",
)
HOST_IPV6 = Change(Version(25, 0), "com.docker.network.host_ipv6: SNAT to a chosen address", "moby PR 46446")
INGRESS_CTSTATE = Change(
    Version(25, 0),
    "DOCKER-INGRESS asks conntrack for states by -m conntrack, no longer -m state",
    "moby PR 46637",
)
INTERNAL_IPV6_BY_BRIDGE = Change(
    Version(25, 0),
    "the IPv6 drops of internal networks spare what stays on the bridge (neighbour discovery)",
    "moby 25.0 libnetwork/drivers/bridge/setup_ip_tables_linux.go: setupInternalNetworkRules",
)
IP6TABLES_BY_DEFAULT = Change(Version(27, 0), "ip6tables is on unless switched off", "moby PR 47747")
PORTS_SORTED = Change(
    Version(27, 0),
    "a container's ports are programmed by container port, not in the order given",
    "moby 27.0 libnetwork/drivers/bridge/port_mapping_linux.go: cmpPortBinding",
)
BR_NETFILTER_ON_DEMAND = Change(
    Version(27, 3),
    "br_netfilter is loaded when a network needs it, no longer when the daemon starts",
    "moby PR 48492",
)
ROUTED_MODE = Change(
    Version(27, 0),
    "com.docker.network.bridge.gateway_mode_ipv4 and _ipv6: nat or routed",
    "moby 27.0 libnetwork/drivers/bridge/bridge_linux.go: newGwMode",
)
BR_NETFILTER_WITHOUT_PROXY = Change(
    Version(27, 4), "br_netfilter is also needed when the userland proxy is off", "moby commit 0548fe251c"
)
PROXY_ANSWERS_AS_ASKED = Change(
    Version(28, 0),
    "the userland proxy answers UDP from the address that it was asked at, no longer from one that the "
    "kernel picks, whose answers clients discard",
    "moby PR 48571, issue 11998",
)
UNPROTECTED_AND_ISOLATED_MODES = Change(
    Version(28, 0), "gateway modes nat-unprotected and isolated", "moby PR 48597, 49262"
)
FORWARD_POLICY_ON_DEMAND = Change(
    Version(28, 0),
    "FORWARD gets policy DROP in a family only if a network of that family made the daemon turn its "
    "forwarding on; --ip-forward-no-drop leaves it",
    "moby PR 48594, 48595",
)
SCTP_CHECKSUM_ON_DEMAND = Change(
    Version(28, 0),
    "the CHECKSUM rule for SCTP is written with DOCKER_IPTABLES_SCTP_CHECKSUM=1 alone",
    "moby PR 48149, and its description in PR 50539",
)
RAW_OPT_OUT = Change(
    Version(28, 0, 2), "DOCKER_INSECURE_NO_IPTABLES_RAW=1: no rules in the raw table", "moby PR 49621"
)
DIRECT_ROUTING = Change(
    Version(28, 2),
    "--allow-direct-routing, and com.docker.network.bridge.trusted_host_interfaces",
    "moby PR 49832",
)
USER_CHAIN_WITHOUT_RETURN = Change(
    Version(28, 2, 2), "DOCKER-USER is made empty, without a RETURN at its end", "moby commit dc519a0f18"
)
ISOLATION_RELOADED = Change(
    Version(28, 0),
    "what keeps networks apart comes back after firewalld's reload (also in 25.0.13)",
    "CVE-2025-54410",
)
USER_CHAIN_RELOADED_FIRST = Change(
    Version(28, 0),
    "after firewalld's reload DOCKER-USER comes first in FORWARD; before, behind all of Docker's own rules",
    "20.10.24, 26.1.5 and 28.5.2, told of a reload",
)
REMOVED_NETWORKS_FORGOTTEN = Change(
    Version(28, 1),
    "firewalld's reload no longer brings back the rules of networks that were removed (also in 25.0.13)",
    "moby PR 49728, 50445; 20.10.24, 26.1.5 and 28.5.2",
)
INGRESS_RELOADED = Change(
    Version(29, 0),
    "a swarm's mesh comes back after firewalld's reload (also in 25.0.13)",
    "moby PR 50443, 50445",
)
RAW_RULES_RELOADED = Change(
    Version(28, 3, 3), "drops in the raw table come back after firewalld's reload", "CVE-2025-54388, PR 50506"
)
ACCEPT_FWMARK = Change(Version(29, 0), "--bridge-accept-fwmark", "moby PR 50476")
NFTABLES_BACKEND = Change(
    Version(29, 0),
    "--firewall-backend=nftables; with it the daemon neither turns forwarding on nor sets a policy",
    "moby daemon/libnetwork/drivers/bridge/internal/nftabler, PR 50646",
)
SCTP_CHECKSUM_REMOVED = Change(Version(29, 0), "no CHECKSUM rule for SCTP, whatever is set", "moby PR 50539")
ROUTED_PORTS_ALWAYS_OPEN = Change(
    Version(29, 0),
    "a container's ports are open on its address in a routed network though another network is its gateway",
    "moby PR 50140: bridge_linux.go, ProgramExternalConnectivity; port_mapping_linux.go, sortAndNormPBs",
)


Backend = Literal["iptables", "nftables"]
"""Which half of the kernel's packet filter an engine writes to (--firewall-backend)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A layout of chains: its name, and the versions from `first` to before `until` that write it."""

    name: str
    layout: str
    first: Version
    until: Version
    backend: Backend = "iptables"

    def __contains__(self, version: Version) -> bool:
        return self.first <= version < self.until

    def __str__(self) -> str:
        return f"{self.first} to before {self.until} ({self.layout})"


PAIRWISE = Generation("A0", "DOCKER-ISOLATION, pair by pair", Version(17, 6), Version(18, 5))
CLASSIC = Generation("A", "DOCKER-ISOLATION-STAGE-1/2", Version(18, 5), Version(28, 0))
SETS = Generation("B0", "ipsets of the bridges' subnets", Version(28, 0), Version(28, 0, 1))
DROPS_BY_PORT = Generation(
    "B1", "DOCKER-FORWARD, raw drops by published port", Version(28, 0, 1), Version(28, 2)
)
DROPS_BY_CONTAINER = Generation(
    "B2", "DOCKER-FORWARD, raw drops by container", Version(28, 2), Version(29, 0)
)
INTERNAL_CHAIN = Generation("C", "DOCKER-FORWARD, DOCKER-INTERNAL", Version(29, 0), Version(30, 0))
NFTABLES = Generation(
    "N", "nftables, table docker-bridges", Version(29, 0), Version(30, 0), backend="nftables"
)

GENERATIONS: tuple[Generation, ...] = (
    PAIRWISE,
    CLASSIC,
    SETS,
    DROPS_BY_PORT,
    DROPS_BY_CONTAINER,
    INTERNAL_CHAIN,
    NFTABLES,
)
"""The generations whose rules netverify writes, oldest first; `firewall.py` has the writer of each.

The newest release read is 29.7; later 29.x are taken to write the same until somebody looks.
"""


def generation_of(version: str | Version, backend: Backend = "iptables") -> Generation:
    """The generation of rules that this version writes to this backend.

    Raises UnsupportedEngine for a version that netverify does not know the rules of, and DockerError for
    text that is no version.
    """
    if isinstance(version, str):
        version = Version.parse(version)
    known = [generation for generation in GENERATIONS if generation.backend == backend]
    for generation in known:
        if version in generation:
            return generation
    ranges = "; ".join(map(str, known))
    raise UnsupportedEngine(f"no {backend} rules are known for Docker {version}; known versions: {ranges}")
