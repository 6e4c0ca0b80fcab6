"""One host's IP stack for one packet at a time: hooks, routing, connection tracking, translation.

What is called at each hook, and in which order, is `hooks`' subject. Conntrack's confirmation is at the very
end of INPUT and POSTROUTING (nf_confirm, priority INT_MAX).

A bridged packet meets the same hooks where br_netfilter is asked for it (net/bridge/br_netfilter_hooks.c): it
passes PREROUTING as coming from the bridge, and FORWARD and POSTROUTING from the bridge to the bridge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.connections import Connection, Connections, translated
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.frames import off_the_wire, on_the_wire, routing_fields
from netverify.dataplane.hooks import Call, Filters, Stage, StageKind
from netverify.dataplane.mapping import Mapper
from netverify.dataplane.martians import (
    cannot_leave,
    impossible,
    not_forwarded,
    refused_at_once,
    without_way_back,
)
from netverify.dataplane.outcomes import (
    HOST_UNREACHABLE,
    NET_UNREACHABLE,
    PORT_UNREACHABLE,
    PROHIBITED,
    ROUTE_ANSWERS,
    Bridged,
    Delivered,
    Fate,
    Redirected,
    Sent,
    Stopped,
)
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import Program
from netverify.dataplane.routing import Decision, Routing
from netverify.dataplane.targets import Ending, Nat, Reject, Verdict
from netverify.dataplane.trace import PolicyStep, Recorder, RuleStep, RuleWriter
from netverify.dataplane.translation import NatKind
from netverify.dataplane.unmodelled import refused_by, ways_out
from netverify.dataplane.view import LOOPBACK, HostView

__all__ = [
    "HOST_UNREACHABLE",
    "NET_UNREACHABLE",
    "PORT_UNREACHABLE",
    "PROHIBITED",
    "Bridged",
    "Delivered",
    "Fate",
    "Redirected",
    "Sent",
    "Stack",
    "Stopped",
]

_NO_DEVICES = {"in_interface": "", "out_interface": "", "physdev_in": "", "physdev_out": "", "bridged": 0}
_WAYS_OUT = ("unicast", "local", "broadcast")


class Stack:
    """One host, with the connections that it has seen since this object was made."""

    def __init__(
        self,
        view: HostView,
        programs: Mapping[int, Program] | None = None,
        filters: Mapping[int, Filters] | None = None,
        *,
        on_wire: bool = False,
    ) -> None:
        """`programs` are iptables' rules by IP version, `filters` all rules, where somebody compiled them.

        With `on_wire`, what comes in has an Ethernet header, which nobody knows where a packet has no `mac`.
        """
        self.on_wire = on_wire
        self.view = view
        self.routing = Routing(view)
        self.mapper = Mapper(view, self.routing)
        self.filters = filters or {v: Filters.of(view, v, (programs or {}).get(v)) for v in (4, 6)}
        self.connections = Connections()
        self.assume: Mapping[str, bool] = {}
        self.recorder = Recorder()
        self._connection: Connection | None = None
        self._rerouted: Decision | None = None

    @property
    def programs(self) -> Mapping[int, Program]:
        """The rules of iptables (of its nft backend, where both hold rules) by IP version."""
        return {version: filters.main for version, filters in self.filters.items()}

    # --- ways in --------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> Fate:
        """A socket of this host sends the packet."""
        self._connection = None
        packet = packet.with_(**_NO_DEVICES)
        decision = self._route(packet, "OUTPUT")
        if decision.kind not in _WAYS_OUT:
            return self._no_way(packet, decision, locally=True)
        if cannot_leave(packet, decision.device, self.view):
            return Stopped(packet, f"{packet.source_address} is nobody's outside this host", locally=True)
        packet, self._connection = self.connections.resume(packet.with_(out_interface=decision.device))
        passed = self._hook("OUTPUT", packet, tracked_already=self._connection is not None)
        if isinstance(passed, Stopped):
            return passed
        packet = passed
        if self._rerouted is not None:
            decision = self._rerouted
            packet = packet.with_(out_interface=decision.device)
        return self._out(packet, decision, locally=True)

    def receive(self, packet: Packet, device: str) -> Fate:
        """The packet comes in by a device that is no bridge's port, or was passed up by a bridge unseen."""
        self._connection = None
        packet = off_the_wire(packet, device, self.routing)
        stopped = self._opaque((("netdev", "ingress"),), device, packet)
        if stopped is not None:
            return stopped
        refused = refused_at_once(packet, device)
        if refused:
            return self._refused(packet, refused)
        passed = self._hook("PREROUTING", packet)
        return passed if isinstance(passed, Stopped) else self._in(passed, device)

    def bridge(self, packet: Packet, bridge: str, port: str, to_port: str | None) -> Fate:
        """A frame comes in by a port of a bridge, addressed to behind `to_port`, or to the bridge itself."""
        hooks = (("netdev", "ingress"), ("bridge", "prerouting"))
        onward = ("bridge", "input" if to_port is None else "forward")
        stopped = self._opaque((*hooks, onward), port, packet)
        if stopped is not None:
            return stopped
        if not self.view.bridge_calls_filter(packet.version):
            if to_port is not None:
                return self.bridge_on(packet, bridge, to_port)
            return self.receive(packet, bridge)
        self._connection = None
        packet = off_the_wire(packet, bridge, self.routing)
        packet = packet.with_(physdev_in=port, bridged=int(to_port is not None))
        passed = self._hook("PREROUTING", packet)
        if isinstance(passed, Stopped):
            return passed
        if passed.destination != packet.destination:
            passed = passed.with_(bridged=0)
            decision = self.routing.decide(passed, in_interface=bridge)
            refused = self._not_turned(passed, bridge, decision)
            if refused:
                return self._refused(passed, refused)
            if decision.kind == "unicast" and decision.device == bridge and decision.next_hop is not None:
                self.recorder.event(
                    self.view.name, "bridge", "bridge", f"new destination behind {bridge}", passed
                )
                return Redirected(passed, bridge, port, decision.next_hop)
            return self._passed_up(passed, bridge)
        if to_port is None:
            return self._passed_up(passed, bridge)
        return self.bridge_on(passed, bridge, to_port)

    def bridge_on(self, packet: Packet, bridge: str, to_port: str) -> Fate:
        """A bridged packet that has passed PREROUTING goes out by a port."""
        stopped = self._opaque((("bridge", "postrouting"), ("netdev", "egress")), to_port, packet)
        if stopped is not None:
            return stopped
        if not self.view.bridge_calls_filter(packet.version):
            return Bridged(on_the_wire(packet))
        packet = packet.with_(out_interface=bridge, physdev_out=to_port, bridged=1)
        for hook in ("FORWARD", "POSTROUTING"):
            passed = self._hook(hook, packet if hook == "FORWARD" else packet.with_(in_interface=""))
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        self.connections.confirm(packet, self._connection)
        return Bridged(on_the_wire(packet))

    # --- on the way -----------------------------------------------------------------------------------------

    def _passed_up(self, packet: Packet, bridge: str) -> Fate:
        """The bridge gives a packet that has passed PREROUTING on its port to IP."""
        refused = refused_at_once(packet, bridge)
        return self._refused(packet, refused) if refused else self._in(packet, bridge)

    def _not_turned(self, packet: Packet, bridge: str, decision: Decision) -> str:
        """Why a bridged packet with a new destination goes nowhere (br_nf_pre_routing_finish), or nothing."""
        if packet.version == 6:
            return "" if decision.kind in ("unicast", "local") else decision.text
        refused = impossible(packet, bridge, self.view)
        if not refused and decision.kind == "unicast":
            refused = without_way_back(packet, bridge, self.routing)
            if not self.view.forwards(4, bridge):
                refused = refused or "translated on the bridge, and this host does not forward"
        return refused

    def _in(self, packet: Packet, device: str) -> Fate:
        """Routing of a packet that came in."""
        refused = impossible(packet, device, self.view)
        if refused:
            return self._refused(packet, refused)
        if packet.version == 6 and packet.destination_address.is_multicast:
            return self._group(packet, device)
        decision = self._route(packet, "routing", device)
        if decision.kind in ("local", "broadcast"):
            refused = without_way_back(packet, device, self.routing)
            return self._refused(packet, refused) if refused else self._deliver(packet)
        # IPv6 tells for want of a route also where it would not have forwarded (ip6_pkt_discard).
        asked = packet.version == 4 or decision.kind == "unicast"
        if asked and not self.view.forwards(packet.version, device):
            return self._refused(packet, "not addressed to this host, which does not forward")
        if decision.kind != "unicast":
            return self._no_way(packet, decision)
        refused = without_way_back(packet, device, self.routing)
        if packet.pkttype:
            refused = refused or "its frame was for everybody, and such packets are not forwarded"
        if refused:
            return self._refused(packet, refused)
        if packet.ttl <= 1:
            self.connections.attach(packet, self._connection)
            over = Reject(11 if packet.version == 4 else 3, 0)
            return Stopped(packet, "its time to live is over", answer=over)
        refused = not_forwarded(packet, device, decision.device)
        if refused:
            return self._refused(packet, refused)
        packet = packet.with_(ttl=packet.ttl - 1, out_interface=decision.device)
        passed = self._hook("FORWARD", packet)
        if isinstance(passed, Stopped):
            return passed
        return self._out(passed, decision)  # POSTROUTING still sees where it came in (ip_output)

    def _group(self, packet: Packet, device: str) -> Fate:
        """A packet for an IPv6 group is delivered where the host has joined it (ip6_mc_input).

        What programs have joined is unknown. Nothing is forwarded: who routes groups is not among the facts.
        """
        group = packet.destination_address
        if group in self.view.groups(device):
            return self._deliver(packet)
        name = f"a program on {self.view.name} has joined {group} on {device}"
        joined = self.assume.get(name, False)
        self.recorder.assumed[name] = joined
        return self._deliver(packet) if joined else self._refused(packet, f"nobody has joined {group} here")

    def _refused(self, packet: Packet, reason: str) -> Stopped:
        self.recorder.event(self.view.name, "routing", "routing", reason, packet)
        return Stopped(packet, reason)

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
        stopped = self._opaque(ways_out(self.view, decision.device), decision.device, passed)
        if stopped is not None:
            return stopped
        target = decision.next_hop or passed.destination_address
        self.recorder.event(self.view.name, "sent", "sent", f"by {decision.device} to {target}", passed)
        card = self.view.link(decision.device).mac  # the frame is from the device that it leaves by
        return Sent(on_the_wire(passed).with_(mac=card), decision.device, target, locally)

    def _over_loopback(self, packet: Packet) -> Fate:
        """What is sent to lo comes in by lo, with its connection, and is delivered without being routed."""
        packet = packet.with_(out_interface="", in_interface=LOOPBACK, mac=0)
        if not (self.view.has_link(LOOPBACK) and self.view.link(LOOPBACK).up):
            return Stopped(packet, "lo is down", locally=True)
        passed = self._hook("PREROUTING", packet, tracked_already=True)
        return passed if isinstance(passed, Stopped) else self._deliver(passed)

    def _hook(self, hook: str, packet: Packet, *, tracked_already: bool = False) -> Packet | Stopped:
        """Everything that is registered at a hook."""
        self._rerouted = None
        for stage in self.filters[packet.version].stages(hook):
            before = packet
            if stage.kind is StageKind.CONNTRACK:
                if not tracked_already:
                    packet, self._connection = self.connections.enter(packet)
                continue
            if stage.kind is StageKind.NAT:
                passed = self._translate(stage, packet)
            else:
                ending, packet = self._run(stage.calls[0], hook, packet)
                passed = self._ended(hook, ending, packet)
            if isinstance(passed, Stopped):
                return passed
            packet = passed
            if stage.reroutes and any(
                getattr(packet, field) != getattr(before, field) for field in routing_fields(stage.kind)
            ):
                refused = self._reroute(packet)
                if refused is not None:
                    return refused
        return packet

    def passes(self, hook: str, packet: Packet) -> Stopped | None:
        """Why a packet does not pass a hook, or None; nothing is taken down, and no connection begins."""
        kept = self.recorder, self._connection, self._rerouted
        self.recorder, self._connection = Recorder(), None
        try:
            passed = self._hook(hook, packet)
        finally:
            self.recorder, self._connection, self._rerouted = kept
        return passed if isinstance(passed, Stopped) else None

    def _reroute(self, packet: Packet) -> Stopped | None:
        """ip_route_me_harder: chains that come later at the hook still see the old device."""
        decision = self._route(packet, "OUTPUT")
        self._rerouted = decision
        return None if decision.kind in _WAYS_OUT else self._no_way(packet, decision, locally=True)

    def _opaque(self, hooks: Iterable[tuple[str, str]], device: str, packet: Packet) -> Stopped | None:
        """Native chains that are not modelled: whether they let the packet pass is unknown."""
        found = refused_by(self.view, hooks, device, packet, self.assume)
        self.recorder.assumed |= found.assumed
        return Stopped(packet, found.reason) if found.reason else None

    def _run(
        self, call: Call, hook: str, packet: Packet, *, translates: bool = False
    ) -> tuple[Ending, Packet]:
        algebra = OnePacket(packet, self.assume, on_wire=self.on_wire)
        observer = RuleWriter(self.recorder, self.view.name, hook, algebra, translates=translates)
        exits = Evaluator(call.program, algebra, observer).run(call.table, call.chain, True)
        self.recorder.assumed |= algebra.assumed
        (ending,) = exits
        if algebra.packet != packet:
            self.recorder.event(self.view.name, hook, call.table, "written", packet, algebra.packet)
        if self._connection is not None:
            self._connection.mark = algebra.packet.connmark
        return ending, algebra.packet

    def _ended(self, hook: str, ending: Ending, packet: Packet) -> Packet | Stopped:
        if ending is Verdict.QUEUE:
            self.recorder.assumed[f"{hook}: the program at the queue lets the packet go on"] = True
            return packet
        if ending is Verdict.ACCEPT or isinstance(ending, Nat):
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
        if reject is not None:
            self.connections.attach(packet, self._connection, reset=reject.reset)
        words = f"{'rejected' if reject else 'dropped'} by {place}"
        if isinstance(deciding, RuleStep):
            words += f": {deciding.rule.words or deciding.rule.rule}"
        return Stopped(packet, words, place, reject, locally)

    # --- translation ----------------------------------------------------------------------------------------

    def _translate(self, stage: Stage, packet: Packet) -> Packet | Stopped:
        connection, half = self._connection, stage.half
        if connection is None or not packet.tracked:
            return packet
        # A reset that a rule sends about a connection's first packet is asked as that is (nf_nat_inet_fn).
        begins = packet.state == State.NEW and packet.ct_direction == 0
        reset = packet.state == State.RELATED and packet.embedded is None
        if (begins or reset) and half not in connection.decided:
            connection.decided.add(half)
            passed = self._map(stage, packet, connection)
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        elsewhere = connection.masqueraded not in ("", packet.out_interface)
        if stage.hook == "POSTROUTING" and packet.ct_direction == 0 and elsewhere:
            self.connections.forget(connection)
            reason = f"masqueraded as {connection.masqueraded}, it would leave by another device"
            return Stopped(packet, reason)
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
            self.recorder.event(self.view.name, stage.hook, "NAT", "translated", packet, after)
        return after

    def _map(self, stage: Stage, packet: Packet, connection: Connection) -> Packet | Stopped:
        """Ask the chains for a new connection, until one gives a mapping."""
        for call in stage.calls:
            ending, packet = self._run(call, stage.hook, packet, translates=True)
            if not isinstance(ending, Nat):
                passed = self._ended(stage.hook, ending, packet)
                if isinstance(passed, Stopped):
                    return passed
                continue
            choice = self.mapper.choice(ending, stage.half, packet, connection)
            if choice is None:
                return Stopped(packet, f"{ending.kind.value}: {packet.out_interface} has no address to take")
            if not choice.exact:
                several = choice.text(packet.version)
                self.recorder.assumed[f"{ending.kind.value} takes the first of what it may: {several}"] = True
            self.mapper.fix(connection, stage.half, choice, packet)
            if ending.kind is NatKind.MASQUERADE:
                connection.masqueraded = packet.out_interface
            return packet
        return packet

    # --- small ----------------------------------------------------------------------------------------------

    def _route(self, packet: Packet, hook: str, device: str = "") -> Decision:
        decision = self.routing.decide(packet, in_interface=device)
        self.recorder.event(
            self.view.name, hook, "routing", f"{packet.destination_address}: {decision.text}", packet
        )
        return decision

    def _no_way(self, packet: Packet, decision: Decision, *, locally: bool = False) -> Stopped:
        answers = ROUTE_ANSWERS.get(decision.kind)
        if answers is not None:
            self.connections.attach(packet, self._connection)
        answer = None if answers is None else answers[packet.version]
        return Stopped(packet, decision.text, answer=answer, locally=locally)
