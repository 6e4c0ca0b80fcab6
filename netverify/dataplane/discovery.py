"""Neighbour discovery through packet filters: whether a host learns the Ethernet address of its next hop.

IPv6 asks for it with ICMPv6 (RFC 4861), which passes hooks like any packet: the question leaves by OUTPUT and
POSTROUTING, is shown to the filter of every host that bridges it and asks for that (br_netfilter), and
arrives through PREROUTING and INPUT; and so does the answer, the other way. Where a rule stops one of the
two, nothing gets to that neighbour: after three questions the kernel tells whoever sent the packet that the
address is unreachable (ndisc_error_report in net/ipv6/ndisc.c). ARP passes none of these hooks.

The question is sent to the group of the solicited node (RFC 4291, 2.7.1), so that rules which spare a subnet
do not spare it. Its source is that of the packet which waits, where the asking device has that address, else
the device's link-local address (ndisc_solicit). Who hears it learns the Ethernet address of its source, and
needs not ask for that later (RFC 4861, 7.2.3), even if the answer is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address

from netverify.dataplane.hooks import HOOKS, StageKind
from netverify.dataplane.outcomes import Bridged, Stopped
from netverify.dataplane.packet import ICMPV6, Packet
from netverify.dataplane.stack import Stack
from netverify.dataplane.trace import Recorder, Trace
from netverify.dataplane.view import HostView, Link
from netverify.dataplane.wires import Way

SOLICITATION, ADVERTISEMENT = 135, 136
LENGTH = 72  # of both, with the option that holds an Ethernet address (RFC 4861, 4.3, 4.4, 4.6.1)
HOP_LIMIT = 255
_GROUP = 2  # PACKET_MULTICAST of include/uapi/linux/if_packet.h
_SOLICITED_NODES = int(IPv6Address("ff02::1:ff00:0"))
_LINK_LOCAL = int(IPv6Address("fe80::"))

Neighbour = tuple[str, str, IPv6Address]
"""A host, a device of it, and the address behind it whose Ethernet address that host has learned."""


@dataclass(frozen=True)
class Discovered:
    """What came of asking: who has learned of whom, and if a question or an answer was stopped, its trace.

    `assumed` lists the unknowns that were asked, with the values that were taken for them.
    """

    learned: frozenset[Neighbour] = frozenset()
    failed: Trace | None = None
    assumed: tuple[tuple[str, bool], ...] = ()


class Discovery:
    """Neighbour discovery among the hosts of one world."""

    def __init__(self, stacks: Mapping[str, Stack]) -> None:
        self._stacks = stacks
        self._kept: dict[tuple[str, str, Way, IPv6Address, IPv6Address], tuple[list[Stack], Discovered]] = {}

    def ask(
        self,
        host: str,
        device: str,
        way: Way,
        neighbour: IPv6Address,
        source: IPv6Address,
        assume: Mapping[str, bool] | None = None,
    ) -> Discovered:
        """`host` asks by a device who has an address, from `source`; `way` leads to who has it."""
        key = (host, device, way, neighbour, source)
        names = dict.fromkeys((host, *(hop.host for hop in way.hops), way.host))
        stacks = [self._stacks[name] for name in names]
        known, found = self._kept.get(key, ([], Discovered()))
        if known != stacks:  # a world's host may have got other rules
            found = self._asked(key, stacks, assume or {})
            if not found.assumed:
                self._kept[key] = stacks, found
        return found

    def is_open(self, host: str, way: Way) -> bool:
        """Whether no rule of any host on the way can stop a question or an answer."""
        on_the_way = all(_is_quiet(self._stacks[hop.host], bridging=True) for hop in way.hops)
        return on_the_way and _is_quiet(self._stacks[host]) and _is_quiet(self._stacks[way.host])

    def _asked(
        self,
        key: tuple[str, str, Way, IPv6Address, IPv6Address],
        stacks: list[Stack],
        assume: Mapping[str, bool],
    ) -> Discovered:
        host, device, way, neighbour, source = key
        recorder = Recorder()
        learned: set[Neighbour] = set()
        with _heard_by(recorder, stacks, assume):
            question = _message(SOLICITATION, source, solicited_node(neighbour)).with_(pkttype=_GROUP)
            at, fate = self._carried(question, host, device, way)
            if isinstance(fate, Stopped):
                failed = _failed(question, at, fate, f"{neighbour}: the question", recorder)
                return Discovered(failed=failed, assumed=failed.assumed)
            learned.add((way.host, way.device, source))
            recorder.steps.clear()
            answer = _message(ADVERTISEMENT, neighbour, source)
            at, fate = self._carried(answer, way.host, way.device, way.back(host, device))
            if isinstance(fate, Stopped):
                failed = _failed(answer, at, fate, f"{neighbour}: the answer", recorder)
                return Discovered(frozenset(learned), failed, failed.assumed)
        learned.add((host, device, neighbour))
        return Discovered(frozenset(learned), assumed=tuple(recorder.assumed.items()))

    def _carried(self, packet: Packet, host: str, device: str, way: Way) -> tuple[str, Packet | Stopped]:
        """Out of a device and over all bridges, into whoever is at the end of the way."""
        passed = self._stacks[host].tell(packet, device)
        if isinstance(passed, Stopped):
            return host, passed
        for hop in way.hops:
            fate = self._stacks[hop.host].bridge(passed, hop.bridge, hop.port, hop.to_port)
            if not isinstance(fate, Bridged):
                led_away = Stopped(passed, f"led away by {hop.bridge}")
                return hop.host, fate if isinstance(fate, Stopped) else led_away
            passed = fate.packet
        return way.host, self._stacks[way.host].hear(passed, way.device, way.port)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast address that who has an address listens to (RFC 4291, 2.7.1)."""
    return IPv6Address(_SOLICITED_NODES | int(address) & 0xFFFFFF)


