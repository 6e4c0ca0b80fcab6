"""What makes differences quick changes nothing in them: each shortcut against the plain way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane import describe as descriptions
from netverify.dataplane import difference as differences
from netverify.dataplane.condition import Within, equals
from netverify.dataplane.decided import Decided
from netverify.dataplane.difference import Difference, compare
from netverify.dataplane.entry import forget
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.fates import Fates, Watcher
from netverify.dataplane.narrow import Deciding, Leaving, TooManyRules
from netverify.dataplane.nft.compiler import compile_nft
from netverify.dataplane.onward import ROUTES, Onward
from netverify.dataplane.program import CompiledChain, Program, compile_rules
from netverify.dataplane.segments import Memory
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.view import HostView, Link
from netverify.docker import BridgeNetwork, DockerHost, PublishedPort
from netverify.docker import rules as docker_rules
from netverify.ruleset import Ruleset
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from tests.dataplane import nft_rules as native
from tests.strategies.dataplane import HOST, packets, rulesets

SMALL = 1 << 20
BRIDGES = ("br-a", "br-b", "br-c")


def _sets(*programs: Program) -> PacketSets:
    devices = {name for program in programs for name in program.devices()}
    devices |= {link.name for program in programs for link in program.host.links}
    return PacketSets(4 if programs[0].ruleset.family == "ipv4" else 6, devices, capacity=SMALL)


def _plain(program: Program, sets: PacketSets, observer: Watcher[Set] | None = None) -> Evaluator[Set]:
    """An evaluator that finds nothing that others computed."""
    return Evaluator(program, sets, observer, memory=Memory())


def _bases(program: Program) -> Iterator[CompiledChain]:
    """The kernel's own chains of a program that write nothing."""
    for (table, name), chain in program.chains.items():
        if name in BUILTIN_CHAINS.get(table, ()) and not chain.rewrites:
            yield chain


class _Counter(Watcher[Set]):
    """A watcher that counts as well how often a rule matched."""

    matches = 0

    def tested(self, rule, failed, matched, /):  # type: ignore[no-untyped-def]
        self.matches += failed < 0
        super().tested(rule, failed, matched)


def _check_walks(program: Program, sets: PacketSets, chain: CompiledChain, entering: Set) -> None:
    """Who ended whom, in order, how packets left, and how many rules are too many."""
    if not entering.satisfiable():
        return
    run, watcher = Evaluator(program, sets), _Counter(sets)
    _plain(program, sets, watcher).run(chain.table, chain.name, entering)
    decided = Deciding(run, sets, chain, entering).decided()
    assert {each: decided.of([each]) for each in decided} == watcher.ended
    assert list(decided) == list(watcher.ended)
    assert Deciding(run, sets, chain, entering).strange() == {} or watcher.strange
    plain = _plain(program, sets).run(chain.table, chain.name, entering)
    assert Leaving(run, sets, chain, entering).exits() == plain
    assert list(Deciding(run, sets, chain, entering, watcher.matches).decided()) == list(watcher.ended)
    if watcher.matches:
        with pytest.raises(TooManyRules):
            Deciding(run, sets, chain, entering, watcher.matches - 1).decided()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([4, 4, 6]), st.data())
def test_walks_say_what_running_rule_by_rule_says(version: int, data: st.DataObject) -> None:
    program = compile_rules(data.draw(rulesets(version, size=5)), HOST)
    sets = _sets(program)
    drawn = data.draw(st.lists(packets(version), min_size=1, max_size=2))
    for chain in _bases(program):
        everything = sets.entering(chain.name)
        some = forget(sets, sets.singleton(drawn[0]), ("destination", "dport", "in_interface", "protocol"))
        for entering in (everything, everything & some, everything & ~sets.singleton(drawn[-1])):
            _check_walks(program, sets, chain, entering)


CALLS = """*filter
:FORWARD DROP [0:0]
:A - [0:0]
:B - [0:0]
:C - [0:0]
-A FORWARD -i br-a -j A
-A FORWARD -i br-b ! -o br-b -j A
-A FORWARD -o br-c -g B
-A FORWARD -i br-c -j A
-A FORWARD -s 10.0.0.0/8 -j B
-A A -p tcp -m tcp --dport 80 -j ACCEPT
-A A -o br-b -j B
-A A -o br-c -m conntrack --ctstate NEW -g C
-A A -d 10.0.1.0/24 -j LOG
-A B -p udp -j RETURN
-A B -o br-a -j REJECT
-A B -m string --string x --algo bm -j DROP
-A C -s 10.0.0.1/32 -j ACCEPT
-A C -d 10.0.0.1/32 -j RETURN
COMMIT
"""
VIEW = HostView(
    "host",
    (
        *(Link.of(name, f"10.0.{number}.1/24") for number, name in enumerate(BRIDGES)),
        Link.of("eth0", "192.0.2.1/24"),
    ),
).with_connected_routes()


