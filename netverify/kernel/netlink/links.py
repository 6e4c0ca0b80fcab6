"""Requests about devices: bridges, veth pairs, macvlan, ipvlan, vxlan (ip-link(8))."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from netverify.kernel.netlink.request import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    REPEATED,
    Address,
    Attributes,
    Request,
    encoded,
)

# include/uapi/linux/rtnetlink.h, if.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
IFF_UP = 0x1


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
    return encoded(
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
    return encoded(_link(index, [], up=None), RTM_DELLINK, 0, f"delete device {index}")


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


@lru_cache(REPEATED)
def _change(
    index: int, up: bool | None, name: str | None, master: int | None, namespace: int | None, mac: str | None
) -> Request:
    attributes = _optional(mac, None, master)
    if name is not None:
        attributes.append(("IFLA_IFNAME", name))
    if namespace is not None:
        attributes.append(("IFLA_NET_NS_FD", namespace))
    return encoded(_link(index, attributes, up=up), RTM_NEWLINK, 0, f"change device {index}")


def set_hairpin(index: int) -> Request:
    """Let a bridge send frames back out of the port that they came in by (bridge(8), hairpin on)."""
    slave: Attributes = [
        ("IFLA_INFO_SLAVE_KIND", "bridge"),
        ("IFLA_INFO_SLAVE_DATA", {"attrs": [("IFLA_BRPORT_MODE", 1)]}),
    ]
    message = _link(index, [("IFLA_LINKINFO", {"attrs": slave})], up=None)
    return encoded(message, RTM_NEWLINK, 0, f"turn on hairpin of port {index}")
