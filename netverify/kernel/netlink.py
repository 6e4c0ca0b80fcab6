"""rtnetlink requests, encoded by pyroute2: devices, addresses, routes, neighbours (rtnetlink(7)).

Nothing here talks to the kernel; `kernel/channel.py` sends what these functions return, many at once.
Interface indexes are chosen by us (RTM_NEWLINK honours `ifi_index`), so that no request has to wait for the
answer to another: a whole namespace is one datagram.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from pyroute2.netlink import nlmsg
from pyroute2.netlink.diag import SOCK_DIAG_BY_FAMILY, inet_diag_req
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

Address = IPv4Address | IPv6Address
Attributes = list[tuple[str, Any]]

# include/uapi/linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK = 0x001, 0x004
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP = 0x300

# include/uapi/linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE = 32
RTM_GETNEIGHTBL, RTM_SETNEIGHTBL = 66, 67
RT_TABLE_MAIN = 254
ROUTE_KINDS = {"unicast": 1, "local": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8}
IFF_UP = 0x1
NUD_PERMANENT = 0x80
NTF_SELF, NTF_MASTER = 0x02, 0x04
IFA_F_NODAD = 0x02
RTNH_F_ONLINK = 0x4
FIB_RULE_INVERT = 0x2  # include/uapi/linux/fib_rules.h
TCP_LISTEN = 10  # include/net/tcp_states.h
_REPEATED = 1024  # requests that are kept, since the next namespace asks for the very same
_NDM_IFINDEX = 20  # where struct ndmsg (rtnetlink(7)) has its device: after the header, family and padding


@dataclass(frozen=True, slots=True)
class Request:
    """One encoded request, and what it is in words for the error message."""

    what: str
    data: bytes


def _request(message: nlmsg, kind: int, flags: int, what: str) -> Request:
    message["header"]["type"] = kind
    message["header"]["flags"] = NLM_F_REQUEST | flags
    message.encode()
    return Request(what, bytes(message.data))


def _link(index: int, attributes: Attributes, *, up: bool | None) -> ifinfmsg:
    message = ifinfmsg()
    message["index"] = index
    if up is not None:
        message["flags"], message["change"] = (IFF_UP if up else 0), IFF_UP
    message["attrs"] = attributes
    return message


def _create(name: str, index: int, kind: str, data: Attributes, extra: Attributes, up: bool) -> Request:
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": data}))
    attributes: Attributes = [("IFLA_IFNAME", name), *extra, ("IFLA_LINKINFO", {"attrs": info})]
    return _request(
        _link(index, attributes, up=up),
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        f"create {kind} device {name}",
    )


def _optional(mac: str | None, mtu: int | None, master: int | None) -> Attributes:
    pairs = (("IFLA_ADDRESS", mac), ("IFLA_MTU", mtu), ("IFLA_MASTER", master))
    return [(key, value) for key, value in pairs if value is not None]


@dataclass(frozen=True)
class VethEnd:
    """One end of a veth pair; `namespace` is the descriptor of where it goes (None: it stays here)."""

    name: str
    index: int
    mac: str | None = None
    mtu: int | None = None
    master: int | None = None
    namespace: int | None = None
    up: bool = True


def add_veth(near: VethEnd, far: VethEnd) -> Request:
    """Create a veth pair whose `far` end appears in its own namespace at once (veth(4)).

    The far end stays down and without a bridge: the kernel configures it before the pair is joined, and
    veth_open() refuses an end without a peer (drivers/net/veth.c).
    """
    peer: Attributes = [("IFLA_IFNAME", far.name), *_optional(far.mac, far.mtu, None)]
    if far.namespace is not None:
        peer.append(("IFLA_NET_NS_FD", far.namespace))
    return _create(
        near.name,
        near.index,
        "veth",
        [("VETH_INFO_PEER", {"index": far.index, "attrs": peer})],
        _optional(near.mac, near.mtu, near.master),
        near.up,
    )


def add_bridge(name: str, index: int, *, mac: str | None = None, mtu: int | None = None) -> Request:
    """Create an Ethernet bridge, up, with spanning tree off and no forward delay (Docker's settings).

    Multicast snooping is off too: with it the host joins 224.0.0.106 and sends IGMP reports at times of its
    own (`br_multicast_join_snoopers`, net/bridge/br_multicast.c), which its rules would count.
    """
    data: Attributes = [
        ("IFLA_BR_FORWARD_DELAY", 0),
        ("IFLA_BR_STP_STATE", 0),
        ("IFLA_BR_MCAST_SNOOPING", 0),
    ]
    return _create(name, index, "bridge", data, _optional(mac, mtu, None), up=True)


# include/uapi/linux/if_link.h: enum macvlan_mode, ipvlan_mode
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}


def add_macvlan(name: str, index: int, parent: int, mode: str, namespace: int, *, mac: str | None) -> Request:
    """Create a macvlan device on `parent` that appears, down, in `namespace`."""
    extra: Attributes = [
        ("IFLA_LINK", parent),
        ("IFLA_NET_NS_FD", namespace),
        *_optional(mac, None, None),
    ]
    return _create(name, index, "macvlan", [("IFLA_MACVLAN_MODE", MACVLAN_MODES[mode])], extra, up=False)


def add_ipvlan(name: str, index: int, parent: int, mode: str, namespace: int) -> Request:
    """Create an ipvlan device on `parent` that appears, down, in `namespace`."""
    extra: Attributes = [("IFLA_LINK", parent), ("IFLA_NET_NS_FD", namespace)]
    return _create(name, index, "ipvlan", [("IFLA_IPVLAN_MODE", IPVLAN_MODES[mode])], extra, up=False)


def add_vxlan(name: str, index: int, vni: int, local: Address, master: int, *, mtu: int | None) -> Request:
    """Create a vxlan device (RFC 7348, UDP 4789) with learning off, enslaved to the bridge `master`."""
    key = "IFLA_VXLAN_LOCAL" if local.version == 4 else "IFLA_VXLAN_LOCAL6"
    data: Attributes = [
        ("IFLA_VXLAN_ID", vni),
        (key, str(local)),
        ("IFLA_VXLAN_PORT", 4789),
        ("IFLA_VXLAN_LEARNING", 0),
    ]
    return _create(name, index, "vxlan", data, _optional(None, mtu, master), up=True)


def delete_link(index: int) -> Request:
    """Delete a device; the other end of a veth pair goes with it."""
    return _request(_link(index, [], up=None), RTM_DELLINK, 0, f"delete device {index}")


def set_link(
    index: int,
    *,
    up: bool | None = None,
    name: str | None = None,
    master: int | None = None,
    namespace: int | None = None,
    mac: str | None = None,
) -> Request:
    """Change a device: up or down, its name, its bridge (0: none), its namespace, its MAC address."""
    return _change(index, up, name, master, namespace, mac)


@lru_cache(_REPEATED)
def _change(
    index: int, up: bool | None, name: str | None, master: int | None, namespace: int | None, mac: str | None
) -> Request:
    attributes = _optional(mac, None, master)
    if name is not None:
        attributes.append(("IFLA_IFNAME", name))
    if namespace is not None:
        attributes.append(("IFLA_NET_NS_FD", namespace))
    return _request(_link(index, attributes, up=up), RTM_NEWLINK, 0, f"change device {index}")


def set_hairpin(index: int) -> Request:
    """Let a bridge send frames back out of the port that they came in by (bridge(8), hairpin on)."""
    slave: Attributes = [
        ("IFLA_INFO_SLAVE_KIND", "bridge"),
        ("IFLA_INFO_SLAVE_DATA", {"attrs": [("IFLA_BRPORT_MODE", 1)]}),
    ]
    message = _link(index, [("IFLA_LINKINFO", {"attrs": slave})], up=None)
    return _request(message, RTM_NEWLINK, 0, f"turn on hairpin of port {index}")


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
    return _request(message, kind, flags, f"{verb} address {address} on device {index}")


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


def add_mark_rule(version: int, priority: int, table: int, mark: int, mask: int) -> Request:
    """Have packets whose mark, cut down by `mask`, is `mark` routed by a table (ip-rule(8), fwmark)."""
    return add_rule(version, priority, table, mark=mark, mask=mask)


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
    return _request(message, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, f"rule {priority} for table {table}")


def delete_route(destination: IPv4Network | IPv6Network, *, via: Address | None = None) -> Request:
    """Delete a route from the main table."""
    return _route(RTM_DELROUTE, 0, destination, via, None, None, "unicast", False, RT_TABLE_MAIN, 0)


@lru_cache(_REPEATED)
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
    return _request(message, message_kind, flags, f"{verb} {kind} route {route}")


def find_route(address: Address) -> Request:
    """Ask which route leads to an address; the kernel refuses as the route itself would."""
    message = rtmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["dst_len"] = address.max_prefixlen
    message["attrs"] = [("RTA_DST", str(address))]
    return _request(message, RTM_GETROUTE, 0, f"find the route to {address}")


def add_neighbour(index: int, address: Address, mac: str) -> Request:
    """Add a permanent neighbour entry: it needs no ARP, and does not count against gc_thresh3 (arp(7))."""
    message = ndmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["ifindex"] = index
    message["state"] = NUD_PERMANENT
    message["attrs"] = [("NDA_DST", str(address)), ("NDA_LLADDR", mac)]
    return _request(message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, f"add neighbour {address} at {mac}")


def same_neighbour(request: Request, index: int) -> Request:
    """The neighbour entry of an `add_neighbour` request on another device.

    Everybody on a bridge knows the same neighbours: encoding each once, and not once for each pair, is what
    keeps a lab of hundreds quick.
    """
    data = bytearray(request.data)
    struct.pack_into("=i", data, _NDM_IFINDEX, index)
    return Request(request.what, bytes(data))


@cache
def list_neighbours() -> Request:
    """Ask for every neighbour entry of a namespace (`Channel.dump`)."""
    return _request(ndmsg(), RTM_GETNEIGH, NLM_F_DUMP, "list the neighbours")


@cache
def list_neighbour_tables() -> Request:
    """Ask for the machine's neighbour tables (`Channel.dump`)."""
    return _request(ndtmsg(), RTM_GETNEIGHTBL, NLM_F_DUMP, "list the neighbour tables")


@cache
def list_listeners(version: int) -> Request:
    """Ask for every TCP socket that listens in a namespace (sock_diag(7)), over NETLINK_SOCK_DIAG."""
    message = inet_diag_req()
    message["sdiag_family"] = socket.AF_INET if version == 4 else socket.AF_INET6
    message["sdiag_protocol"] = socket.IPPROTO_TCP
    message["idiag_states"] = 1 << TCP_LISTEN
    return _request(message, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, "list the TCP listeners")


def set_neighbour_patience(index: int, version: int, milliseconds: int) -> Request:
    """Set how long a device waits between two questions for a neighbour (three are asked; arp(7)).

    The sysctl of the same meaning exists only per device outside the initial namespace, so it is set as the
    device is made (RTM_SETNEIGHTBL, rtnetlink(7)).
    """
    table = b"arp_cache\0" if version == 4 else b"ndisc_cache\0"
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    parameters = _attribute(1, struct.pack("=I", index)) + _attribute(5, struct.pack("=Q", milliseconds))
    body = struct.pack("=B3x", family) + _attribute(1, table) + _attribute(6, parameters)
    header = struct.pack("=IHHII", 16 + len(body), RTM_SETNEIGHTBL, NLM_F_REQUEST, 0, 0)
    return Request(f"set the neighbour patience of device {index}", header + body)


def _attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def add_forwarding_entry(index: int, mac: str, remote: Address) -> Request:
    """Tell a vxlan device which host has `mac` (the all-zero MAC: who gets broadcasts); see bridge(8)."""
    message = ndmsg()
    message["family"] = socket.AF_BRIDGE
    message["ifindex"] = index
    message["state"] = NUD_PERMANENT
    message["flags"] = NTF_SELF
    message["attrs"] = [("NDA_LLADDR", mac), ("NDA_DST", str(remote))]
    return _request(
        message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, f"add forwarding entry {mac} to {remote}"
    )
