"""Which of a host's sysctls a twin takes over: those that decide about packets.

Buffers, timers and limits are left as a lab has them: they lose packets, they do not forbid any. So are the
limits of the neighbour table, which is the whole machine's.
"""

from __future__ import annotations

from collections.abc import Iterator

from netverify.dataplane.view import HostView
from netverify.errors import InputError
from netverify.kernel import sysctls

# Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst; below net.
DEVICE = frozenset(
    {
        *("forwarding", "mc_forwarding", "rp_filter", "route_localnet", "accept_local", "src_valid_mark"),
        *("arp_ignore", "arp_announce", "arp_filter", "proxy_arp", "disable_policy", "disable_xfrm"),
        *("disable_ipv6", "accept_source_route", "drop_unicast_in_l2_multicast", "proxy_ndp"),
    }
)
"""Those of net.FAMILY.conf.DEVICE."""
OTHERS = frozenset(
    {
        *("ipv4/ip_forward", "ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind", "ipv4/ip_default_ttl"),
        *("ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all", "ipv4/fwmark_reflect"),
        *("ipv6/fwmark_reflect", "ipv4/tcp_fwmark_accept", "ipv4/ip_early_demux"),
        *("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"),
        *("bridge/bridge-nf-call-arptables", "bridge/bridge-nf-filter-vlan-tagged"),
        *("netfilter/nf_conntrack_tcp_loose", "netfilter/nf_conntrack_tcp_be_liberal"),
    }
)
_FIRST = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")  # they reset others, so they are written before them


def wanted(view: HostView, versions: tuple[int, ...]) -> list[tuple[str, str]]:
    """A host's sysctls to write, as paths below net, in the order in which they must be written.

    Devices that the host does not have, and IPv6 where nobody uses it, are passed over.
    """
    found = dict(_known(view, versions))
    return sorted(found.items(), key=lambda item: (not item[0].endswith(_FIRST), "/all/" not in item[0]))


def _known(view: HostView, versions: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    for key, value in view.sysctls.items():
        parts = _parts(key)
        if parts[0] == "ipv6" and 6 not in versions:
            continue
        if len(parts) == 4 and parts[1] == "conf":
            if parts[3] not in DEVICE or not (parts[2] in ("all", "default") or view.has_link(parts[2])):
                continue
        elif "/".join(parts) not in OTHERS:
            continue
        yield "/".join(parts), value


def _parts(key: str) -> list[str]:
    """A sysctl's name below net, by parts: dots or slashes separate, whichever comes first (sysctl(8))."""
    separator = next((c for c in key if c in "./"), ".")
    other = "/" if separator == "." else "."
    parts = [part.replace(other, ".") for part in key.split(separator)]
    return parts[1:] if parts[0] == "net" else parts


def write(settings: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Set them in the calling thread's namespace; returns those that could not be set, with the reason.

    What is off on the host may not be there at all: a kernel that does not have it does not do it.
    """
    refused = []
    for key, value in settings:
        if value == "0" and not (sysctls.ROOT / key).exists():
            continue
        try:
            if sysctls.read(key) != value:
                sysctls.write(key, value)
        except InputError as error:
            refused.append((key, value, str(error)))
    return refused