def test_chains_that_are_called_from_several_rules_and_gone_to() -> None:
    program = compile_rules(Ruleset.parse(CALLS), VIEW)
    sets = _sets(program)
    chain = program.chains["filter", "FORWARD"]
    everything = sets.entering("FORWARD")
    for condition in (
        equals("dport", 80),
        equals("protocol", 17),
        Within("source", ((0x0A000000, 0x0A0001FF),)),
    ):
        _check_walks(program, sets, chain, everything & sets.satisfying(condition))
        _check_walks(program, sets, chain, everything & ~sets.satisfying(condition))


def test_steps_of_rules_of_nftables() -> None:
    service = native.user(
        "service", native.rule(native.equal(native.TCP_PORT, 80), native.COUNTER, native.ACCEPT)
    )
    forward = native.base(
        "forward", "forward", 0,
        native.rule(native.equal(native.SOURCE, 0x0A010002), native.COUNTER, native.jump("service")),
        native.rule(native.COUNTER, native.jump("service")),
        native.rule(native.equal(native.TCP_PORT, 81), native.COUNTER, native.RETURN),
        policy="drop",
    )  # fmt: skip
    host = native.host(native.table(forward, service))
    program = compile_nft(host.nft, host, 4)
    sets = _sets(program)
    (chain,) = (chain for (_, name), chain in program.chains.items() if name == "forward")
    _check_walks(program, sets, chain, sets.entering("FORWARD"))


# --- the way before and after -----------------------------------------------------------------------


class _PlainOnward(Onward):
    """Follows all packets that may come, to the end, through chains that are run whole."""

    def way(self, table, hook, packets, one=None):  # type: ignore[no-untyped-def]
        return super().way(table, hook, packets)

    def _may_become(self, way, index, place, packets):  # type: ignore[no-untyped-def]
        return self._sets.true

    def _send(self, stop, packets, wanted=None):  # type: ignore[no-untyped-def]
        return _plain(self._program, self._sets).run(*stop, packets)


@settings(max_examples=40, deadline=None)
@given(rulesets(4, size=4), st.lists(packets(4), min_size=2, max_size=3))
def test_ways_are_the_same_however_few_packets_are_followed(rules: Ruleset, drawn: list) -> None:  # type: ignore[type-arg]
    program = compile_rules(rules, HOST)
    sets = _sets(program)
    quick, plain = (kind(Evaluator(program, sets), sets) for kind in (Onward, _PlainOnward))
    for table, hook in sorted({stop for way in ROUTES.values() for stop in way}):
        for packet in drawn:
            some = forget(sets, sets.singleton(packet), ("state", "in_interface", "out_interface", "tracked"))
            some = some & sets.entering(hook)
            if not some.satisfiable():
                continue
            one = sets.example(some)
            assert quick.way(table, hook, some, one) == plain.way(table, hook, some), (table, hook, packet)


# --- what a set is in words -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(rulesets(4, size=5))
def test_boxes_are_counted_and_fields_found_as_if_one_by_one(rules: Ruleset) -> None:
    program = compile_rules(rules, HOST)
    sets = _sets(program)
    for chain in _bases(program):
        for packets_of in (
            Evaluator(program, sets).run(chain.table, chain.name, sets.entering(chain.name)).values()
        ):
            whole = sets.possibly(packets_of)
            others = [field for field in sets.fields if field not in sets.order]
            ranged = whole.exists(sets.cube(*others)) if others else whole
            number = len(list(sets.boxes(whole)))
            for most in (1, 3, 1000):
                assert descriptions._number(sets, ranged, most) == min(number, most)
            matter = [field for field in others if forget(sets, whole, (field,)) != whole]
            assert descriptions._mattering(sets, whole, others, ranged) == matter
            for field in matter:
                same = [
                    [bool((whole & half).satisfiable()) for half in (bit, ~bit)]
                    for bit in reversed(sets.bits(field))
                ]
                mask = sum((one != other) << index for index, (one, other) in enumerate(same))
                value = sum((one > other) << index for index, (one, other) in enumerate(same))
                assert descriptions._bits(sets, whole, field)[:2] == (value, mask)


# --- whole differences ------------------------------------------------------------------------------


def _plain_fates(run, sets, table, chain, entering, *, plain=False):  # type: ignore[no-untyped-def]
    """What `fates` tells, by rules that are run one after the other over all packets."""
    if run.program.chain(table, chain) is None or run.program.chain(table, chain).rewrites:
        return FATES(run, sets, table, chain, entering, plain=plain)
    watcher: Watcher[Set] = Watcher(sets)
    _plain(run.program, sets, watcher).run(table, chain, entering)
    return Fates(sets, Decided.apart(sets, entering, watcher.ended), strange=watcher.strange)


