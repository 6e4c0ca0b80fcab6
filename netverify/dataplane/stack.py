"""One host's IP stack for one packet at a time: ways in, routing, ways out, bridges.

What happens at each hook is `passage`'s subject. Conntrack's confirmation is at the very end of INPUT and
POSTROUTING (nf_confirm, priority INT_MAX).

A bridged packet meets the same hooks where br_netfilter is asked for it (net/bridge/br_netfilter_hooks.c): it
passes PREROUTING as coming from the bridge, and FORWARD and POSTROUTING from the bridge to the bridge.
"""

from __future__ import annotations

from netverify.dataplane.frames import off_the_wire, on_the_wire
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
    Bridged,
    Delivered,
    Fate,
    Redirected,
    Sent,
    Stopped,
)
from netverify.dataplane.packet import Packet
from netverify.dataplane.passage import WAYS_OUT, Passage
from netverify.dataplane.routing import Decision
from netverify.dataplane.targets import Reject
from netverify.dataplane.unmodelled import ways_out
from netverify.dataplane.view import LOOPBACK

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


class Stack(Passage):
    """One host, with the connections that it has seen since this object was made."""

    # --- ways in --------------------------------------------------------------------------------------------

    def send(self, packet: Packet) -> Fate:
        """A socket of this host sends the packet."""
        self._connection = None
        packet = packet.with_(**_NO_DEVICES)
        decision = self._route(packet, "OUTPUT")
        if decision.kind not in WAYS_OUT:
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
        return self._out(packet, decision)

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

    # --- neighbour discovery --------------------------------------------------------------------------------

    def tell(self, packet: Packet, device: str) -> Packet | Stopped:
        """The kernel itself sends neighbour discovery by a device: no routing is asked (ndisc_send_skb)."""
        self._connection = None
        packet = packet.with_(**_NO_DEVICES).with_(out_interface=device)
        for hook in ("OUTPUT", "POSTROUTING"):
            passed = self._hook(hook, packet, reroutes=False)
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        stopped = self._opaque(ways_out(self.view, device), device, packet)
        return stopped or on_the_wire(packet).with_(mac=self.view.link(device).mac)

    def hear(self, packet: Packet, device: str, port: str | None) -> Packet | Stopped:
        """Neighbour discovery comes in by a device, or by a port of it, and is for whoever is there."""
        self._connection = None
        hooks = [("netdev", "ingress")]
        hooks += [("bridge", "prerouting"), ("bridge", "input")] if port is not None else []
        stopped = self._opaque(hooks, port or device, packet)
        if stopped is not None:
            return stopped
        packet = off_the_wire(packet, device, self.routing)
        if port is not None and self.view.bridge_calls_filter(packet.version):
            packet = packet.with_(physdev_in=port)
        for hook in ("PREROUTING", "INPUT"):
            passed = self._hook(hook, packet)
            if isinstance(passed, Stopped):
                return passed
            packet = passed
        return packet

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

    def _out(self, packet: Packet, decision: Decision) -> Fate:
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
        return Sent(on_the_wire(passed).with_(mac=card), decision.device, target)

    def _over_loopback(self, packet: Packet) -> Fate:
        """What is sent to lo comes in by lo, with its connection, and is delivered without being routed."""
        packet = packet.with_(out_interface="", in_interface=LOOPBACK, mac=0)
        if not (self.view.has_link(LOOPBACK) and self.view.link(LOOPBACK).up):
            return Stopped(packet, "lo is down", locally=True)
        passed = self._hook("PREROUTING", packet, tracked_already=True)
        return passed if isinstance(passed, Stopped) else self._deliver(passed)
