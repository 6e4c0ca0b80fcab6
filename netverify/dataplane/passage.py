"""One host's hooks for one packet at a time: connection tracking, rules, translation, and being routed anew.

What is called at each hook, and in which order, is `hooks`' subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.connections import Connection, translated
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.frames import routing_fields
from netverify.dataplane.hooks import Call, Filters, Stage, StageKind
from netverify.dataplane.inquiry import Inquiring
from netverify.dataplane.mapping import Mapper
from netverify.dataplane.outcomes import ROUTE_ANSWERS, Stopped
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.routing import Decision, Routing
from netverify.dataplane.shortlist import Shortlist
from netverify.dataplane.targets import Ending, Nat, Reject, Verdict
from netverify.dataplane.trace import PolicyStep, RuleStep, RuleWriter
from netverify.dataplane.translation import NatKind
from netverify.dataplane.unmodelled import refused_by
from netverify.dataplane.view import HostView

WAYS_OUT: Final = ("unicast", "local", "broadcast")


class _Compiled(dict[int, Filters]):
    """A host's rules by IP version, compiled when they are first asked for: most hosts have none."""

    def __init__(self, view: HostView, programs: Mapping[int, Program]) -> None:
        super().__init__()
        self._view, self._programs = view, programs

    def __missing__(self, version: int) -> Filters:
        found = self[version] = Filters.of(self._view, version, self._programs.get(version))
        return found


class Passage(Inquiring):
    """The hooks of one host, with the connections that it has seen since this object was made."""

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
        super().__init__(view.name)
        self.on_wire = on_wire
        self.view = view
        self.routing = Routing(view)
        self.mapper = Mapper(view, self.routing)
        self.filters: Mapping[int, Filters] = filters or _Compiled(view, programs or {})
        self._shortlists: dict[int, dict[tuple[str, str], Shortlist]] = {}
        self._connection: Connection | None = None
        self._rerouted: Decision | None = None

    @property
    def programs(self) -> Mapping[int, Program]:
        """The rules of iptables (of its nft backend, where both hold rules) by IP version."""
        return {version: self.filters[version].main for version in (4, 6)}

    def _hook(
        self, hook: str, packet: Packet, *, tracked_already: bool = False, reroutes: bool = True
    ) -> Packet | Stopped:
        """Everything that is registered at a hook; `reroutes` says that a packet finds its way anew there."""
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
            if (
                reroutes
                and stage.reroutes
                and any(
                    getattr(packet, field) != getattr(before, field) for field in routing_fields(stage.kind)
                )
            ):
                refused = self._reroute(packet)
                if refused is not None:
                    return refused
        return packet

    def _reroute(self, packet: Packet) -> Stopped | None:
        """ip_route_me_harder: chains that come later at the hook still see the old device."""
        decision = self._route(packet, "OUTPUT")
        self._rerouted = decision
        return None if decision.kind in WAYS_OUT else self._no_way(packet, decision, locally=True)

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
        shortlist = self._shortlist(call.program, algebra) if self.inquiry.brief else None
        evaluator = Evaluator(call.program, algebra, observer, shortlist=shortlist)
        exits = evaluator.run(call.table, call.chain, True)
        self.recorder.assumed |= algebra.assumed
        (ending,) = exits
        if algebra.packet != packet:
            self.recorder.event(self.view.name, hook, call.table, "written", packet, algebra.packet)
        if self._connection is not None:
            self._connection.mark = algebra.packet.connmark
        return ending, algebra.packet

    def _shortlist(
        self, program: Program, algebra: OnePacket
    ) -> Callable[[CompiledChain], Iterable[CompiledRule]]:
        known = self._shortlists.setdefault(id(program), {})

        def of(chain: CompiledChain) -> Iterable[CompiledRule]:
            key = chain.table, chain.name
            if key not in known:
                known[key] = Shortlist(chain)
            return known[key].of(algebra.packet)

        return of

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
