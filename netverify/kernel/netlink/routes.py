"""Requests about addresses, routes and the rules of routing (ip-address(8), ip-route(8), ip-rule(8))."""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netverify.kernel.netlink.request import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    REPEATED,
    Address,
    Attributes,
    Request,
    encoded,
)

# include/uapi/linux/rtnetlink.h
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE = 32
RTM_DELRULE = 33
RT_TABLE_MAIN = 254
ROUTE_KINDS = {"unicast": 1, "local": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8}
IFA_F_NODAD = 0x02
RTNH_F_ONLINK = 0x4
FIB_RULE_INVERT = 0x2  # include/uapi/linux/fib_rules.h


def add_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Give a device an address, without the second that duplicate address detection would take."""
    return _address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address, "add")


def delete_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Take an address from a device; Linux drops the routes that depend on it."""
    return _address(RTM_DELADDR, 0, index, address, "delete")


def _address(kind: int, flags: int, index: int, address: IPv4Interface | IPv6Interface, verb: str) -> Request:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    message["flags"] = IFA_F_NODAD if address.version == 6 else 0
    attributes: Attributes = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    if address.version == 4 and address.network.prefixlen < 31:
        attributes.append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    message["attrs"] = attributes
    return encoded(message, kind, flags, f"{verb} address {address} on device {index}")


def add_route(
    destination: IPv4Network | IPv6Network,
    *,
    via: Address | None = None,
    device: int | None = None,
    source: Address | None = None,
    kind: str = "unicast",
    onlink: bool = False,
    table: int = RT_TABLE_MAIN,
    metric: int = 0,
) -> Request:
    """Add a route, as `ip route add` would."""
    flags = NLM_F_CREATE | NLM_F_EXCL
    return _route(RTM_NEWROUTE, flags, destination, via, device, source, kind, onlink, table, metric)


def add_rule(
    version: int,
    priority: int,
    table: int,
    *,
    source: IPv4Network | IPv6Network | None = None,
    destination: IPv4Network | IPv6Network | None = None,
    in_interface: str | None = None,
    mark: int = 0,
    mask: int = 0,
    inverted: bool = False,
) -> Request:
    """Have packets that fit routed by a table, or with `inverted` those that do not (ip-rule(8))."""
    message = fibmsg()
    message["family"] = socket.AF_INET if version == 4 else socket.AF_INET6
    message["table"] = table if table < 256 else 0
    message["action"] = 1  # FR_ACT_TO_TBL
    message["flags"] = FIB_RULE_INVERT if inverted else 0
    attributes: Attributes = [("FRA_PRIORITY", priority), ("FRA_TABLE", table)]
    for key, length, network in (("FRA_SRC", "src_len", source), ("FRA_DST", "dst_len", destination)):
        if network is not None:
            message[length] = network.prefixlen
            attributes.append((key, str(network.network_address)))
    if in_interface is not None:
        attributes.append(("FRA_IIFNAME", in_interface))
    if mask:
        attributes += [("FRA_FWMARK", mark), ("FRA_FWMASK", mask)]
    message["attrs"] = attributes
    return encoded(message, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, f"rule {priority} for table {table}")


def delete_rule(version: int, priority: int, table: int) -> Request:
    """Remove the rule of a priority that has everything routed by a table (ip-rule(8))."""
    message = fibmsg()
    message["family"] = socket.AF_INET if version == 4 else socket.AF_INET6
    message["table"] = table
    message["action"] = 1  # FR_ACT_TO_TBL
    message["attrs"] = [("FRA_PRIORITY", priority), ("FRA_TABLE", table)]
    return encoded(message, RTM_DELRULE, 0, f"rule {priority} for table {table}")


def delete_route(destination: IPv4Network | IPv6Network, *, via: Address | None = None) -> Request:
    """Delete a route from the main table."""
    return _route(RTM_DELROUTE, 0, destination, via, None, None, "unicast", False, RT_TABLE_MAIN, 0)


@lru_cache(REPEATED)
def _route(
    message_kind: int,
    flags: int,
    destination: IPv4Network | IPv6Network,
    via: Address | None,
    device: int | None,
    source: Address | None,
    kind: str,
    onlink: bool,
    table: int,
    metric: int,
) -> Request:
    message = rtmsg()
    message["family"] = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    message["dst_len"] = destination.prefixlen
    message["table"] = table if table < 256 else 0  # RT_TABLE_UNSPEC: the attribute has it
    message["proto"] = 4  # RTPROT_STATIC
    # Without a gateway a route reaches only neighbours (scope link); ip-route(8) does the same.
    message["scope"] = 253 if kind == "unicast" and via is None and destination.version == 4 else 0
    message["type"] = ROUTE_KINDS[kind]
    message["flags"] = RTNH_F_ONLINK if onlink else 0
    attributes: Attributes = []
    if destination.prefixlen:
        attributes.append(("RTA_DST", str(destination.network_address)))
    if via is not None:
        attributes.append(("RTA_GATEWAY", str(via)))
    if device is not None:
        attributes.append(("RTA_OIF", device))
    if source is not None:
        attributes.append(("RTA_PREFSRC", str(source)))
    if table > 255:
        attributes.append(("RTA_TABLE", table))
    if metric:
        attributes.append(("RTA_PRIORITY", metric))
    message["attrs"] = attributes
    verb = "add" if message_kind == RTM_NEWROUTE else "delete"
    route = f"{destination}" + (f" via {via}" if via else "") + (f" dev {device}" if device else "")
    return encoded(message, message_kind, flags, f"{verb} {kind} route {route}")


def find_route(address: Address) -> Request:
    """Ask which route leads to an address; the kernel refuses as the route itself would."""
    message = rtmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["dst_len"] = address.max_prefixlen
    message["attrs"] = [("RTA_DST", str(address))]
    return encoded(message, RTM_GETROUTE, 0, f"find the route to {address}")
