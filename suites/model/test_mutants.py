"""Every small mistake in Docker's classic rules is noticed, by the model and by the kernel alike.

Each rule removed, swapped with the next, given each other verdict and each other bridge, in all tables and
chains. `compare` says which of these mutants are equivalent. Every other one changes the matrix, the
predicted one and the observed one in the same cells; but for a few that concern only packets which nobody
sends, each with its reason in a table, and each reason checked by the model for all packets.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest

from fixtures.misled import mislead, misled
from netverify.dataplane.difference import compare
from netverify.dataplane.program import Program
from netverify.dataplane.sets import PacketSets
from netverify.kernel.conntrack import Conntrack
from netverify.kernel.lab import Lab
from netverify.kernel.questions import ask_pairs
from netverify.model.prediction import predicted_world
from netverify.reachability.probe import Probe, icmp, tcp, udp
from netverify.ruleset import Ruleset
from netverify.topology.model import DockerDaemon, Topology
from suites.model.honest import Senders, noticed
from suites.model.mutants import Answer, Mutant, Predictor, Question, mutants

Documented = Callable[[str], Topology]

BRIDGES = ("docker0", "br-web", "br-data", "br-apart")
CONTAINERS = ("old1", "old2", "web1", "web2", "data1", "data2", "apart1", "apart2")
EVERYBODY = (*CONTAINERS, "host", "neighbour", "internet")


def _questions() -> list[Question]:
    """Everybody to everybody, to what is published, and to himself."""

    def asked(probe: Probe, targets: str, sources: Iterable[str] = EVERYBODY) -> list[Question]:
        return [Question(probe, source, target) for source in sources for target in targets.split()]

    return [
        *asked(icmp(), " ".join((*CONTAINERS, "neighbour internet host host@172.17.0.1 host@172.20.0.1"))),
        *asked(udp(7000), "old2 web2 data2 apart2 internet neighbour"),
        *asked(tcp(80), "old1 old2 web1 web2 apart1 internet"),
        *asked(tcp(80), "host:8090 host:8080 host:8070 host@172.18.0.1:8080 host@172.17.0.1:8090"),
        *asked(tcp(80), "host@127.0.0.1:8080 host@127.0.0.1:8090 host@127.0.0.1:8070", ["host"]),
        *asked(tcp(81), "web1 host:8081"),
        *asked(tcp(81), "host@127.0.0.1:8081", ["host", "stranger"]),
        *asked(tcp(82), "web1 host:8082 host@172.18.0.1:8082"),
        *asked(udp(53), "data1 host:5353"),
        *asked(udp(53), "host@127.0.0.1:5353", ["host"]),
        *(Question(icmp(), name, f"{name}@127.0.0.1") for name in EVERYBODY),
    ]


def _observed(lab: Lab, questions: Sequence[Question]) -> dict[Question, Answer]:
    by_probe: dict[Probe, list[Question]] = defaultdict(list)
    for question in questions:
        by_probe[question.probe].append(question)
    found = {}
    for probe, group in by_probe.items():
        cells = ask_pairs(lab, probe, [(question.source, question.target) for question in group])
        found |= {question: Answer.observed(cell) for question, cell in zip(group, cells, strict=True)}
    return found


# --- the stranger, who leads 127.0.0.1 to the host (moby#45610) ---------------------------------------------

STRANGER = ("stranger", "198.51.100.30")  # his name and address


# --- what no question shows ---------------------------------------------------------------------------------

APART = "what br-apart's containers send to a bridge is dropped in FORWARD, and the host sends with the \
address of the device by which it leaves"
ISOLATED = (
    "it accepts earlier what belongs to a connection between br-apart and another bridge; none can begin"
)
HAIRPIN = (
    "its container comes back to itself only by DNAT, and what comes from its own bridge is not translated"
)
LOOPBACK = "its container's own 127.0.0.1 never leaves it, so that nothing comes back to it by DNAT"
OWN_DROP = "its container comes back to itself only by its bridge, where icc=false drops it"

UNSEEN: Mapping[str, str] = {
    "-s 172.20.0.0/16 ! -o br-apart -j MASQUERADE": APART,
    "-j DOCKER-ISOLATION-STAGE-1": ISOLATED,
    "-s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE": HAIRPIN,
    "-s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 82 -j MASQUERADE": HAIRPIN,
    "-s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 81 -j MASQUERADE": HAIRPIN,
    "-s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE": HAIRPIN,
    "-s 172.19.0.2/32 -d 172.19.0.2/32 -p udp -m udp --dport 53 -j MASQUERADE": HAIRPIN,
    "-s 172.20.0.2/32 -d 172.20.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE": HAIRPIN,
}
"""With the proxy: rules of which some mutants concern no packet that anybody sends, and why."""

UNSEEN_WITHOUT_PROXY: Mapping[str, str] = {
    "-s 172.20.0.0/16 ! -o br-apart -j MASQUERADE": APART,
    "-j DOCKER-ISOLATION-STAGE-1": ISOLATED,
    "-s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 81 -j MASQUERADE": LOOPBACK,
    "-s 172.20.0.2/32 -d 172.20.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE": OWN_DROP,
}
"""The same without it, where DNAT serves containers too."""


# --- the test -----------------------------------------------------------------------------------------------

ASKED, CONTROLS = 12, 6  # cells of one mutant that are asked: those that change, and others near them


COUNTED = {"seen": 323, "equivalent": 104, "unseen": 22}
COUNTED_WITHOUT_PROXY = {"seen": 343, "equivalent": 82, "unseen": 10}


@dataclass(frozen=True)
class Case:
    """One mutant as the model judges it; `changed` is not all of it, but enough."""

    mutant: Mutant
    program: Program
    is_equivalent: bool
    changed: Mapping[Question, Answer]
    same: Sequence[Question]


def _judged(predictor: Predictor) -> Iterator[Case]:
    sets = PacketSets.of(predictor.program)
    for mutant in mutants(predictor.view.ipv4, BRIDGES):
        program = predictor.mutated(mutant)
        difference = compare(predictor.program, program, sets=sets)
        assert not difference.unsettled, mutant
        changed, same = predictor.changed(mutant, program, ASKED)
        yield Case(mutant, program, difference.is_equivalent, changed, same)


def _foretold(case: Case, base: Mapping[Question, Answer]) -> dict[Question, Answer]:
    """The cells to ask: some that change, of every kind, and some that do not, over the same two probes."""
    kinds: dict[Probe, dict[tuple[Answer, Answer], Question]] = defaultdict(dict)
    for question, answer in case.changed.items():
        kinds[question.probe].setdefault((base[question], answer), question)
    telling = sorted(kinds, key=lambda probe: -len(kinds[probe]))[:2]
    chosen = {question: case.changed[question] for probe in telling for question in kinds[probe].values()}
    probes = telling or [question.probe for question in case.same[:1]]
    near = [question for question in case.same if question.probe in probes]
    return {**chosen, **{question: base[question] for question in near[:CONTROLS]}}


@pytest.mark.needs("br_netfilter")
@pytest.mark.parametrize("proxy", [True, False], ids=["proxy", "no proxy"])
def test_every_mutant(lab: Lab, documented: Documented, proxy: bool) -> None:
    """Predicted equals observed for each, and each shows that is not equivalent and not in the table."""
    daemon = DockerDaemon("24.0", userland_proxy=proxy)
    lab.up(documented("docker-four-bridges").with_host("host", docker=daemon))
    mislead(lab, *STRANGER)
    predictor = Predictor(
        lab.topology, misled(predicted_world(lab.topology, {}, {}), *STRANGER), "host", _questions()
    )
    base = predictor.answers
    assert _observed(lab, predictor.questions) == base

    counted: Counter[str] = Counter()
    unseen: list[Case] = []
    loaded = predictor.view.ipv4
    for case in _judged(predictor):
        loaded = _load(lab, loaded, case.mutant.rules)
        _ask(lab, case, base)
        counted["equivalent" if case.is_equivalent else "seen" if case.changed else "unseen"] += 1
        assert not (case.is_equivalent and case.changed), case.mutant
        if not case.is_equivalent and not case.changed:
            unseen.append(case)
    assert counted == (COUNTED if proxy else COUNTED_WITHOUT_PROXY)

    _load(lab, loaded, predictor.view.ipv4)
    assert _observed(lab, predictor.questions) == base
    _explain(predictor, unseen, UNSEEN if proxy else UNSEEN_WITHOUT_PROXY)


def _load(lab: Lab, loaded: Ruleset, rules: Ruleset) -> Ruleset:
    """Replace the tables that differ from what is loaded."""
    tables = tuple(table for table in rules.tables if table != loaded.table(table.name))
    lab.firewall("host").restore(replace(rules, tables=tables).render())
    return rules


def _ask(lab: Lab, case: Case, base: Mapping[Question, Answer]) -> None:
    """Ask about a mutant what the model says of it, with no connection known from before."""
    with Conntrack(lab.visitor, lab.namespace("host")) as connections:
        connections.flush()
    foretold = _foretold(case, base)
    observed = _observed(lab, list(foretold))
    wrong = {str(q): (observed[q], answer) for q, answer in foretold.items() if observed[q] != answer}
    assert not wrong, f"{case.mutant}: (observed, predicted) {wrong}"


def _explain(predictor: Predictor, unseen: Sequence[Case], reasons: Mapping[str, str]) -> None:
    """Each mutant that nothing showed is in the table, and no packet that anybody sends notices it."""
    sets = PacketSets.of(predictor.program)
    known = [
        int(address)
        for container in predictor.topology.containers
        for address in predictor.topology.addresses_of(container.name, 4)
    ]
    senders = Senders(predictor.view, tuple(known))
    for case in unseen:
        assert not list(noticed(predictor.program, case.program, sets, senders)), case.mutant
    rules = {_text(predictor, case.mutant) for case in unseen}
    assert rules == set(reasons)


def _text(predictor: Predictor, mutant: Mutant) -> str:
    rule = predictor.view.ipv4.rule(mutant.place)
    return rule.render().removeprefix(f"-A {mutant.place.chain} ")
