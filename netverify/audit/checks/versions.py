"""Engines with a hole that is known, and kernels that no longer have what the rules were written for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from netverify.audit.case import Case
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import Check, Kind
from netverify.docker.version import Version


def anywhere(_case: Case) -> bool:
    """On every host."""
    return True


def with_firewalld(case: Case) -> bool:
    """Where firewalld keeps rules: it has a table of its own in nftables, and zones in iptables before."""
    if any(table.name == "firewalld" for table in case.host.nft.tables):
        return True
    chains = (chain.name for _, rules in case.rulesets(4) for table in rules.tables for chain in table.chains)
    return any(name.startswith(("FWDI_", "FORWARD_IN_ZONES", "IN_public")) for name in chains)


def with_encrypted_overlay(case: Case) -> bool:
    """Where an overlay network is meant to be encrypted."""
    overlays = (network for network in case.snapshot.networks if network.driver == "overlay")
    return any(name == "encrypted" for network in overlays for name, _ in network.options)


def with_internal_network(case: Case) -> bool:
    """Where some network is internal."""
    return any(network.internal for network in case.snapshot.networks)


def with_second_layer(case: Case) -> bool:
    """Where containers have interfaces of their own on the outer link."""
    return any(network.driver in ("macvlan", "ipvlan") for network in case.snapshot.networks)


@dataclass(frozen=True, slots=True)
class Hole:
    """A published fault: the versions from `since` to before one of `fixed`, each on its own release line.

    Where it is not open as the host stands, because nothing `here` can use it, it is still worth knowing.
    """

    name: str
    since: Version
    fixed: tuple[Version, ...]
    what: str
    severity: Severity = Severity.MEDIUM
    here: Callable[[Case], bool] = anywhere

    def concerns(self, version: Version) -> bool:
        """Whether a version has it: a release line with a fix is told by its major number."""
        own = next((fixed for fixed in self.fixed if fixed.major == version.major), max(self.fixed))
        return self.since <= version < own


# GitHub security advisories of moby/moby and docker's release notes.
HOLES = (
    Hole(
        "CVE-2020-13401",
        Version(17, 6),
        (Version(19, 3, 11),),
        "a container can spoof IPv6 router advertisements and read the host's traffic",
    ),
    Hole(
        "CVE-2023-28840",
        Version(17, 6),
        (Version(20, 10, 24), Version(23, 0, 3)),
        "an encrypted overlay network takes VXLAN datagrams that are not encrypted",
        Severity.HIGH,
        with_encrypted_overlay,
    ),
    Hole(
        "CVE-2024-29018",
        Version(17, 6),
        (Version(23, 0, 11), Version(25, 0, 5), Version(26, 0, 0)),
        "containers on internal networks alone send DNS questions to the outside by the host's resolver",
        here=with_internal_network,
    ),
    Hole(
        "CVE-2024-32473",
        Version(26, 0, 0),
        (Version(26, 0, 2),),
        "IPv6 stays on in interfaces of networks without IPv6",
        here=with_second_layer,
    ),
    Hole(
        "CVE-2025-54388",
        Version(28, 2, 0),
        (Version(28, 3, 3),),
        "a reload of firewalld loses the rules that keep neighbours from containers",
        here=with_firewalld,
    ),
    Hole(
        "CVE-2025-54410",
        Version(17, 6),
        (Version(25, 0, 13), Version(28, 0, 0)),
        "a reload of firewalld loses the isolation between bridge networks",
        here=with_firewalld,
    ),
)

KNOWN_HOLE = Kind(
    "engine-with-known-hole",
    "this version of Docker has a known hole",
    Severity.MEDIUM,
    "The fault is published, and so is its remedy: whoever looks for hosts that have it finds this one.",
    needs=("docker-info.json",),
)


def known_holes(case: Case, kind: Kind) -> Iterator[Finding]:
    """Published faults of the engine's version; as information where nothing on the host can use them."""
    version = case.engine
    if version is None:
        return
    for hole in HOLES:
        if hole.concerns(version):
            newer = [fixed for fixed in hole.fixed if fixed > version]
            yield kind.found(
                hole.name,
                title=f"Docker {version} has {hole.name}: {hole.what}",
                severity=hole.severity if hole.here(case) else Severity.INFO,
                references=(hole.name,),
                remedy=(f"# upgrade Docker to {min(newer)} or later",),
            )


CHECKS = (Check(KNOWN_HOLE, known_holes),)
