"""A host under audit: its snapshot, its model, who wrote its rules, and packets sent through the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from netverify.audit.finding import CellReference, Evidence, RuleReference, Sending
from netverify.audit.forwarding import Forwarding
from netverify.audit.intended import Intended, intended, standing
from netverify.dataplane.diagrams import Set
from netverify.dataplane.packet import Address
from netverify.dataplane.program import Place, table_of
from netverify.dataplane.trace import PolicyStep, RuleStep, Trace
from netverify.dataplane.view import LEGACY, LOOPBACK, HostView
from netverify.docker.errors import DockerError
from netverify.docker.recognition import Recognition, recognise
from netverify.docker.version import Version
from netverify.host import HostSnapshot
from netverify.host.containers import HostContainer, HostNetwork
from netverify.model.narration import exchange_lines
from netverify.model.questions import Answer, Question, deciding, in_words, passing_step, send
from netverify.model.snapshots import subject_of_snapshot
from netverify.model.subject import Endpoint, Subject
from netverify.reachability.probe import Probe
from netverify.ruleset import NftPlace, Ruleset

FAMILIES: Mapping[int, str] = {4: "ipv4", 6: "ipv6"}


@dataclass(frozen=True)
class Voice:
    """An endpoint that can send and receive on a network, with its address there."""

    name: str
    address: Address


@dataclass(frozen=True)
class Case:
    """What the checks look at. `snapshot` says what is there, `subject` what packets make of it."""

    snapshot: HostSnapshot
    subject: Subject

    @classmethod
    def of(cls, snapshot: HostSnapshot, source: str) -> Case:
        """The case of a snapshot; `source` is its file. Raises NotCollected without its devices."""
        return cls(snapshot, subject_of_snapshot(snapshot, source))

    # --- the host -------------------------------------------------------------------------------------------

    @cached_property
    def host(self) -> HostView:
        """The host's own namespace."""
        return next(view for view in self.subject.views if view.name == self.subject.host)

    def rulesets(self, version: int) -> tuple[tuple[str, Ruleset], ...]:
        """The host's iptables rules of an IP version, with the backend that holds them (`nft`, `legacy`)."""
        return tuple((backend, rules) for (v, backend), rules in self.snapshot.rules.items() if v == version)

    @cached_property
    def recognitions(self) -> Mapping[int, Recognition]:
        """Which generation of Docker wrote the rules that decide, by IP version."""
        return {
            version: recognise(
                standing(self.host, version).rules, self.host.nft if self.host.nft.tables else None
            )
            for version in (4, 6)
        }

    @cached_property
    def engine(self) -> Version | None:
        """The version of the Docker engine; None where another engine runs, or nobody knows."""
        engine = self.snapshot.engine
        if engine is None or engine.program != "docker" or not engine.version:
            return None
        return Version.parse(engine.version)

    @cached_property
    def intended(self) -> Intended:
        """The rules that the engine means to have here. Raises DockerError where nobody knows them."""
        return intended(self.snapshot, self.host)

    @cached_property
    def knows_engine(self) -> bool:
        """Whether it is known which rules the engine means to have."""
        try:
            return bool(self.intended)
        except DockerError:
            return False

    def leaves(self, version: int, packets: Set) -> str:
        """What to say of packets that pass by the engine's own rules as well; "" of others."""
        forwarding = self.forwarding(version)
        by_others = (packets & forwarding.opened).satisfiable()
        return "" if by_others or not self.knows_engine else ", as Docker itself leaves it"

    def forwarding(self, version: int) -> Forwarding:
        """All packets that the host forwards, by its rules and by the engine's.

        Where nobody knows the engine's rules, those that are there stand for them.
        """
        known = self._forwardings
        if version not in known:
            actual = self.subject.world.stacks[self.subject.host].filters[version]
            meant = self.intended.view if self.knows_engine else self.host
            known[version] = Forwarding.of(actual, meant)
        return known[version]

    @cached_property
    def _forwardings(self) -> dict[int, Forwarding]:
        return {}

    # --- who is there ---------------------------------------------------------------------------------------

    @cached_property
    def bridges(self) -> Mapping[str, HostNetwork]:
        """The engine's networks that are bridges of this host, by the name of the bridge."""
        return {n.bridge: n for n in self.snapshot.networks if n.bridge and self.host.has_link(n.bridge)}

    def members(self, network: HostNetwork) -> tuple[HostContainer, ...]:
        """The containers on a network, which share no other container's namespace."""
        return tuple(
            each
            for each in self.snapshot.containers
            if any(attachment.network == network.name for attachment in each.attachments)
        )

    def address(self, container: HostContainer, network: str, version: int) -> Address | None:
        """A container's address on a network."""
        own = (each for each in container.attachments if each.network == network)
        return next((a.ip for each in own for a in each.addresses if a.version == version), None)

    @cached_property
    def outside(self) -> tuple[Endpoint, ...]:
        """Who is around the host: a neighbour on each outer link (`lan`), and the internet."""
        return tuple(
            endpoint
            for endpoint in self.subject.endpoints
            if endpoint.shown and self.subject.is_stranger(endpoint.node)
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """The host's devices by which packets come and go: all but lo and the ports of bridges."""
        return tuple(link.name for link in self.host.links if link.master is None and link.name != LOOPBACK)

    def containers(self, bridge: str, version: int) -> tuple[Voice, ...]:
        """The containers with an address on a network of the engine, those first that are on no other."""
        return self._voices.get((bridge, version), ())

    def voices(self, bridge: str, version: int) -> tuple[Voice, ...]:
        """Who may send on a network: its containers, then whoever else may come there."""
        return (*self.containers(bridge, version), *self._others.get((bridge, version), ()))

    @cached_property
    def _voices(self) -> Mapping[tuple[str, int], tuple[Voice, ...]]:
        bridges = {network.name: bridge for bridge, network in self.bridges.items()}
        nodes = {address: view.name for view in self.subject.views for address in view.local_addresses}
        found: dict[tuple[str, int], list[Voice]] = {}
        for container in sorted(self.snapshot.containers, key=lambda each: len(each.attachments)):
            for attachment in container.attachments:
                for each in attachment.addresses:
                    if attachment.network in bridges and nodes.get(each.ip) == container.name:
                        where = (bridges[attachment.network], each.version)
                        found.setdefault(where, []).append(Voice(container.name, each.ip))
        return {where: tuple(own) for where, own in found.items()}

    @cached_property
    def _others(self) -> Mapping[tuple[str, int], tuple[Voice, ...]]:
        devices = {stranger.name: stranger.device for stranger in self.subject.strangers}
        return {
            (devices[endpoint.node], version): (Voice(endpoint.name, address),)
            for endpoint in reversed(self.subject.endpoints)
            if endpoint.node in devices
            for version in (4, 6)
            if (address := endpoint.address(version)) is not None
        }

    @property
    def neighbours(self) -> tuple[Endpoint, ...]:
        """Those on the host's own links, who can send it whatever they like."""
        return tuple(endpoint for endpoint in self.outside if endpoint.name.lstrip("(").startswith("lan"))

    # --- packets --------------------------------------------------------------------------------------------

    def ask(
        self,
        source: str,
        address: Address,
        probe: Probe,
        *,
        source_address: Address | None = None,
        sport: int | None = None,
    ) -> Answer:
        """What comes of one packet, from an endpoint to an address.

        An address that nobody has and somebody may is taken to be there (`Subject.reaching`).
        """
        question = Question(source, str(address), probe, sport, source_address)
        subject = self.subject.reaching(address)
        return send(subject, question, subject.endpoint(source), address, brief=True)

    @cached_property
    def memory(self) -> dict[tuple[str, str, str], dict[int, Answer]]:
        """Answers that several checks ask for, by whatever they call the question."""
        return {}

    def misleading(self, neighbour: Endpoint) -> Case:
        """The same with a neighbour who sends the host what is for 127.0.0.1 (moby#45610)."""
        known = self._misled
        if neighbour.node not in known:
            known[neighbour.node] = replace(self, subject=self.subject.misleading(neighbour.node))
        return known[neighbour.node]

    @cached_property
    def _misled(self) -> dict[str, Case]:
        return {}

    def evidence(self, answer: Answer) -> Evidence:
        """An answer as something to show: the packet, its way, and how a twin can be asked the same."""
        question = answer.question
        probe = question.probe
        sending = Sending(
            question.source,
            str(answer.address),
            probe.protocol,
            probe.port,
            probe.version,
            None if question.source_address is None else str(question.source_address),
            answer.exchange is not None and answer.exchange.outcome == "delivered",
        )
        return Evidence(str(answer.packet), tuple(exchange_lines(answer.exchange)), sending)

    def cell(self, answer: Answer, target: str) -> CellReference:
        """The cell of the host's matrix that an answer is about."""
        return CellReference(answer.question.source, target, str(answer.question.probe))

    # --- rules ----------------------------------------------------------------------------------------------

    def deciding(self, answer: Answer) -> tuple[RuleReference, ...]:
        """The rule that lets the packet of an answer pass, or ends it; none where no rule did."""
        if answer.exchange is None:
            return ()
        found = deciding(answer.exchange)
        if found is None:
            return ()
        for trace in answer.traces():
            for step in reversed(trace.steps):
                if isinstance(step, RuleStep | PolicyStep) and in_words(step) == found:
                    text = "" if isinstance(step, PolicyStep) else str(step.rule.rule)
                    return (self.reference(step.place, answer.question.probe.version, text or found.place),)
        return ()

    def letting_pass(self, trace: Trace) -> tuple[RuleReference, ...]:
        """The last rule or policy of a filter that let a packet pass; none where there was none."""
        step = passing_step(trace)
        if step is None:
            return ()
        text = str(step.rule.rule) if isinstance(step, RuleStep) else in_words(step).place
        return (self.reference(step.place, trace.packet.version, text),)

    def reference(self, place: Place, version: int, text: str, holder: str = "") -> RuleReference:
        """A rule as a person finds it again; `holder` is its backend, where that is known (nft, legacy)."""
        if isinstance(place, NftPlace):
            return RuleReference("nftables", place.family, place.table, place.chain, place.number, text)
        table = table_of(place)
        backends = [backend for backend, _rules in self.rulesets(version)]
        legacy = table.startswith(LEGACY) or (holder or "".join(backends)) == "legacy"
        backend = "iptables-legacy" if legacy else "iptables"
        name = table.removeprefix(LEGACY)
        return RuleReference(backend, FAMILIES[version], name, place.chain, place.number, text)

    def missing(self, parts: Iterable[str]) -> tuple[str, ...]:
        """Which of these parts of the snapshot were not collected, each with its reason."""
        lost = self.snapshot.missing
        return tuple(f"{part}: {lost[part]}" for part in parts if part in lost)


def arrives(answer: Answer) -> bool:
    """Whether somebody received the request, by what is known for sure: where that is not enough, no."""
    found = answer.exchange
    return not answer.lacks and found is not None and found.outcome == "delivered"
