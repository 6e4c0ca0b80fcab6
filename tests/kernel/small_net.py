"""Small networks made by hand: a few namespaces, cables and bridges, without a topology or a lab.

Everybody knows the MAC addresses that they need for good. The kernel's neighbour table is one for all
namespaces (gc_thresh3, arp(7)), and another test may be filling it at this moment.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_interface, ip_network
from pathlib import Path

from netverify.kernel import carrier, netlink, sandbox
from netverify.kernel.barrier import Barrier
from netverify.kernel.channel import Channel
from netverify.kernel.namespace import Namespace, Visitor

ICMP_ECHO, ICMPV6_ECHO = 8, 128


@dataclass
class SmallNet:
    """Namespaces by name, and what a test does in them."""

    visitor: Visitor
    namespaces: dict[str, Namespace]
    channels: dict[str, Channel]
    resources: ExitStack
    devices: dict[str, list[int]] = field(default_factory=dict)
    _next_index: Iterator[int] = field(default_factory=lambda: iter(range(100, 1000)))

    def configure(self, where: str, *requests: netlink.Request) -> None:
        self.channels[where].send(where, requests)

    def cable(self, near: str, near_name: str, far: str, far_name: str, *, bridge: int | None = None) -> int:
        """A veth pair, both ends up; returns the index of the far end (the near end's is one less)."""
        near_index, far_index = next(self._next_index), next(self._next_index)
        self.configure(
            near,
            netlink.add_veth(
                netlink.VethEnd(near_name, near_index, mac(near_index), master=bridge),
                netlink.VethEnd(far_name, far_index, mac(far_index), namespace=self.namespaces[far].fd),
            ),
        )
        self.configure(far, netlink.set_link(far_index, up=True))
        for where in (near, far):
            self.configure(where, netlink.set_link(1, up=True))  # lo
        self.devices.setdefault(near, []).append(near_index)
        self.devices.setdefault(far, []).append(far_index)
        return far_index

    def bridge(self, where: str, name: str, index: int) -> None:
        self.configure(where, netlink.add_bridge(name, index, mac=mac(index)))
        self.devices.setdefault(where, []).append(index)

    def ready(self) -> None:
        """Wait until every device can really send, which the kernel decides a moment after it is up."""
        channels = {name: (self.namespaces[name], channel) for name, channel in self.channels.items()}
        carrier.settle(self.visitor, channels, self.devices)

    def address(self, where: str, index: int, *addresses: str) -> None:
        self.configure(where, *(netlink.add_address(index, ip_interface(address)) for address in addresses))

    def introduce(self, where: str, index: int, peer: int, *addresses: str) -> None:
        """Tell a device that these addresses are at the MAC address of the device `peer`."""
        neighbours = (netlink.add_neighbour(index, ip_interface(each).ip, mac(peer)) for each in addresses)
        self.configure(where, *neighbours)

    def default_route(self, where: str, *gateways: str) -> None:
        for gateway in gateways:
            via = ip_interface(gateway).ip
            destination = ip_network("0.0.0.0/0" if via.version == 4 else "::/0")
            self.configure(where, netlink.add_route(destination, via=via))

    def run(self, where: str, command: str) -> str:
        """Run a program inside a namespace; a refusal fails the test with what the program said."""
        done = self.visitor.visit(
            self.namespaces[where],
            lambda: subprocess.run(command.split(), capture_output=True, text=True, check=False),
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def sysctl(self, where: str, name: str, value: int) -> None:
        path = Path("/proc/sys/net", *name.split("."))
        self.visitor.visit(self.namespaces[where], lambda: path.write_text(str(value)))

    def socket(self, where: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket inside a namespace, closed at the end; it gives up after ten seconds."""
        sock = self.visitor.visit(
            self.namespaces[where], partial(socket.socket, family, kind | socket.SOCK_CLOEXEC, protocol)
        )
        self.resources.callback(sock.close)
        sock.settimeout(10)
        return sock

    def settle(self) -> None:
        """Let everything in flight end: a busy CPU leaves packets to ksoftirqd when send() returns."""
        with Barrier(self.visitor) as barrier:
            barrier.wait_everywhere()

    def ping(
        self,
        where: str,
        target: str,
        identifier: int,
        sequence: int,
        payload: bytes = b"",
        *,
        source: str | None = None,
    ) -> None:
        """Send one echo request and wait for its reply."""
        sock, expected = self.send_echo(where, target, identifier, sequence, payload, source=source)
        while True:
            answer = sock.recv(2048)
            icmp = answer if sock.family == socket.AF_INET6 else answer[(answer[0] & 15) * 4 :]
            if icmp[0] == expected and icmp[4:8] == struct.pack("!HH", identifier, sequence):
                return

    def send_echo(
        self,
        where: str,
        target: str,
        identifier: int,
        sequence: int,
        payload: bytes = b"",
        *,
        source: str | None = None,
    ) -> tuple[socket.socket, int]:
        """Send one echo request; returns the socket and the ICMP type that answers it."""
        version = ip_interface(target).version
        if version == 4:
            sock = self.socket(where, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            kind, reply = ICMP_ECHO, 0
        else:
            sock = self.socket(where, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            kind, reply = ICMPV6_ECHO, ICMPV6_ECHO + 1
        if source is not None:
            sock.bind((source, 0))
        checksum = _checksum(struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + payload)
        packet = struct.pack("!BBHHH", kind, 0, checksum, identifier, sequence) + payload
        sock.sendto(packet, (target, 0))
        return sock, reply


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); the kernel puts in ICMPv6's itself."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac(index: int) -> str:
    """The MAC address of the device with that index."""
    return f"02:00:00:00:{index >> 8:02x}:{index & 0xFF:02x}"


@contextmanager
def small_net(*names: str) -> Iterator[SmallNet]:
    """Namespaces with nothing in them but `lo`."""
    sandbox.require()
    with ExitStack() as resources:
        visitor = resources.enter_context(Visitor())
        made = visitor.create(names, Channel)
        for namespace, channel in made:
            resources.callback(namespace.close)
            resources.callback(channel.close)
        yield SmallNet(
            visitor,
            {namespace.name: namespace for namespace, _ in made},
            {namespace.name: channel for namespace, channel in made},
            resources,
        )


LEFT, RIGHT = ("10.0.0.1/24", "fd00::1/64"), ("10.0.0.2/24", "fd00::2/64")


@contextmanager
def cable_net() -> Iterator[SmallNet]:
    """left (10.0.0.1, fd00::1) - right (10.0.0.2, fd00::2), both on eth0."""
    with small_net("left", "right") as net:
        right = net.cable("left", "eth0", "right", "eth0")
        left = right - 1
        net.address("left", left, *LEFT)
        net.address("right", right, *RIGHT)
        net.introduce("left", left, right, *RIGHT)
        net.introduce("right", right, left, *LEFT)
        net.ready()
        yield net


BRIDGES = {"br-a": (10, "172.19.0.1/16", "fd00:19::1/64"), "br-b": (11, "172.18.0.1/16", "fd00:18::1/64")}
# A router asks for neighbours from its link-local address. The kernel's own would be tentative for two
# seconds (RFC 4862, 5.4), and nothing is forwarded meanwhile; ours skips duplicate address detection.
LINK_LOCAL = "fe80::1/64"
CONTAINERS = {
    "a1": ("br-a", "172.19.0.2/16", "fd00:19::2/64"),
    "b1": ("br-b", "172.18.0.2/16", "fd00:18::2/64"),
}


@contextmanager
def two_bridges() -> Iterator[SmallNet]:
    """A routing host with br-a (172.19.0.1) and br-b (172.18.0.1), and the containers a1 and b1 on them."""
    with small_net("host", *CONTAINERS) as net:
        net.sysctl("host", "ipv6.conf.default.addr_gen_mode", 1)  # no link-local addresses but ours
        for name, (index, *addresses) in BRIDGES.items():
            net.bridge("host", name, index)
            net.address("host", index, *addresses, LINK_LOCAL)
        for name, (bridge, *addresses) in CONTAINERS.items():
            index, *gateways = BRIDGES[bridge]
            eth0 = net.cable("host", f"veth-{name}", name, "eth0", bridge=index)
            net.address(name, eth0, *addresses)
            net.introduce(name, eth0, index, *gateways)
            net.introduce("host", index, eth0, *addresses)
            net.default_route(name, *gateways)
        for switch in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            net.sysctl("host", switch, 1)
        net.ready()
        yield net
