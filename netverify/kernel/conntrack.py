"""A namespace's connection tracking table, read and flushed through ctnetlink.

pyroute2 has the message formats; its own socket is an event loop of its own, which a request and its answer
do not need, so the two system calls are made here. Without ctnetlink there is /proc/net/nf_conntrack, but it
is optional in the kernel and a format for people; netlink is what conntrack(8) itself reads.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    IPSBIT_TO_NAME,
    TCP_CONNTRACK_TO_NAME,
    nfct_msg,
)

from netverify.errors import KernelError, MissingCapability
from netverify.kernel.channel import NLMSG_DONE, NLMSG_ERROR
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from netverify.reachability.flow import ConntrackEntry, ConntrackTuple, IPAddress, TransportAddress

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_LARGEST_ANSWER = 1 << 16  # bytes; the kernel fits a dump into what the reader offers, 32 KiB at most

PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp"}


@dataclass(frozen=True)
class Snapshot:
    """A table as it was at one moment, in the kernel's own encoding: most entries nobody asks for."""

    messages: tuple[bytes, ...]

    def entries(self, about: Collection[IPAddress] = ()) -> tuple[ConntrackEntry, ...]:
        """All entries, IPv4 and IPv6; with `about`, those alone that have one of these addresses in them."""
        wanted = [address.packed for address in about]
        return tuple(
            _entry(message)
            for message in self.messages
            if not wanted or any(address in message for address in wanted)
        )


class Conntrack:
    """The connection tracking table of one namespace.

    Opened inside the namespace; `entries()` reads it and `flush()` empties it, from any thread.
    Used as a context manager. Raises KernelError naming the namespace where the kernel refuses.
    """

    def __init__(self, visitor: Visitor, namespace: Namespace) -> None:
        self.namespace = namespace
        self._socket = visitor.visit(namespace, _open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def entries(self, about: Collection[IPAddress] = ()) -> tuple[ConntrackEntry, ...]:
        """What the table holds now; see Snapshot.entries."""
        return self.snapshot().entries(about)

    def snapshot(self) -> Snapshot:
        """Read the whole table."""
        return Snapshot(tuple(self._ask(IPCTNL_MSG_CT_GET, NLM_F_DUMP, "read the conntrack table")))

    def flush(self) -> None:
        """Forget every connection, IPv4 and IPv6; the next packet of each is a new one."""
        self._ask(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, "flush the conntrack table")

    def _ask(self, message_type: int, flags: int, what: str) -> list[bytes]:
        """Send a request about the whole table; returns the messages that answer it, headers included."""
        request = nfct_msg()  # address family 0: all of them
        request["header"]["type"] = NFNL_SUBSYS_CTNETLINK << 8 | message_type
        request["header"]["flags"] = NLM_F_REQUEST | flags
        request.encode()
        self._socket.send(request.data)
        messages: list[bytes] = []
        while True:
            answer = self._socket.recv(_LARGEST_ANSWER)
            position = 0
            while position < len(answer):
                length, kind, _flags, _number, _port = _HEADER.unpack_from(answer, position)
                message = answer[position : position + length]
                position += (length + 3) & ~3
                if kind not in (NLMSG_DONE, NLMSG_ERROR):
                    messages.append(message)
                    continue
                code = -struct.unpack_from("=i", message, _HEADER.size)[0]
                if code:
                    raise self._refused(code, what)
                return messages

    def _refused(self, code: int, what: str) -> KernelError:
        reason = f"cannot {what} of namespace {self.namespace.name!r}: {os.strerror(code)}"
        if code == errno.EINVAL:  # nfnetlink_rcv_msg(): nobody has registered for this subsystem
            remedy = "It needs a kernel with CONFIG_NF_CT_NETLINK (modprobe nf_conntrack_netlink)."
            return MissingCapability("conntrack netlink", reason, remedy)
        if code == errno.EPERM:
            return MissingCapability(
                "conntrack netlink",
                reason,
                "It needs CAP_NET_ADMIN: run inside netverify's sandbox, or as root.",
            )
        return KernelError(reason)


def _open() -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError as error:
        reason = f"a netfilter netlink socket was refused ({error.strerror})"
        remedy = "It needs a kernel with CONFIG_NETFILTER_NETLINK (modprobe nfnetlink)."
        raise MissingCapability("conntrack netlink", reason, remedy) from error
    sock.bind((0, 0))
    return sock


def _entry(data: bytes) -> ConntrackEntry:
    message = nfct_msg(data)
    message.decode()
    attributes = dict(message["attrs"])
    bits = attributes["CTA_STATUS"]
    status = {name for bit, name in IPSBIT_TO_NAME.items() if bits & bit}
    if "SEEN_REPLY" not in status:
        status.add("UNREPLIED")
    protocol = dict(attributes.get("CTA_PROTOINFO", {"attrs": ()})["attrs"])
    tcp = dict(protocol["CTA_PROTOINFO_TCP"]["attrs"]) if "CTA_PROTOINFO_TCP" in protocol else {}
    state = tcp.get("CTA_PROTOINFO_TCP_STATE")
    return ConntrackEntry(
        original=_tuple(attributes["CTA_TUPLE_ORIG"]),
        reply=_tuple(attributes["CTA_TUPLE_REPLY"]),
        status=frozenset(status),
        state=TCP_CONNTRACK_TO_NAME.get(state, f"state {state}") if state is not None else "",
        mark=attributes.get("CTA_MARK", 0),
        timeout=attributes.get("CTA_TIMEOUT"),
        zone=attributes.get("CTA_ZONE", 0),
    )


def _tuple(nested: Any) -> ConntrackTuple:
    outer = dict(nested["attrs"])
    addresses = dict(outer["CTA_TUPLE_IP"]["attrs"])
    numbers = dict(outer["CTA_TUPLE_PROTO"]["attrs"])
    version = "V4" if "CTA_IP_V4_SRC" in addresses else "V6"
    icmp = "CTA_PROTO_ICMP" if version == "V4" else "CTA_PROTO_ICMPV6"
    protocol = numbers["CTA_PROTO_NUM"]
    return ConntrackTuple(
        protocol=PROTOCOLS.get(protocol, str(protocol)),
        source=_end(addresses[f"CTA_IP_{version}_SRC"], numbers.get("CTA_PROTO_SRC_PORT")),
        destination=_end(addresses[f"CTA_IP_{version}_DST"], numbers.get("CTA_PROTO_DST_PORT")),
        icmp_id=numbers.get(f"{icmp}_ID"),
        icmp_type=numbers.get(f"{icmp}_TYPE"),
        icmp_code=numbers.get(f"{icmp}_CODE"),
    )


def _end(host: str, port: int | None) -> TransportAddress:
    return TransportAddress(ip_address(host), port)
