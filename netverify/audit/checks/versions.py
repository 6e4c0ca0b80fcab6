"""Engines with a hole that is known, and kernels that no longer have what the rules were written for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netverify.audit.case import Case
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import Check, Kind
from netverify.docker.version import Version


@dataclass(frozen=True, slots=True)
class Hole:
    """A published fault: the versions from `since` to before one of `fixed`, each on its own release line."""

    name: str
    since: Version
    fixed: tuple[Version, ...]
    what: str
    severity: Severity = Severity.MEDIUM

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
    ),
    Hole(
        "CVE-2024-29018",
        Version(17, 6),
        (Version(23, 0, 11), Version(25, 0, 5), Version(26, 0, 0)),
        "containers on internal networks alone send DNS questions to the outside by the host's resolver",
    ),
    Hole(
        "CVE-2024-32473",
        Version(26, 0, 0),
        (Version(26, 0, 2),),
        "IPv6 stays on in interfaces of networks without IPv6",
    ),
    Hole(
        "CVE-2025-54388",
        Version(28, 2, 0),
        (Version(28, 3, 3),),
        "a reload of firewalld loses the rules that keep neighbours from containers",
    ),
    Hole(
        "CVE-2025-54410",
        Version(17, 6),
        (Version(25, 0, 13), Version(28, 0, 0)),
        "a reload of firewalld loses the isolation between bridge networks",
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
    """Published faults of the engine's version."""
    version = case.engine
    for hole in HOLES if version is not None else ():
        if version is not None and hole.concerns(version):
            newer = [fixed for fixed in hole.fixed if fixed > version]
            yield kind.found(
                hole.name,
                title=f"Docker {version} has {hole.name}: {hole.what}",
                severity=hole.severity,
                references=(hole.name,),
                remedy=(f"# upgrade Docker to {min(newer)} or later",),
            )


CHECKS = (Check(KNOWN_HOLE, known_holes),)