FATES = differences.fates


def _docker() -> HostView:
    """A host with a few networks, each of which publishes two ports; one is let through to another."""
    subnets = [IPv4Network(f"10.0.{number}.0/24") for number in range(len(BRIDGES))]
    written, _ = docker_rules(
        DockerHost(
            "27.5.1",
            tuple(BridgeNetwork(f"net{i}", name, subnets[i]) for i, name in enumerate(BRIDGES)),
            tuple(
                PublishedPort(f"net{i}", subnets[i][2], 80 + j, 10000 + 2 * i + j, ("tcp", "udp")[j])
                for i in range(len(BRIDGES))
                for j in range(2)
            ),
            forward_policy="DROP",
        )
    )
    exception = "-i br-a -o br-b -p tcp -m tcp --dport 5432 -j ACCEPT"
    return replace(VIEW, ipv4=written.with_rule_inserted("filter", "DOCKER-USER", 1, exception))


DOCKER = _docker()
INSERTED = (
    "-j ACCEPT", "-j RETURN", "-j DROP", "-p tcp -m tcp --dport 80 -j ACCEPT", "-p udp -j RETURN",
    "-s 10.0.1.0/24 -j DROP", "-d 10.0.2.2/32 -j ACCEPT", "-m conntrack --ctstate INVALID -j DROP",
    "-m conntrack --ctstate NEW -j LOG", "-m limit --limit 5/second -j ACCEPT",
)  # fmt: skip


@st.composite
def edits(draw: st.DrawFn) -> Ruleset:
    """The rules of Docker after one edit of any kind, anywhere."""
    rules = DOCKER.ipv4
    table, chain = draw(st.sampled_from([(t.name, c.name) for t in rules.tables for c in t.chains]))
    held = rules.chain(table, chain).rules
    kind = draw(
        st.sampled_from(["insert", "insert", "policy"] + ["remove", "replace", "swap", "bridge"] * bool(held))
    )
    if kind == "policy":
        chain = draw(st.sampled_from(BUILTIN_CHAINS[table]))
        return rules.with_policy(table, chain, draw(st.sampled_from(["ACCEPT", "DROP"])))
    number = draw(st.integers(1, max(1, len(held))))
    inserted = draw(st.sampled_from(INSERTED if table != "nat" else [r for r in INSERTED if "DROP" not in r]))
    if kind == "insert":
        return rules.with_rule_inserted(table, chain, draw(st.integers(1, len(held) + 1)), inserted)
    if kind == "remove":
        return rules.with_rule_removed(table, chain, number)
    if kind == "swap":
        return rules.with_rules_swapped(table, chain, number, min(number + 1, len(held)))
    if kind == "replace":
        return rules.with_rule_replaced(table, chain, number, inserted)
    text = held[number - 1].render().replace(draw(st.sampled_from(BRIDGES)), draw(st.sampled_from(BRIDGES)))
    return rules.with_rule_replaced(table, chain, number, text)


def _said(difference: Difference) -> list[object]:
    return [difference.as_facts(), [(str(change), change.packets) for change in difference.changes]]


@settings(max_examples=50, deadline=None)
@given(st.lists(edits(), min_size=1, max_size=3))
def test_edits_of_docker_rules_say_the_same_without_reuse(news: list[Ruleset]) -> None:
    old = compile_rules(DOCKER.ipv4, DOCKER)
    programs = [compile_rules(new, DOCKER, like=old) for new in news]
    sets = _sets(old, *programs)
    for new in programs:  # over the same sets, so that the second edit finds what the first one left behind
        quick = _said(compare(old, new, sets=sets))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(differences, "fates", _plain_fates)
            patched.setattr(differences, "Onward", _PlainOnward)
            assert _said(compare(old, new, sets=sets)) == quick


def test_too_many_rules_are_not_told_apart_and_say_the_same_of_packets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = compile_rules(DOCKER.ipv4, DOCKER)
    for chain in ("FORWARD", "DOCKER", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER"):
        new = compile_rules(DOCKER.ipv4.with_rule_inserted("filter", chain, 1, "-j RETURN"), DOCKER, like=old)
        sets = _sets(old, new)
        told = compare(old, new, sets=sets)
        monkeypatch.setattr("netverify.dataplane.fates.WORK", 0)
        untold = compare(old, new, sets=sets)
        monkeypatch.undo()
        assert all(change.old.rules == change.new.rules == 0 for change in untold.changes)
        for kind in {change.kind for change in (*told.changes, *untold.changes)}:
            both = [
                sets.union([change.packets for change in each.changes if change.kind is kind])  # type: ignore[misc]
                for each in (told, untold)
            ]
            assert both[0] == both[1]
