"""Kinds of devices, and what travels over them: one probe each, run inside a fresh network namespace."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Interface
from pathlib import Path

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg

from netverify.kernel.capabilities.programs import Refused, run
from netverify.kernel.channel import NLMSG_DONE, NLMSG_ERROR, Channel
from netverify.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_NEWLINK,
    Attributes,
    Request,
    VethEnd,
    add_address,
    add_bridge,
    add_ipvlan,
    add_macvlan,
    add_veth,
    add_vxlan,
    list_neighbour_tables,
    set_link,
)

PLACE = "throwaway"  # what error messages call the namespace that a probe runs in
LOOPBACK, BRIDGE, NEAR, FAR, NEW = 1, 2, 3, 4, 5  # interface indexes


@contextmanager
def channel() -> Iterator[Channel]:
    """A netlink socket of the calling thread's namespace."""
    opened = Channel()
    try:
        yield opened
    finally:
        opened.close()


def _send(*requests: Request) -> None:
    with channel() as opened:
        opened.send(PLACE, requests)


def _pair() -> Request:
    return add_veth(VethEnd("near", NEAR), VethEnd("far", FAR))


def _plain(kind: str, data: Attributes, parent: int | None = None) -> Request:
    """Create a device of a kind that labs do not build by themselves."""
    info: Attributes = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": data}))
    message = ifinfmsg()
    message["index"] = NEW
    message["attrs"] = [("IFLA_IFNAME", "new"), ("IFLA_LINKINFO", {"attrs": info})]
    if parent is not None:
        message["attrs"].append(("IFLA_LINK", parent))
    message["header"]["type"] = RTM_NEWLINK
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    message.encode()
    return Request(f"create {kind} device", bytes(message.data))


# Kind -> the requests that make one; the argument is a descriptor of the namespace itself.
DEVICES: Mapping[str, Callable[[int], tuple[Request, ...]]] = {
    "veth": lambda _: (_pair(),),
    "bridge": lambda _: (add_bridge("bridge", BRIDGE),),
    "macvlan": lambda here: (_pair(), add_macvlan("new", NEW, NEAR, "bridge", here, mac=None)),
    "ipvlan": lambda here: (_pair(), add_ipvlan("new", NEW, NEAR, "l2", here)),
    "vxlan": lambda _: (
        add_bridge("bridge", BRIDGE),
        add_vxlan("new", NEW, 42, IPv4Address("192.0.2.1"), BRIDGE, mtu=None),
    ),
    "dummy": lambda _: (_plain("dummy", []),),
    "vlan": lambda _: (_pair(), _plain("vlan", [("IFLA_VLAN_ID", 42)], NEAR)),
}


def probe_device(kind: str) -> str:
    """Make a device of the kind."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _send(*DEVICES[kind](here))
    finally:
        os.close(here)
    return "made one"


def probe_sysctl() -> str:
    """Turn on forwarding for IPv4, and read it back."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    for value in ("1", "0"):
        switch.write_text(value)
        if switch.read_text().strip() != value:
            raise Refused(f"{switch} does not keep what is written to it")
    return "net.ipv4.ip_forward can be set in a namespace of our own"


def probe_ipv6() -> str:
    """Give the loopback device an IPv6 address."""
    _send(add_address(LOOPBACK, IPv6Interface("fd00::1/64")))
    return "an address can be set"


# --- packets -----------------------------------------------------------------------------------------------

ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800  # include/uapi/linux/if_ether.h
_PATIENCE_MS = 2000


