"""What is called at each hook, and in which order."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netverify.dataplane.connections import DESTINATION, SOURCE
from netverify.dataplane.hooks import HOOKS, Filters, StageKind, not_modelled, stages
from netverify.dataplane.packet import Packet
from netverify.dataplane.stack import Bridged, Sent, Stack, Stopped
from netverify.dataplane.view import DEFAULT_RULES, HostView, Link, Route, RoutingRule
from netverify.ruleset import Hook, NftChain, NftRuleset, NftTable, RulePlace, Ruleset
from netverify.ruleset.nft_statements import Assignment
from tests.dataplane.nft_rules import ACCEPT, DROP, LINKS, MARK, SYSCTLS, base, equal, host, rule, table

IPTABLES = Ruleset.parse(
    "".join(
        f"*{name}\n{''.join(f':{chain} ACCEPT' + chr(10) for chain in chains)}COMMIT\n"
        for name, chains in {
            "raw": ("PREROUTING", "OUTPUT"),
            "mangle": HOOKS,
            "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
            "filter": ("INPUT", "FORWARD", "OUTPUT"),
        }.items()
    )
)


def shown(filters: Filters, hook: str) -> list[str]:
    return [
        " ".join(f"{call.table}/{call.chain}" for call in stage.calls) or stage.kind.value
        for stage in filters.stages(hook)
    ]


def test_native_chains_stand_among_the_tables_of_iptables() -> None:
    native = table(
        base("raw", "prerouting", -300, rule(ACCEPT)),
        base("late", "prerouting", -90, rule(ACCEPT)),
        base("dnat", "prerouting", -120, rule(ACCEPT), kind="nat"),
        base("early", "prerouting", -199, rule(ACCEPT)),
    )
    filters = Filters.of(host(native, ipv4=IPTABLES), 4)
    assert shown(filters, "PREROUTING") == [
        "inet t/raw",
        "raw/PREROUTING",
        "conntrack",
        "inet t/early",
        "mangle/PREROUTING",
        "inet t/dnat nat/PREROUTING",  # one stage, at -100; the chains by their own priorities
        "inet t/late",
    ]
    assert stages({4: filters}, 4, "FORWARD") == filters.stages("FORWARD")


def test_of_equal_priorities_the_last_registered_is_called_first() -> None:
    native = table(base("first", "forward", 0, rule(ACCEPT)), base("second", "forward", 0, rule(ACCEPT)))
    later = table(base("third", "forward", 0, rule(ACCEPT)), name="later", family="ip")
    filters = Filters.of(host(native, later), 4)
    assert shown(filters, "FORWARD") == ["ip later/third", "inet t/second", "inet t/first"]
    assert shown(Filters.of(host(native, later), 6), "FORWARD") == ["inet t/second", "inet t/first"]


def test_translation_is_a_stage_of_its_own_where_nobody_asks_for_any() -> None:
    filters = Filters.of(HostView("bare"), 4)
    halves = {
        hook: [stage.half for stage in filters.stages(hook) if stage.kind is StageKind.NAT] for hook in HOOKS
    }
    assert halves == {
        "PREROUTING": [DESTINATION],
        "INPUT": [SOURCE],
        "FORWARD": [],
        "OUTPUT": [DESTINATION],
        "POSTROUTING": [SOURCE],
    }


def test_rules_of_both_backends_are_told_apart() -> None:
    dropping = Ruleset.parse("*filter\n:FORWARD ACCEPT\n-A FORWARD -p udp -j DROP\nCOMMIT\n")
    view = host(ipv4=IPTABLES, legacy=(dropping,))
    stack = Stack(view)
    fate = stack.receive(Packet.of("10.1.0.2", "10.2.0.2", "udp", dport=53), "eth0")
    assert isinstance(fate, Stopped)
    assert fate.place == RulePlace("legacy filter", "FORWARD", 1)


def test_a_sender_whose_ethernet_address_nobody_knows_may_be_whom_a_rule_names() -> None:
    rules = "-A FORWARD -m mac --mac-source 02:00:00:00:00:09 -j DROP\n"
    view = host(ipv4=Ruleset.parse(f"*filter\n:FORWARD ACCEPT\n{rules}COMMIT\n"))
    stack = Stack(view, on_wire=True)
    packet = Packet.of("10.1.0.2", "10.2.0.2", "udp", dport=53)
    name = "what comes in by eth0 is from 02:00:00:00:00:09"
    assert isinstance(stack.receive(packet, "eth0"), Sent)
    assert dict(stack.recorder.assumed) == {name: False}
    stack.assume = {name: True}
    assert isinstance(stack.receive(packet, "eth0"), Stopped)
    for mac, fate in ((0x020000000009, Stopped), (0x020000000008, Sent)):
        known = Stack(view, on_wire=True)
        assert isinstance(known.receive(packet.with_(mac=mac), "eth0"), fate)
        assert not known.recorder.assumed


def output(kind: str, mark: int = 0x10) -> Stack:
    """A host whose marked packets go out by the other card."""
    view = host(table(base("marking", "output", -150, rule(Assignment(MARK, mark)), kind=kind)))
    ways = (
        Route(ip_network("10.9.0.0/16"), ip_address("10.1.0.9"), "eth0"),
        Route(ip_network("10.9.0.0/16"), ip_address("10.2.0.9"), "eth1", table=100),
    )
    marked = RoutingRule(100, 100, mark=0x10, mark_mask=0x10)
    return Stack(replace(view, routes=(*view.routes, *ways), routing_rules=(*DEFAULT_RULES, marked)))


@pytest.mark.parametrize(("kind", "device"), [("route", "eth1"), ("filter", "eth0")])
def test_only_chains_of_type_route_have_a_packet_routed_again(kind: str, device: str) -> None:
    fate = output(kind).send(Packet.of("10.1.0.1", "10.9.0.1", "udp", dport=53))
    assert isinstance(fate, Sent)
    assert fate.device == device


def test_later_chains_of_output_still_see_the_old_device() -> None:
    stack = output("route")
    (chain,) = stack.view.nft.tables[0].chains
    seen = base("seen", "output", 0, rule(equal(MARK, 0x10), ACCEPT))
    stack = Stack(replace(stack.view, nft=NftRuleset((table(chain, seen),))))
    stack.send(Packet.of("10.1.0.1", "10.9.0.1", "udp", dport=53))
    devices = [
        step.packet.out_interface
        for step in stack.recorder.steps
        if getattr(step, "place", None) and step.place.chain == "seen"
    ]
    assert set(devices) == {"eth0"}


BRIDGED = HostView(
    "host",
    (
        *LINKS,
        Link.of("br0", "10.3.0.1/24", is_bridge=True),
        Link("p1", master="br0"),
        Link("p2", master="br0"),
    ),
    sysctls=SYSCTLS,
    nft=NftRuleset(
        (
            NftTable("bridge", "b", (NftChain("forward", Hook("filter", "forward", 0, "drop")),)),
            NftTable("netdev", "n", (NftChain("in", Hook("filter", "ingress", 0, "accept"), (rule(DROP),)),)),
        )
    ),
)


def test_families_that_are_not_modelled_are_said_to_be_unknown() -> None:
    assert [words.partition(" (")[0] for words in not_modelled(BRIDGED)] == [
        "bridge b forward",
        "netdev n in",
    ]
    frame = Packet.of("10.3.0.2", "10.3.0.3", "udp", dport=53)
    stack = Stack(BRIDGED)
    assert isinstance(stack.bridge(frame, "br0", "p1", "p2"), Bridged)
    names = list(stack.recorder.assumed)
    assert names == [
        "chain netdev n in of host host lets it pass",
        "chain bridge b forward of host host lets it pass",
    ]
    for name in names:
        stack = Stack(BRIDGED)
        stack.assume = {name: False}
        fate = stack.bridge(frame, "br0", "p1", "p2")
        assert isinstance(fate, Stopped)
        assert name in fate.reason
