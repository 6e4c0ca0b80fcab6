"""Per-namespace sysctls: a known beginning for every lab, and what a topology asks for.

A new network namespace copies its IPv4 settings from the machine's own (`net.core.devconf_inherit_init_net`,
Documentation/admin-guide/sysctl/net.rst), so that without care a lab would behave differently from machine to
machine. Each namespace therefore begins with `BASELINE`. Only what differs on this machine is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from netverify.errors import InputError, KernelError

ROOT = Path("/proc/sys/net")

# What the kernel documents as its default (Documentation/networking/ip-sysctl.rst), but for the settings
# marked "lab": those make nothing reachable or unreachable, they only keep answers from being withheld.
BASELINE: Mapping[str, str] = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/route_localnet": "0",
    "ipv4/conf/default/route_localnet": "0",
    "ipv4/conf/all/accept_local": "0",
    "ipv4/conf/default/accept_local": "0",
    "ipv4/conf/all/proxy_arp": "0",
    "ipv4/conf/default/proxy_arp": "0",
    "ipv4/conf/all/arp_ignore": "0",
    "ipv4/conf/default/arp_ignore": "0",
    "ipv4/icmp_echo_ignore_all": "0",
    "ipv4/ip_default_ttl": "64",
    "ipv4/ip_nonlocal_bind": "0",
    # lab: Linux answers at most one ICMP error per second and peer; a matrix needs them all.
    "ipv4/icmp_ratemask": "0",
    # lab: a SYN+ACK that nobody answers is not repeated, or it would be counted by some later question.
    "ipv4/tcp_synack_retries": "0",
}
WITHOUT_IPV6: Mapping[str, str] = {
    "ipv6/conf/all/disable_ipv6": "1",  # sets conf/default and every device too (ip-sysctl.rst)
}
WITH_IPV6: Mapping[str, str] = {
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/icmp/ratelimit": "0",  # lab, as above
    # lab: no router solicitations, advertisements or duplicate detection: they are traffic of their own.
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/dad_transmits": "0",
}
# A machine without the br_netfilter module never shows bridged packets to iptables; with it, a new namespace
# does. A lab begins without, and says so where it wants it.
WITHOUT_BRIDGE_NETFILTER: Mapping[str, str] = {
    "bridge/bridge-nf-call-iptables": "0",
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
}


def read(key: str) -> str:
    """A sysctl of the calling thread's namespace; `key` in either spelling, below net.

    Raises InputError where the kernel has no such sysctl, or lets nobody read it.
    """
    try:
        return _path(key).read_text().strip()
    except FileNotFoundError as error:
        raise InputError(f"sysctl {key}: this kernel, or this namespace, has none of that name") from error
    except OSError as error:
        raise InputError(f"sysctl {key}: the kernel does not let it be read: {error.strerror}") from error


def write(key: str, value: str) -> None:
    """Set a sysctl of the calling thread's namespace.

    Raises InputError where the kernel has no such sysctl or refuses the value.
    """
    try:
        fd = os.open(_path(key), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())  # one write(2), as the kernel wants it
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise InputError(f"sysctl {key}: this kernel, or this namespace, has none of that name") from error
    except OSError as error:
        raise InputError(f"sysctl {key}: the kernel refuses the value {value!r}: {error.strerror}") from error


def write_all(settings: Iterable[tuple[str, str]]) -> None:
    """Set several."""
    for key, value in settings:
        write(key, value)


@cache
def beginning(*, ipv6: bool) -> tuple[tuple[str, str], ...]:
    """What a new namespace needs on this machine; called inside one that nobody has changed yet.

    Raises KernelError where IPv6 is asked for and the kernel has none.
    """
    if ipv6 and not (ROOT / "ipv6").exists():
        raise KernelError("this topology has IPv6 addresses, and this kernel has no IPv6 (CONFIG_IPV6)")
    wanted = {**BASELINE, **WITHOUT_BRIDGE_NETFILTER, **(WITH_IPV6 if ipv6 else WITHOUT_IPV6)}
    return tuple(
        (key, value) for key, value in wanted.items() if (ROOT / key).exists() and read(key) != value
    )


@cache
def _path(key: str) -> Path:
    """The file of a sysctl. Dots separate as in sysctl(8), unless slashes do (device names may hold dots)."""
    parts = key.split("/") if "/" in key else key.split(".")
    if parts[0] == "net":
        parts = parts[1:]
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(f"sysctl {key}: expected a name such as net.ipv4.ip_forward")
    return ROOT.joinpath(*parts)