def _frame(destination: bytes, source: bytes, port: int) -> bytes:
    """An Ethernet frame with an empty UDP datagram from 192.0.2.1 to 192.0.2.2 (RFC 5737)."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        28,
        0,
        0,
        64,
        socket.IPPROTO_UDP,
        0,
        bytes((192, 0, 2, 1)),
        bytes((192, 0, 2, 2)),
    )
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    return destination + source + struct.pack("!H", ETH_P_IP) + header + struct.pack("!HHHH", 9, port, 8, 0)


def _packet_socket(device: str) -> socket.socket:
    # Made without a protocol it hears nothing; bind() gives it one device and all protocols at once.
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    opened.bind((device, ETH_P_ALL))
    return opened


def _arrives(receiver: socket.socket, frame: bytes, patience_ms: float) -> bool:
    """Whether `frame` comes in within `patience_ms` milliseconds; other packets are passed over."""
    deadline = time.monotonic() + patience_ms / 1000
    poll = select.poll()
    poll.register(receiver, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        if receiver.recv(2048) == frame:
            return True
    return False


def probe_af_packet() -> str:
    """Send a frame from a packet socket and receive it on another."""
    with ExitStack() as stack:
        _send(set_link(LOOPBACK, up=True))
        sender, receiver = (stack.enter_context(_packet_socket("lo")) for _ in range(2))
        frame = _frame(bytes(6), bytes(6), 9)
        sender.send(frame)
        if not _arrives(receiver, frame, _PATIENCE_MS):
            raise Refused("a frame sent on a packet socket did not arrive at another")
    return "frames can be sent and captured"


_SWITCH = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_PORTS = {"0": 1000, "1": 1001}  # value of the switch -> UDP port of the frame sent while it has that value
_COUNTING = "".join(f"-A FORWARD -p udp --dport {port} -j ACCEPT\n" for port in _PORTS.values())


def probe_br_netfilter() -> str:
    """Send a frame across a bridge with the switch off, and one with it on: only the second may count."""
    if not _SWITCH.exists():
        raise Refused("there is no sysctl net.bridge.bridge-nf-call-iptables")
    run("iptables-restore", text=f"*filter\n{_COUNTING}COMMIT\n")
    with ExitStack() as stack:
        macs = ("02:00:00:00:00:01", "02:00:00:00:00:02")
        _send(
            add_bridge("bridge", BRIDGE),
            add_veth(VethEnd("port1", 10, master=BRIDGE), VethEnd("end1", 11, mac=macs[0])),
            add_veth(VethEnd("port2", 20, master=BRIDGE), VethEnd("end2", 21, mac=macs[1])),
            set_link(11, up=True),
            set_link(21, up=True),
        )
        sender, receiver = (stack.enter_context(_packet_socket(name)) for name in ("end1", "end2"))
        source, destination = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
        _open_ports(sender, receiver, _frame(destination, source, 999))
        for value, port in _PORTS.items():
            _SWITCH.write_text(value)
            frame = _frame(destination, source, port)
            sender.send(frame)
            if not _arrives(receiver, frame, _PATIENCE_MS):
                raise Refused(f"a frame was lost on a bridge with bridge-nf-call-iptables={value}")
    counted = run("iptables-save", "-c", "-t", "filter")
    for value, port in _PORTS.items():
        if f"[{value}:{28 * int(value)}] -A FORWARD -p udp -m udp --dport {port} " not in counted:
            raise Refused(f"iptables does not follow bridge-nf-call-iptables={value}: {counted!r}")
    return "bridge-nf-call-iptables decides whether iptables sees bridged packets"


def _open_ports(sender: socket.socket, receiver: socket.socket, frame: bytes) -> None:
    """Send until something arrives: a port forwards once the kernel's link watch saw its carrier."""
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        try:
            sender.send(frame)
        except OSError as error:
            last = f": {error.strerror}"
        else:
            last = ""
        if _arrives(receiver, frame, 1):
            return
    raise Refused(f"no frame crosses a bridge{last}")


# --- the kernel's own tables -------------------------------------------------------------------------------

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
_CT_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET (nfnetlink.h, nfnetlink_conntrack.h)


def probe_conntrack() -> str:
    """Ask for the namespace's connections over netlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asked:
        header = struct.pack("=IHHII", 20, _CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        asked.send(header + struct.pack("=BBH", socket.AF_INET, 0, 0))
        answer = asked.recv(65536)
        kind = struct.unpack_from("=H", answer, 4)[0]
        if kind == NLMSG_ERROR:
            raise Refused(os.strerror(-struct.unpack_from("=i", answer, 16)[0]))
        if kind != NLMSG_DONE:
            raise Refused(f"a namespace without connections answered with message type {kind}")
    return "the connection table can be read over netlink"


LEAST_NEIGHBOURS = 1024  # the kernel's default (net/ipv4/arp.c, net/ipv6/ndisc.c)


@dataclass(frozen=True, slots=True)
class NeighbourTable:
    """The kernel's neighbour table of one family: one for all namespaces of the machine.

    `limit` is gc_thresh3: with so many entries that are not permanent the table is full, and packets that
    need another are lost (arp(7)). `entries` counts all that there are now, in all namespaces.
    """

    family: int
    limit: int
    entries: int


def neighbour_tables() -> tuple[NeighbourTable, ...]:
    """The machine's neighbour tables, IPv4's first. Raises NetlinkError.

    The sysctl gc_thresh3 exists only in the machine's first network namespace; RTM_GETNEIGHTBL answers in
    every one (net/core/neighbour.c, neightbl_dump_info()).
    """
    tables = []
    with channel() as opened:
        for body in opened.dump(list_neighbour_tables()):
            message = ndtmsg(struct.pack("=IHHII", 16 + len(body), 0, 0, 0, 0) + body)
            message.decode()
            # Each table comes first and then once for every device, without limits.
            if (limit := message.get_attr("NDTA_THRESH3")) is not None:
                config = message.get_attr("NDTA_CONFIG")
                tables.append(NeighbourTable(message["family"], limit, config["entries"]))
    return tuple(sorted(tables, key=lambda table: table.family))


def probe_neighbours() -> str:
    """Read gc_thresh3; a table smaller than the kernel's default counts as missing."""
    names = {int(socket.AF_INET): "IPv4", int(socket.AF_INET6): "IPv6"}
    tables = [table for table in neighbour_tables() if table.family in names]
    text = "; ".join(f"{names[table.family]} {table.limit} ({table.entries} in use)" for table in tables)
    if not tables or min(table.limit for table in tables) < LEAST_NEIGHBOURS:
        raise Refused(f"{text or 'no table'}; the default is {LEAST_NEIGHBOURS}")
    return f"{text}; shared by all namespaces"
