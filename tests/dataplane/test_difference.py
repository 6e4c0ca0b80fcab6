"""Differences of rulesets: what they say, and that single packets, run through both, say the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.change import Kind, kind_of, may_pass
from netverify.dataplane.difference import Change, Comparison, Difference, compare
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.fates import Fate, fate
from netverify.dataplane.host_difference import compare_hosts
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.stack import Stack, Stopped
from netverify.dataplane.trace import PolicyStep, RuleStep
from netverify.dataplane.view import HostView, Link
from netverify.ruleset import NftRuleset, Ruleset, Table
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from tests.dataplane.isolated import BRIDGES, ISOLATED
from tests.strategies.dataplane import HOST, headers, hosts, packets, rulesets

SMALL = 1 << 20
VIEW = HostView(
    "host",
    (
        *(Link.of(name, f"10.0.{number}.1/24") for number, name in enumerate(BRIDGES)),
        Link.of("eth0", "192.0.2.1/24"),
    ),
).with_connected_routes()
PORTS = "-p tcp -m tcp --dport"


def _sets(*programs: Program) -> PacketSets:
    devices = {name for program in programs for name in program.devices()}
    devices |= {link.name for program in programs for link in program.host.links}
    return PacketSets(4 if programs[0].ruleset.family == "ipv4" else 6, devices, capacity=SMALL)


def _program(text: str, view: HostView = VIEW) -> Program:
    return compile_rules(Ruleset.parse(text), view)


def _compared(old: str, new: str, **options: Any) -> Difference:
    programs = _program(old), _program(new)
    return compare(*programs, sets=_sets(*programs), **options)


def _chain(table: str, chain: str, *rules: str, policy: str = "ACCEPT") -> str:
    lines = "".join(f"-A {chain} {rule}\n" for rule in rules)
    return f"*{table}\n:{chain} {policy} [0:0]\n{lines}COMMIT\n"


def _forward(*rules: str, policy: str = "ACCEPT") -> str:
    return _chain("filter", "FORWARD", *rules, policy=policy)


# --- single packets say the same --------------------------------------------------------------------


@st.composite
def edited(draw: st.DrawFn, rules: Ruleset) -> Ruleset:
    """The ruleset after one edit: a rule removed, inserted, replaced, moved, a policy, a chain or a table."""
    places = [place for place, _ in rules.rules()]
    chains = [(table.name, chain.name) for table in rules.tables for chain in table.chains]
    table, chain = draw(st.sampled_from(chains))
    kinds = ["policy", "insert", "table"] + 3 * ["remove", "move", "copy"] * bool(places)
    kind = draw(st.sampled_from(kinds))
    if kind == "table":
        return Ruleset(rules.family, tuple(each for each in rules.tables if each.name != table))
    if kind == "policy":
        own = draw(st.sampled_from([c for c in chains if c[1] in BUILTIN_CHAINS[c[0]]]))
        return rules.with_policy(*own, draw(st.sampled_from(["ACCEPT", "DROP"])))
    if kind == "insert":
        target = draw(st.sampled_from(["ACCEPT", "DROP", "LOG", "RETURN", "MARK --set-xmark 0x4/0x4"]))
        tests = draw(st.sampled_from(["", f"{PORTS} 80", "-i eth0", "-m mark --mark 0x1/0x1"]))
        number = draw(st.integers(1, len(rules.chain(table, chain).rules) + 1))
        return rules.with_rule_inserted(table, chain, number, f"{tests} -j {target}")
    place = draw(st.sampled_from(places))
    taken = rules.rule(place)
    without = rules.with_rule_removed(place.table, place.chain, place.number)
    if kind == "remove":
        return without
    left = without if kind == "move" else rules
    number = draw(st.integers(1, len(left.chain(place.table, place.chain).rules) + 1))
    return left.with_rule_inserted(place.table, place.chain, number, taken)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Ruleset, Ruleset, int]:
    """Two rulesets, mostly an edited one after the other."""
    version = draw(st.sampled_from([4, 4, 6]))
    old = draw(rulesets(version, size=4))
    if draw(st.integers(0, 3)) == 0:
        return old, draw(rulesets(version, size=4)), version
    new = draw(edited(old))
    for _ in range(draw(st.integers(0, 2))):
        if new.tables:
            new = draw(edited(new))
    return old, new, version


def _fitting(packet: Packet, table: str, chain: str) -> Packet:
    """The packet as it can look at a chain."""
    comes, goes = chain in ("PREROUTING", "INPUT", "FORWARD"), chain in ("FORWARD", "OUTPUT", "POSTROUTING")
    packet = packet.with_(
        in_interface=(packet.in_interface or "eth0") if comes else "",
        out_interface=(packet.out_interface or "eth0") if goes else "",
    )
    return packet.with_(state=State.NEW) if table == "nat" else packet


def _differs(old: Fate, new: Fate) -> bool:
    if old.ending != new.ending or old.strange != new.strange:
        return True
    return (
        old.leaving != new.leaving if may_pass(old.ending) else old.leaving.connmark != new.leaving.connmark
    )


def _check(
    comparison: Comparison, changes: tuple[Change, ...], drawn: list[Packet], data: st.DataObject
) -> None:
    sets = comparison.sets
    names = sorted(sets.unknowns)
    assume = {name: data.draw(st.booleans()) for name in names}
    for table, chain in {(t, c) for t, cs in BUILTIN_CHAINS.items() for c in cs}:
        here = [change for change in changes if (change.table, change.chain) == (table, chain)]
        for packet in drawn:
            packet = _fitting(packet, table, chain)
            old, new = (
                fate(program, packet, table, chain, assume) for program in (comparison.old, comparison.new)
            )
            holding = [c for c in here if c.packets is not None and sets.contains(c.packets, packet, assume)]
            assert bool(holding) == _differs(old, new), (table, chain, packet, old, new)
            assert len(holding) <= 1
            for change in holding:
                if old.ending != new.ending:
                    assert change.kind is kind_of(old.ending, new.ending)
                else:
                    assert change.kind in (Kind.WRITTEN, Kind.UNKNOWN)
                for side, one in ((change.old, old), (change.new, new)):
                    assert side.endings > 1 or side.ending == one.ending or change.writes


@settings(max_examples=60, deadline=None)
@given(pairs(), st.data())
def test_a_packet_is_in_a_class_if_and_only_if_its_fate_changed(
    pair: tuple[Ruleset, Ruleset, int], data: st.DataObject
) -> None:
    old, new, version = pair
    programs = compile_rules(old, HOST), compile_rules(new, HOST)
    comparison = Comparison(*programs, sets=_sets(*programs))
    difference = comparison.difference(1000)
    assert difference.more == 0
    drawn = data.draw(st.lists(packets(version), min_size=3, max_size=6))
    examples = [change.example for change in difference.changes]
    _check(comparison, difference.changes, drawn + examples, data)


@settings(max_examples=12, deadline=None)
@given(rulesets(4, size=4), st.data())
def test_over_the_same_sets_one_edit_after_the_other(rules: Ruleset, data: st.DataObject) -> None:
    old = compile_rules(rules, HOST)
    news = [compile_rules(data.draw(edited(rules)), HOST) for _ in range(3)]
    sets = _sets(old, *news)
    drawn = data.draw(st.lists(packets(4), min_size=3, max_size=3))
    for new in news:
        comparison = Comparison(old, new, sets=sets)
        _check(comparison, comparison.difference(1000).changes, drawn, data)
    for new in news[::-1]:
        back = Comparison(new, old, sets=sets)
        _check(back, back.difference(1000).changes, drawn, data)


@given(rulesets(4, size=4))
@settings(max_examples=20, deadline=None)
def test_a_ruleset_is_equivalent_to_itself(rules: Ruleset) -> None:
    again = Ruleset.parse(rules.render())
    programs = compile_rules(rules, HOST), compile_rules(again, HOST)
    found = compare(*programs, sets=_sets(*programs))
    assert found.is_equivalent
    assert not found.opens


# --- what a difference says -------------------------------------------------------------------------


def test_a_removed_rule_opens_what_it_stopped() -> None:
    removed = Ruleset.parse(ISOLATED).with_rule_removed("filter", "STAGE2", 2).render()
    difference = _compared(ISOLATED, removed)
    (change,) = difference.changes
    assert difference.opens
    assert (change.kind, change.opens, change.reaches, change.continues) == (Kind.OPENED, True, True, True)
    assert str(change) == (
        "filter FORWARD: DROP -> ACCEPT: br-a -> br-b; for example icmp 10.0.0.2 -> 10.0.1.2 (echo request) "
        "(br-a -> br-b); before filter:STAGE2:rule:2, after filter:FORWARD:policy"
    )
    assert change.old.rule == "-A STAGE2 -o br-b -j DROP"
    assert change.new.rule == "policy ACCEPT"


def test_newly_open_comes_first() -> None:
    difference = _compared(
        _forward(f"{PORTS} 22 -j ACCEPT", f"{PORTS} 23 -j DROP", "-p udp -j DROP", policy="DROP"),
        _forward(f"{PORTS} 80 -j ACCEPT", "-p udp -j REJECT", policy="DROP"),
    )
    assert [change.kind for change in difference.changes] == [Kind.OPENED, Kind.CLOSED, Kind.REFUSED]
    words = [str(change.description) for change in difference.changes]
    assert words == ["any -> any tcp dport 80", "any -> any tcp dport 22", "any -> any udp"]


def test_ports_and_addresses_read_as_ranges() -> None:
    old = _forward("-s 10.0.0.0/24 -p tcp -m multiport --dports 80,443 -j ACCEPT", policy="DROP")
    (change,) = _compared(old, _forward(policy="DROP")).changes
    assert str(change.description) == "any -> any tcp from 10.0.0.0/24 dport 80,443"
    (part,) = change.description.parts
    assert dict(part.ranges)["dport"] == ((80, 80), (443, 443))
    (change,) = _compared(_forward(f"! -i br-a {PORTS} 80 -j DROP"), _forward()).changes
    assert str(change.description) == "any but br-a -> any tcp dport 80"


def test_rules_in_another_order_may_say_the_same() -> None:
    one = _forward(f"{PORTS} 80 -j ACCEPT", "-p udp -j DROP")
    other = _forward("-p udp -j DROP", f"{PORTS} 80 -j ACCEPT")
    assert _compared(one, other).is_equivalent
    assert not _compared(one, _forward("-p udp -j DROP", policy="DROP")).is_equivalent


def test_many_rules_that_say_the_same_are_one_class() -> None:
    rules = [f"-s 10.0.0.{number}/32 -j ACCEPT" for number in range(40)]
    difference = _compared(_forward("-j DROP", *rules), _forward(*rules))
    opened = {change.new.rules: change for change in difference.changes}
    assert sorted(opened) == [1, 40]  # the policy, and all rules of the chain
    assert all(change.old.rule == "-A FORWARD -j DROP" for change in difference.changes)


def test_no_more_classes_than_wanted_and_the_rest_is_counted() -> None:
    rules = [f"{PORTS} {number} -j DROP" for number in range(1, 11)]
    difference = _compared(_forward(*rules), _forward(), most=4)
    assert (len(difference.changes), difference.more) == (4, 6)
    assert _compared(_forward(*rules), _forward(), most=0).opens


def test_facts_are_json() -> None:
    old = _chain("mangle", "PREROUTING", "-p tcp -j MARK --set-xmark 0x1")
    facts = json.loads(json.dumps(_compared(ISOLATED + old, _forward(policy="DROP")).as_facts()))
    assert facts["opens"] is True or facts["changes"]
    assert {"kind", "before", "after", "example", "packets", "reaches"} <= set(facts["changes"][0])


# --- what rules write -------------------------------------------------------------------------------


def test_marks_are_compared_packet_by_packet() -> None:
    text = "-p {} -j MARK --set-xmark 0x1/0xff"
    old, new = (_chain("mangle", "PREROUTING", text.format(name)) for name in ("tcp", "udp"))
    changes = _compared(old, new).changes
    assert [change.kind for change in changes] == [Kind.WRITTEN] * 2
    assert {change.fates() for change in changes} == {
        ("ACCEPT with mark as it came", "ACCEPT with mark 0x1/0xff"),
        ("ACCEPT with mark 0x1/0xff", "ACCEPT with mark as it came"),
    }
    assert _compared(old, old).is_equivalent


def test_two_ways_to_write_the_same() -> None:
    one = _chain(
        "mangle", "PREROUTING", "-j MARK --set-xmark 0x1", "-m mark --mark 0x1 -j MARK --or-mark 0x2"
    )
    assert _compared(one, _chain("mangle", "PREROUTING", "-j MARK --set-xmark 0x3")).is_equivalent


def test_a_test_is_asked_anew_after_each_write() -> None:
    asked = "-m mark --mark 0x1"
    steps = f"-j MARK --set-xmark 0x2;{asked} -j LOG;-j MARK --set-xmark 0x1;{asked} -j MARK --or-mark 0x2"
    one = _chain("mangle", "PREROUTING", *steps.split(";"))
    assert _compared(one, _chain("mangle", "PREROUTING", "-j MARK --set-xmark 0x3")).is_equivalent


def test_a_rule_that_asks_for_what_was_written_concerns_all_packets() -> None:
    mark, drop = "-j MARK --set-xmark 0x1", "-m mark --mark 0x1 -j DROP"
    (change,) = _compared(_chain("mangle", "FORWARD", mark, drop), _chain("mangle", "FORWARD", mark)).changes
    assert (change.kind, str(change.description)) == (Kind.OPENED, "any -> any")


def test_a_copied_mark() -> None:
    old = _chain("mangle", "PREROUTING", "-j CONNMARK --restore-mark")
    (change,) = _compared(old, _chain("mangle", "PREROUTING")).changes
    assert change.fates() == ("ACCEPT with mark from connmark", "ACCEPT with mark as it came")
    assert change.example.tracked == 1


def test_tracking_and_time_to_live() -> None:
    (change,) = _compared(
        _chain("raw", "PREROUTING", "-i eth0 -j NOTRACK"), _chain("raw", "PREROUTING")
    ).changes
    assert change.fates() == ("ACCEPT with state UNTRACKED", "ACCEPT with state as it came")
    old = _chain("mangle", "FORWARD", "-j TTL --ttl-set 9")
    (change,) = _compared(old, _chain("mangle", "FORWARD")).changes
    assert change.fates() == ("ACCEPT with ttl 0x9", "ACCEPT with ttl as it came")
    assert change.opens  # a packet lives longer than before


def test_a_mark_that_nobody_asks_for_opens_nothing() -> None:
    mark = _chain("mangle", "PREROUTING", "-i eth0 -j MARK --set-xmark 0x1")
    dropping = _forward(policy="DROP")
    assert not _compared(dropping, mark + dropping).opens
    asking = _forward("-m mark --mark 0x1 -j ACCEPT", policy="DROP")
    assert _compared(asking, mark + asking).opens


def test_translations_are_endings() -> None:
    rule = f"{PORTS} 8080 -j DNAT --to-destination 10.0.0.{{}}:80"
    old, new = (_chain("nat", "PREROUTING", rule.format(number)) for number in (2, 3))
    (change,) = _compared(old, new).changes
    assert change.fates() == ("DNAT to 10.0.0.2 port 80", "DNAT to 10.0.0.3 port 80")
    assert change.kind is Kind.TRANSLATED
    assert change.opens  # somebody else is reached
    (change,) = _compared("*nat\nCOMMIT\n", _chain("nat", "POSTROUTING", "-o eth0 -j MASQUERADE")).changes
    assert change.fates() == ("no translation", "MASQUERADE")
    assert not change.opens


# --- the way before and after -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("around", "way"),
    [
        ("", (True, True)),
        (_chain("raw", "PREROUTING", "-d 10.0.0.2/32 -i eth0 -j DROP"), (False, False)),
        (_chain("raw", "PREROUTING", "-d 10.0.0.2/32 -i br-b -j DROP"), (True, True)),
        (_chain("mangle", "FORWARD", "-p tcp -j DROP"), (False, False)),
        (_chain("mangle", "FORWARD", "-p udp -j DROP"), (True, True)),
        (_chain("security", "FORWARD", "-p tcp -j DROP"), (True, False)),
        (_chain("mangle", "POSTROUTING", "-d 10.0.0.0/24 -j DROP"), (True, False)),
        (_chain("mangle", "PREROUTING", "-p tcp -j MARK --set-xmark 0x1")
         + _chain("security", "FORWARD", "-m mark --mark 0x1 -j DROP"), (True, True)),  # in doubt
    ],
)  # fmt: skip
def test_what_other_tables_stop_does_not_open(around: str, way: tuple[bool, bool]) -> None:
    opened = _forward("-i eth0 -d 10.0.0.2/32 -p tcp -j ACCEPT", policy="DROP")
    difference = _compared(_forward(policy="DROP") + around, opened + around)
    (change,) = difference.changes
    assert (change.reaches, change.continues) == way
    assert difference.opens == all(way)


def test_a_dropped_address_is_reached_by_translation() -> None:
    raw = _chain("raw", "PREROUTING", "-d 10.0.0.2/32 -i eth0 -j DROP")
    nat = _chain("nat", "PREROUTING", f"{PORTS} 8080 -j DNAT --to-destination 10.0.0.2:80")
    opened = f"-i eth0 -d 10.0.0.2/32 {PORTS} {{}} -m conntrack --ctstate NEW -j ACCEPT"
    for port, opens in ((80, True), (81, False)):
        new = _forward(opened.format(port), policy="DROP")
        assert _compared(_forward(policy="DROP") + raw + nat, new + raw + nat).opens is opens


def test_publishing_opens_only_what_the_filter_lets_pass() -> None:
    nat = _chain("nat", "PREROUTING", f"-i eth0 {PORTS} 8080 -j DNAT --to-destination 10.0.0.2:80")
    inside = _chain("filter", "INPUT", policy="DROP").replace("COMMIT\n", ":FORWARD DROP [0:0]\nCOMMIT\n")
    assert not _compared(inside, inside + nat).opens
    passing = inside.replace("COMMIT\n", f"-A FORWARD -d 10.0.0.2/32 {PORTS} 80 -j ACCEPT\nCOMMIT\n")
    assert _compared(passing, passing + nat).opens


# --- rulesets of different shape --------------------------------------------------------------------


def test_a_table_that_one_lacks() -> None:
    assert _compared("*nat\nCOMMIT\n", _forward()).is_equivalent
    (change,) = _compared(_forward("-p tcp -j DROP"), "*nat\nCOMMIT\n").changes
    assert (change.kind, change.new.rule) == (Kind.OPENED, "no such chain: everything passes")


def test_whole_chains_come_and_go() -> None:
    plain = Ruleset.parse(ISOLATED)
    bare = plain.with_rule_removed("filter", "FORWARD", 1)
    without = Ruleset("ipv4", (bare.table("filter"),))
    forth, back = _compared(ISOLATED, without.render()), _compared(without.render(), ISOLATED)
    assert [change.kind for change in forth.changes] == [Kind.OPENED] * 2
    assert [change.kind for change in back.changes] == [Kind.CLOSED] * 2
    assert [change.fates()[::-1] for change in back.changes] == [change.fates() for change in forth.changes]


def test_a_jump_to_a_chain_that_is_gone() -> None:
    old = Ruleset.parse(ISOLATED)
    chains = tuple(chain for chain in old.table("filter").chains if chain.name != "STAGE2")
    programs = [compile_rules(each, VIEW) for each in (old, old.with_table(Table("filter", chains)))]
    difference = compare(*programs, sets=_sets(*programs))
    assert {change.kind for change in difference.changes} >= {Kind.OPENED}
    assert difference.unsettled == (("filter", "FORWARD"),)


def test_devices_that_one_host_lacks() -> None:
    larger = HostView("other", (*VIEW.links, Link.of("br-d", "10.0.3.1/24")))
    old = _program(_forward(policy="DROP"))
    new = _program(_forward("-i br-d -j ACCEPT", policy="DROP"), larger)
    (change,) = compare(old, new).changes
    assert change.example.in_interface == "br-d"
    with pytest.raises(DataplaneError, match="do not know br-d"):
        compare(old, new, sets=_sets(old))


def test_two_families_are_not_compared() -> None:
    with pytest.raises(DataplaneError, match="one family"):
        compare(_program(_forward()), compile_rules(Ruleset("ipv6"), VIEW))


def test_a_rule_that_counts_and_moves_down_is_the_same_rule() -> None:
    limited = "-p udp -m limit --limit 5/min -j ACCEPT"
    old, new = _forward(limited, policy="DROP"), _forward(f"{PORTS} 80 -j ACCEPT", limited, policy="DROP")
    (change,) = _compared(old, new).changes
    assert str(change.description) == "any -> any tcp dport 80"
    (change,) = _compared(_forward(policy="DROP"), old).changes
    assert [value for _, value in change.assumed] == [True]


def test_what_is_not_modelled_is_in_doubt() -> None:
    difference = _compared(_forward("-p tcp -j TARPIT"), _forward())
    (change,) = difference.changes
    assert change.kind is Kind.UNKNOWN
    assert change.fates() == ("ACCEPT after -j TARPIT (not modelled)", "ACCEPT")
    assert difference.unsettled == (("filter", "FORWARD"),)
    assert difference.opens
    assert not difference.is_equivalent


def test_a_queue_may_do_either() -> None:
    queued, dropped, passed = (_forward(f"-p tcp -j {name}") for name in ("NFQUEUE", "DROP", "ACCEPT"))
    assert _compared(dropped, queued).opens
    assert _compared(queued, passed).opens
    assert not _compared(passed, queued).opens


def test_sets_that_contradict_single_packets_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PacketSets, "contains", lambda *_: False)
    with pytest.raises(DataplaneError, match="a defect of netverify"):
        _compared(_forward("-p tcp -j DROP"), _forward())


def test_both_families_of_a_host() -> None:
    ipv4, ipv6 = Ruleset.parse(_forward("-p tcp -j DROP")), Ruleset.parse(_forward(), family="ipv6")
    old = replace(VIEW, ipv4=ipv4, ipv6=ipv6)
    new = replace(VIEW, ipv4=ipv4, ipv6=ipv6.with_policy("filter", "FORWARD", "DROP"))
    first, second = compare_hosts(old, new)
    assert (first.version, first.is_equivalent) == (4, True)
    assert (second.version, [change.kind for change in second.changes]) == (6, [Kind.CLOSED])


def test_native_chains_are_compared_at_their_hooks() -> None:
    old, new = (replace(VIEW, nft=NftRuleset.parse(_native(port))) for port in (80, 81))
    difference, _ = compare_hosts(old, new)
    assert [change.kind for change in difference.changes] == [Kind.OPENED, Kind.CLOSED]
    assert [change.example.dport for change in difference.changes] == [81, 80]
    assert all(change.example.in_interface and change.example.out_interface for change in difference.changes)


def _native(port: int) -> str:
    where = {"family": "ip", "table": "own"}
    test = {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": port}
    hook = {"type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}
    items = [
        {"metainfo": {"version": "1.0.6", "release_name": "x", "json_schema_version": 1}},
        {"table": {"family": "ip", "name": "own", "handle": 1}},
        {"chain": {**where, "name": "ways", "handle": 1, **hook}},
        {"rule": {**where, "chain": "ways", "handle": 2, "expr": [{"match": test}, {"accept": None}]}},
    ]
    return json.dumps({"nftables": items})


@settings(max_examples=40, deadline=None)
@given(
    hosts(),
    st.data(),
    st.lists(headers(), min_size=8, max_size=8),
    st.sampled_from(["eth0", "br0", "lo", ""]),
)
def test_what_passes_a_host_now_and_did_not_opens(
    view: HostView, data: st.DataObject, drawn: list[Packet], device: str
) -> None:
    new = view.ipv4
    for _ in range(data.draw(st.integers(1, 2))):
        new = data.draw(edited(new))
    views = view, replace(view, ipv4=new)
    programs = [compile_rules(each.ipv4, each) for each in views]
    difference = compare(*programs, sets=_sets(*programs), most=1000)
    unreached = [change for change in difference.changes if not change.reaches]
    for packet in drawn:
        fates = []
        for side, each in enumerate(views):
            stack = Stack(each)
            sent = stack.receive(packet, device) if device else stack.send(packet)
            fates.append(type(sent) is not Stopped)
            for step in stack.recorder.steps:
                if isinstance(step, RuleStep | PolicyStep) and step.place.chain == step.hook:
                    for change in unreached:
                        if (change.table, change.chain) == (step.place.table, step.hook):
                            assert change.kind is (Kind.CLOSED if side else Kind.OPENED) or not _holds(
                                change, step.packet
                            )
        assert difference.opens or fates != [False, True]


def _holds(change: Change, packet: Packet) -> bool:
    """Whether a class has this packet, as far as its addresses, ports, devices and protocol say."""
    return any(
        all(
            any(low <= getattr(packet, field) <= high for low, high in ranges)
            for field, ranges in part.ranges
        )
        and all(getattr(packet, field) in names for field, names in part.devices)
        for part in change.description.parts
        if not part.and_more and not part.bits and not change.description.more
    )
