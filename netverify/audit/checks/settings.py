"""Sysctls that open a host, or that close it in a way that surprises."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.audit.case import Case
from netverify.audit.finding import Finding, Severity
from netverify.audit.kind import ENGINE, Check, Kind
from netverify.dataplane.view import LOOPBACK, Link

_SYSCTLS = ("sysctl.txt",)

ROUTE_LOCALNET = Kind(
    "loopback-routed",
    "a device takes packets for 127.0.0.0/8 from the network",
    Severity.MEDIUM,
    "With route_localnet the kernel no longer throws away what comes in for 127.0.0.1 (ip-sysctl, "
    "Documentation/networking): services that listen there alone are open to whoever is on that link.",
    _SYSCTLS,
    ("CVE-2020-8558",),
)
NO_SOURCE_CHECK = Kind(
    "source-not-checked",
    "a device takes packets with any source address",
    Severity.INFO,
    "Without rp_filter (RFC 3704) the kernel takes packets whose answers would leave by another device: who "
    "is on that link can send in the name of containers, also of those on internal networks.",
    (*_SYSCTLS, "route.json"),
)
NO_FORWARDING = Kind(
    "forwarding-off",
    "the host forwards nothing, though it has containers on bridges",
    Severity.LOW,
    "Without ip_forward containers reach nobody beyond their bridge, and published ports work by the "
    "userland proxy alone. A tool that sets sysctls has probably switched it off after the engine's start.",
    (*_SYSCTLS, *ENGINE),
)
ADVERTISEMENTS = Kind(
    "router-advertisements-taken",
    "a bridge of containers takes router advertisements",
    Severity.MEDIUM,
    "A container can say that it is the router, and reads what the host then sends by it. Docker switches "
    "this off on its bridges since 19.03.11.",
    (*_SYSCTLS, *ENGINE),
    ("CVE-2020-13401",),
)


def route_localnet(case: Case, kind: Kind) -> Iterator[Finding]:
    """On the devices where somebody else is: the engine's own bridges need it without the userland proxy."""
    for link in _outer(case):
        every, own = case.host.device_sysctl("ipv4", link.name, "route_localnet")
        if max(every, own):
            which = "all" if every else link.name.replace(".", "/")
            yield kind.found(link.name, remedy=(f"sysctl -w net.ipv4.conf.{which}.route_localnet=0",))


def no_source_check(case: Case, kind: Kind) -> Iterator[Finding]:
    """The larger of `all` and the device's own counts (ip-sysctl, rp_filter)."""
    if not case.bridges:
        return
    for link in _outer(case):
        if not max(case.host.device_sysctl("ipv4", link.name, "rp_filter")):
            yield kind.found(
                link.name, remedy=("sysctl -w net.ipv4.conf.all.rp_filter=2  # loose; 1 is strict",)
            )


def no_forwarding(case: Case, kind: Kind) -> Iterator[Finding]:
    """IPv4 where containers have addresses on bridges, IPv6 where those have some."""
    for version, name in ((4, "net.ipv4.ip_forward"), (6, "net.ipv6.conf.all.forwarding")):
        beyond = [
            network
            for network in case.bridges.values()
            if not network.internal
            and any(case.address(each, network.name, version) is not None for each in case.members(network))
        ]
        if beyond and not any(case.host.forwards(version, network.bridge or "") for network in beyond):
            yield kind.found(f"IPv{version}", remedy=(f"sysctl -w {name}=1",))


def advertisements(case: Case, kind: Kind) -> Iterator[Finding]:
    """accept_ra of 1 counts where the host does not forward, 2 always (ip-sysctl)."""
    for bridge in case.bridges:
        _every, own = case.host.device_sysctl("ipv6", bridge, "accept_ra")
        off = max(case.host.device_sysctl("ipv6", bridge, "disable_ipv6"))
        if not off and (own == 2 or (own == 1 and not case.host.forwards(6, bridge))):
            name = bridge.replace(".", "/")
            yield kind.found(bridge, remedy=(f"sysctl -w net.ipv6.conf.{name}.accept_ra=0",))


def _outer(case: Case) -> list[Link]:
    """The host's devices where somebody else is, without the engine's bridges."""
    behind = {stranger.device for stranger in case.subject.strangers}
    return [
        link
        for link in case.host.links
        if link.name in behind and link.name != LOOPBACK and link.name not in case.bridges
    ]


CHECKS = (
    Check(ROUTE_LOCALNET, route_localnet),
    Check(NO_SOURCE_CHECK, no_source_check),
    Check(NO_FORWARDING, no_forwarding),
    Check(ADVERTISEMENTS, advertisements),
)
