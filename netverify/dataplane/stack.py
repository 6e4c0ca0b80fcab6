"""One host's IP stack for one packet at a time: hooks in the kernel's order, routing, tracking, translation.

The order of hooks and tables is that of netfilter's priorities (include/uapi/linux/netfilter_ipv4.h): raw
-300, conntrack -200, mangle -150, destination NAT -100, filter 0, security 50, source NAT 100, and at the
very end conntrack's confirmation. Both backends of iptables use these.

A bridged packet meets the same hooks where br_netfilter is asked for it (net/bridge/br_netfilter_hooks.c): it
passes PREROUTING as coming from the bridge, and FORWARD and POSTROUTING from the bridge to the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import MappingProxyType

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.connections import DESTINATION, SOURCE, Connection, Connections, translated
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import ICMP, ICMPV6, Address, Packet, State
from netverify.dataplane.program import CompiledChain, CompiledRule, Program, compile_rules
from netverify.dataplane.routing import Decision, Routing
from netverify.dataplane.targets import Ending, Nat, NatKind, Reject, Verdict
from netverify.dataplane.trace import PolicyStep, Recorder, RuleStep
from netverify.dataplane.view import LOOPBACK, HostView
from netverify.ruleset import RulePlace

HOOKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "PREROUTING": ("raw", "conntrack", "mangle", "nat"),
        "INPUT": ("mangle", "filter", "security", "nat"),
        "FORWARD": ("mangle", "filter", "security"),
        "OUTPUT": ("raw", "conntrack", "mangle", "nat", "filter", "security"),
        "POSTROUTING": ("mangle", "nat"),
    }
)
"""Hook -> the tables (and conntrack) that a packet meets there, in order."""

_HALF = {"PREROUTING": DESTINATION, "OUTPUT": DESTINATION, "INPUT": SOURCE, "POSTROUTING": SOURCE}
_NO_DEVICES = {"in_interface": "", "out_interface": "", "physdev_in": "", "physdev_out": "", "bridged": 0}


@dataclass(frozen=True, slots=True)
class Sent:
    """The packet leaves by a device, towards a neighbour's address. `locally` when a socket here sent it."""

    packet: Packet
    device: str
    next_hop: Address
    locally: bool = False


@dataclass(frozen=True, slots=True)
class Bridged:
    """The packet goes on from port to port of a bridge."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Redirected:
    """A bridged packet got a new destination, behind the same bridge: its next port must be looked up."""

    packet: Packet
    bridge: str
    port: str
    next_hop: Address


@dataclass(frozen=True, slots=True)
class Delivered:
    """The packet reached the host's own sockets."""

    packet: Packet


@dataclass(frozen=True, slots=True)
class Stopped:
    """The packet ends here; where the sender is told, `answer` is that packet's kind.

    `locally` when it was this host's own, so that its socket gets the error without any packet.
    """

    packet: Packet
    reason: str
    place: RulePlace | None = None
    answer: Reject | None = None
    locally: bool = False


Fate = Sent | Bridged | Redirected | Delivered | Stopped

NET_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 0, words="network unreachable"), 6: Reject(1, 0, words="no route")}
)
HOST_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 1, words="host unreachable"), 6: Reject(1, 3, words="address unreachable")}
)
PROHIBITED = MappingProxyType({4: Reject(3, 13, words="prohibited"), 6: Reject(1, 1, words="prohibited")})
PORT_UNREACHABLE = MappingProxyType(
    {4: Reject(3, 3, words="port unreachable"), 6: Reject(1, 4, words="port unreachable")}
)
_ROUTE_ANSWERS = {"none": NET_UNREACHABLE, "unreachable": HOST_UNREACHABLE, "prohibit": PROHIBITED}