def source_of_question(view: HostView, device: str, waiting: int) -> IPv6Address:
    """From which address a host asks by a device, for a packet whose source is the number `waiting`."""
    link = view.link(device)
    own = next((own.ip for own in link.addresses if own.version == 6 and int(own.ip) == waiting), None)
    return own if isinstance(own, IPv6Address) else link_local(link)


def link_local(link: Link) -> IPv6Address:
    """A device's link-local address: the one that is known, else that of its Ethernet address.

    Every device has one, which the kernel makes of the Ethernet address (RFC 4291, appendix A). Where that is
    not known either, fe80::1 stands for it.
    """
    for own in link.addresses:
        if isinstance(own.ip, IPv6Address) and own.ip.is_link_local:
            return own.ip
    if link.mac is None:
        return IPv6Address(_LINK_LOCAL | 1)
    high, low = link.mac >> 24, link.mac & 0xFFFFFF
    return IPv6Address(_LINK_LOCAL | (high ^ 0x020000) << 40 | 0xFFFE << 24 | low)


def _is_quiet(stack: Stack, *, bridging: bool = False) -> bool:
    """Whether a host has no rules for IPv6; for what it bridges, whether any are asked."""
    if any(table.family in ("bridge", "netdev") for table in stack.view.nft.tables):
        return False
    if bridging and not stack.view.bridge_calls_filter(6):
        return True
    kinds = {stage.kind for hook in HOOKS for stage in stack.filters[6].stages(hook)}
    return StageKind.CHAIN not in kinds


def _message(kind: int, source: IPv6Address, destination: IPv6Address) -> Packet:
    return Packet.of(
        source, destination, ICMPV6, icmp_type=kind, ttl=HOP_LIMIT, length=LENGTH, sport=0
    )  # fmt: skip


def _failed(packet: Packet, host: str, fate: Stopped, what: str, recorder: Recorder) -> Trace:
    reason = f"neighbour discovery of {what} is {fate.reason} on {host}"
    verdict = "dropped" if fate.answer is None else "rejected"
    steps, assumed = tuple(recorder.steps), tuple(recorder.assumed.items())
    return Trace(packet, fate.packet, verdict, reason, host, fate.place, steps, assumed)


@contextmanager
def _heard_by(recorder: Recorder, stacks: list[Stack], assume: Mapping[str, bool]) -> Iterator[None]:
    """While this lasts, what happens on these hosts is taken down by another recorder."""
    kept = [(stack, stack.recorder, stack.assume) for stack in stacks]
    for stack in stacks:
        stack.recorder, stack.assume = recorder, assume
    try:
        yield
    finally:
        for stack, old, before in kept:
            stack.recorder, stack.assume = old, before
