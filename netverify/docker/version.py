"""Versions of the Docker engine, and the generation of rules that each one writes.

A generation is a way of laying out chains. Within one, single rules still changed; each such `Change` is
data here, with the version that brought it, so that the code that writes rules asks
`version.has(IP6TABLES)` and never compares numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
BR_NETFILTER_WITHOUT_PROXY = Change(
    Version(27, 4), "br_netfilter is also needed when the userland proxy is off", "moby commit 0548fe251c"
)


@dataclass(frozen=True, slots=True)
class Generation:
    """A layout of chains: its name, and the versions from `first` to before `until` that write it."""

    name: str
    layout: str
    first: Version
    until: Version

    def __contains__(self, version: Version) -> bool:
        return self.first <= version < self.until

    def __str__(self) -> str:
        return f"{self.first} to before {self.until} ({self.layout})"


CLASSIC = Generation("A", "DOCKER-ISOLATION-STAGE-1/2", Version(18, 5), Version(28, 0))

GENERATIONS: tuple[Generation, ...] = (CLASSIC,)
"""The generations whose rules netverify writes; each has its writer in `firewall.py`."""


def generation_of(version: str | Version) -> Generation:
    """The generation of rules that this version writes.

    Raises UnsupportedEngine for a version that netverify does not know the rules of, and DockerError for
    text that is no version.
    """
    if isinstance(version, str):
        version = Version.parse(version)
    for generation in GENERATIONS:
        if version in generation:
            return generation
    known = "; ".join(map(str, GENERATIONS))
    raise UnsupportedEngine(f"no rules are known for Docker {version}; known versions: {known}")