class Stack:
    """One host, with the connections that it has seen since this object was made."""

    def __init__(self, view: HostView, programs: Mapping[int, Program] | None = None) -> None:
        self.view = view
        self.routing = Routing(view)
        self.programs = programs or {v: compile_rules(view.ruleset(v), view) for v in (4, 6)}
        self.connections = Connections()
        self.assume: Mapping[str, bool] = {}
        self.recorder = Recorder()
        self._connection: Connection | None = None

    # --- ways in --------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> Fate:
        """A socket of this host sends the packet."""
        self._connection = None
        packet = packet.with_(**_NO_DEVICES)
        decision = self._route(packet, "OUTPUT")
        if decision.kind not in ("unicast", "local", "broadcast"):
            return self._no_way(packet, decision, locally=True)
        packet = packet.with_(out_interface=decision.device)
        before = packet
        passed = self._hook("OUTPUT", packet)
        if isinstance(passed, Stopped):
            return passed
        packet = passed
        if (packet.destination, packet.mark) != (before.destination, before.mark):
            decision = self._route(packet, "OUTPUT")  # ip_route_me_harder
            if decision.kind not in ("unicast", "local", "broadcast"):
                return self._no_way(packet, decision, locally=True)
            packet = packet.with_(out_interface=decision.device)
        return self._out(packet, decision, locally=True)

    def receive(self, packet: Packet, device: str) -> Fate:
        """The packet comes in by a device that is no bridge's port, or was passed up by a bridge unseen."""
        self._connection = None
        packet = self._fresh(packet, device)
        passed = self._hook("PREROUTING", packet)
        return passed if isinstance(passed, Stopped) else self._in(passed, device)

    def bridge(self, packet: Packet, bridge: str, port: str, to_port: str | None) -> Fate:
        """A frame comes in by a port of a bridge, addressed to behind `to_port`, or to the bridge itself."""
        if not self.view.bridge_calls_filter(packet.version):
            if to_port is not None:
                return Bridged(self._forget(packet))
            return self.receive(packet, bridge)
        self._connection = None
        packet = self._fresh(packet, bridge).with_(physdev_in=port, bridged=int(to_port is not None))
        passed = self._hook("PREROUTING", packet)
        if isinstance(passed, Stopped):
            return passed
        if passed.destination != packet.destination:
            passed = passed.with_(bridged=0)
            decision = self.routing.decide(passed, in_interface=bridge)
            if decision.kind == "unicast" and decision.device == bridge and decision.next_hop is not None:
                self.recorder.event(
                    self.view.name, "bridge", "bridge", f"new destination behind {bridge}", passed
                )
                return Redirected(passed, bridge, port, decision.next_hop)
            return self._in(passed, bridge)
        if to_port is None:
            return self._in(passed, bridge)
        return self.bridge_on(passed, bridge, to_port)

    def bridge_on(self, packet: Packet, bridge: str, to_port: str) -> Fate:
        """A bridged packet that has passed PREROUTING goes out by a port."""
        if not self.view.bridge_calls_filter(packet.version):
            return Bridged(self._forget(packet))
        packet = packet.with_(out_interface=bridge, physdev_out=to_port, bridged=1)
        for hook in ("FORWARD", "POSTROUTING"):
            passed = self._hook(hook, packet if hook == "FORWARD" else packet.with_(in_interface=""))
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        self.connections.confirm(packet, self._connection)
        return Bridged(self._forget(packet))

    # --- on the way -----------------------------------------------------------------------------------------

    def _in(self, packet: Packet, device: str) -> Fate:
        """Routing of a packet that came in."""
        martian = self._martian(packet, device)
        if martian:
            self.recorder.event(self.view.name, "routing", "routing", martian, packet)
            return Stopped(packet, martian)
        decision = self._route(packet, "routing", device)
        if decision.kind in ("local", "broadcast"):
            return self._deliver(packet)
        if not self.view.forwards(packet.version, device):
            reason = "not addressed to this host, which does not forward"
            self.recorder.event(self.view.name, "routing", "forwarding", reason, packet)
            return Stopped(packet, reason)
        if decision.kind != "unicast":
            return self._no_way(packet, decision)
        if packet.ttl <= 1:
            return Stopped(
                packet, "its time to live is over", answer=Reject(11 if packet.version == 4 else 3, 0)
            )
        packet = packet.with_(ttl=packet.ttl - 1, out_interface=decision.device)
        passed = self._hook("FORWARD", packet)
        if isinstance(passed, Stopped):
            return passed
        return self._out(passed.with_(in_interface=""), decision)

    def _deliver(self, packet: Packet) -> Fate:
        passed = self._hook("INPUT", packet)
        if isinstance(passed, Stopped):
            return passed
        self.connections.confirm(passed, self._connection)
        self.recorder.event(self.view.name, "INPUT", "delivered", "to this host's sockets", passed)
        return Delivered(passed)

    def _out(self, packet: Packet, decision: Decision, *, locally: bool = False) -> Fate:
        passed = self._hook("POSTROUTING", packet)
        if isinstance(passed, Stopped):
            return passed
        self.connections.confirm(passed, self._connection)
        if decision.device == LOOPBACK:
            return self._over_loopback(passed)
        target = decision.next_hop or passed.destination_address
        self.recorder.event(self.view.name, "sent", "sent", f"by {decision.device} to {target}", passed)
        return Sent(self._forget(passed), decision.device, target, locally)

    def _over_loopback(self, packet: Packet) -> Fate:
        """What is sent to lo comes in by lo, with its connection, and is delivered without being routed."""
        packet = packet.with_(out_interface="", in_interface=LOOPBACK, mac=0)
        if not (self.view.has_link(LOOPBACK) and self.view.link(LOOPBACK).up):
            return Stopped(packet, "lo is down", locally=True)
        passed = self._hook("PREROUTING", packet, tracked_already=True)
        return passed if isinstance(passed, Stopped) else self._deliver(passed)

    def _hook(self, hook: str, packet: Packet, *, tracked_already: bool = False) -> Packet | Stopped:
        """Everything that is registered at a hook."""
        for table in HOOKS[hook]:
            if table == "conntrack":
                if not tracked_already:
                    packet, self._connection = self.connections.enter(packet)
                continue
            if table == "nat":
                passed = self._translate(hook, packet)
            else:
                ending, packet = self._run(table, hook, packet)
                passed = self._ended(hook, ending, packet)
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        return packet

    def _run(self, table: str, hook: str, packet: Packet) -> tuple[Ending, Packet]:
        program = self.programs[packet.version]
        if program.chain(table, hook) is None:
            return Verdict.ACCEPT, packet
        algebra = OnePacket(packet, self.assume)
        observer = _Observer(self.recorder, self.view.name, hook, algebra)
        exits = Evaluator(program, algebra, observer).run(table, hook, True)
        self.recorder.assumed |= algebra.assumed
        (ending,) = exits
        if algebra.packet != packet:
            self.recorder.event(self.view.name, hook, table, "written", packet, algebra.packet)
        if self._connection is not None:
            self._connection.mark = algebra.packet.connmark
        return ending, algebra.packet

    def _ended(self, hook: str, ending: Ending, packet: Packet) -> Packet | Stopped:
        if ending in (Verdict.ACCEPT, Verdict.QUEUE) or isinstance(ending, Nat):
            return packet
        deciding = self.recorder.steps[-1]
        place = next(
            (
                s.place
                for s in reversed(self.recorder.steps)
                if isinstance(s, RuleStep | PolicyStep) and s.matched
            ),
            None,
        )
        locally = hook == "OUTPUT"
        reject = ending if isinstance(ending, Reject) else None
        words = f"{'rejected' if reject else 'dropped'} by {place}"
        if isinstance(deciding, RuleStep):
            words += f": {deciding.rule.rule}"
        return Stopped(packet, words, place, reject, locally)

    # --- translation ----------------------------------------------------------------------------------------

    def _translate(self, hook: str, packet: Packet) -> Packet | Stopped:
        connection, half = self._connection, _HALF[hook]
        if connection is None or not packet.tracked:
            return packet
        if packet.state == State.NEW and half not in connection.decided and packet.ct_direction == 0:
            connection.decided.add(half)
            ending, packet = self._run("nat", hook, packet)
            if isinstance(ending, Nat):
                if not self._decide(ending, hook, packet, connection):
                    return Stopped(
                        packet, f"{ending.kind.value}: {packet.out_interface} has no address to take"
                    )
            else:
                passed = self._ended(hook, ending, packet)
                if isinstance(passed, Stopped):
                    return passed
        after = translated(packet, connection, half)
        after = after.with_(ct_nat=connection.translated) if after.tracked else after
        if after != packet:
            reply = connection.reply
            after = after.with_(
                reply_source=reply.source,
                reply_destination=reply.destination,
                reply_sport=reply.sport,
                reply_dport=reply.dport,
            )
            self.recorder.event(self.view.name, hook, "NAT", "translated", packet, after)
        return after

    def _decide(self, nat: Nat, hook: str, packet: Packet, connection: Connection) -> bool:
        """Fix what a new connection is translated to, as the expected reply."""
        ported = packet.protocol not in (ICMP, ICMPV6)
        if _HALF[hook] == DESTINATION:
            number = self._new_address(nat, hook, packet, packet.destination)
            if number is None:
                return False
            port = _port(nat.ports, packet.dport) if ported else connection.reply.sport
            connection.reply = replace(connection.reply, source=number, sport=port)
            return True
        number = self._new_address(nat, hook, packet, packet.source)
        if number is None:
            return False
        port = _port(nat.ports, packet.sport) if ported else connection.reply.dport
        connection.reply = replace(connection.reply, destination=number, dport=port)
        return True

    def _new_address(self, nat: Nat, hook: str, packet: Packet, old: int) -> int | None:
        if nat.kind is NatKind.NETMAP and nat.network is not None:
            base, mask = nat.network
            return old & ~mask | base
        if nat.kind is NatKind.REDIRECT:
            if hook == "OUTPUT":
                return int(ip_address("127.0.0.1" if packet.version == 4 else "::1"))
            own = [a.ip for a in self.view.link(packet.in_interface).addresses if a.version == packet.version]
            return int(own[0]) if own else None
        if nat.kind is NatKind.MASQUERADE:
            decision = self.routing.decide(packet)
            towards = decision.next_hop or packet.destination_address
            chosen = self.routing.address_of(packet.out_interface, towards)
            return None if chosen is None else int(chosen)
        if nat.addresses is None:
            return old
        low, high = nat.addresses
        return old if low <= old <= high else low

    # --- small ----------------------------------------------------------------------------------------------

    def _route(self, packet: Packet, hook: str, device: str = "") -> Decision:
        decision = self.routing.decide(packet, in_interface=device)
        self.recorder.event(
            self.view.name, hook, "routing", f"{packet.destination_address}: {decision.text}", packet
        )
        return decision

    def _no_way(self, packet: Packet, decision: Decision, *, locally: bool = False) -> Stopped:
        answers = _ROUTE_ANSWERS.get(decision.kind)
        reason = decision.text
        return Stopped(packet, reason, answer=answers[packet.version] if answers else None, locally=locally)

    def _martian(self, packet: Packet, device: str) -> str:
        """Why the source or the destination cannot be, or nothing (ip_route_input_slow)."""
        if packet.version == 6 or device == LOOPBACK:
            return ""
        source, destination = packet.source_address, packet.destination_address
        localnet = any(self.view.device_sysctl("ipv4", device, "route_localnet"))
        if destination.is_loopback and not localnet:
            return f"martian destination {destination} on {device}"
        if source.is_loopback and not localnet:
            return f"martian source {source} on {device}"
        if source.is_multicast or int(source) == 0xFFFFFFFF:
            return f"martian source {source}"
        back = self.routing.lookup(4, packet.source, packet.destination)
        accepts_local = any(self.view.device_sysctl("ipv4", device, "accept_local"))
        if back.kind == "local" and not accepts_local and not (source.is_loopback and localnet):
            return f"martian source {source}: it is this host's own"
        strictness = max(self.view.device_sysctl("ipv4", device, "rp_filter"))
        if strictness and back.kind != "unicast" and back.kind != "local":
            return f"reverse path filter (rp_filter {strictness}): no route back to {source}"
        if strictness == 1 and back.kind == "unicast" and back.device != device:
            return (
                f"reverse path filter (rp_filter 1): the way back to {source} is {back.device}, not {device}"
            )
        return ""

    def _fresh(self, packet: Packet, device: str) -> Packet:
        """The packet as it comes off the wire."""
        packet = self._forget(packet).with_(in_interface=device)
        back = self.routing.lookup(packet.version, packet.source)
        path = 0 if back.kind != "unicast" else 2 if back.device == device else 1
        return packet.with_(reverse_path=path)

    def _forget(self, packet: Packet) -> Packet:
        """What a packet loses on the wire: everything but its headers."""
        return Packet(
            packet.version, packet.source, packet.destination, packet.protocol, packet.sport, packet.dport,
            packet.icmp_type, packet.icmp_code, packet.tcp_flags, length=packet.length, ttl=packet.ttl,
            tos=packet.tos, fragment=packet.fragment, mac=packet.mac, pkttype=packet.pkttype,
            embedded=packet.embedded,
        )  # fmt: skip


def _port(ports: tuple[int, int] | None, old: int) -> int:
    """The port that a translation takes: the old one if it may, else the first of the range."""
    return old if ports is None or ports[0] <= old <= ports[1] else ports[0]


class _Observer:
    """Writes down what each rule did to the one packet."""

    def __init__(self, recorder: Recorder, host: str, hook: str, algebra: OnePacket) -> None:
        self.recorder, self.host, self.hook, self.algebra = recorder, host, hook, algebra

    def tested(self, rule: CompiledRule, failed: int, _matched: bool, /) -> None:
        self.recorder.steps.append(RuleStep(self.host, self.hook, rule, failed, self.algebra.packet))

    def reached_policy(self, chain: CompiledChain, _packets: bool, /) -> None:
        self.recorder.steps.append(PolicyStep(self.host, self.hook, chain, self.algebra.packet))
