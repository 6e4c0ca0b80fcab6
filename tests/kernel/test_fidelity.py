"""The model judged by the kernel: cases that were wrong once, a fixed seed, a fresh one, planted faults."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netverify.dataplane import answers, hooks, targets
from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.condition import Condition, Within
from netverify.dataplane.connections import Connections
from netverify.dataplane.packet import Packet, State
from netverify.dataplane.rewrite import Untrack
from netverify.dataplane.stack import Stack
from netverify.errors import InputError
from netverify.kernel.firewall import Backend
from netverify.kernel.judge import foretell, site, wire
from netverify.kernel.judge.case import Case, Shot
from netverify.kernel.judge.stand import Stand
from netverify.kernel.judge.verdict import Disagreement, judge, shrink
from netverify.ruleset import Ruleset
from tests.strategies.judged_runs import Tally, campaign

pytestmark = pytest.mark.needs(
    "veth", "AF_PACKET", "iptables", "nft", "IPv6", "br_netfilter", "conntrack netlink"
)

CASES = sorted(Path(__file__).with_name("fidelity_cases").glob("*.json"))
FIXED, PACKETS = 20240, 2000
FRESH = "NETVERIFY_FIDELITY_SEED"
"""Set it to judge what a fresh seed once judged."""


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with Stand() as made:
        yield made


def _said(tallies: list[Tally]) -> str:
    wrong = [str(shrink(kept, Stand)) for tally in tallies for kept in tally.kept[:1]]
    return "\n\n".join([*wrong, *(text for tally in tallies for text in tally.refused)])


def _agrees(stand: Stand, seed: int) -> None:
    tallies = list(campaign(stand, seed, PACKETS))
    assert not _said(tallies)
    assert sum(tally.packets for tally in tallies) > 0.9 * PACKETS
    for tally in tallies:  # and it was worth it: rules matched, packets came out, hardly any was left out
        assert tally.moved > tally.rulesets
        assert tally.sightings > tally.packets / 5
        assert tally.by_chance < tally.packets / 4


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_that_was_wrong(stand: Stand, path: Path) -> None:
    case = Case.from_json(path.read_text())
    assert judge(stand, case) is None, case.why


def test_the_fixed_seed(stand: Stand) -> None:
    _agrees(stand, FIXED)


def test_a_fresh_seed(stand: Stand) -> None:
    seed = int(os.environ.get(FRESH) or secrets.randbelow(1 << 32))
    sys.stdout.write(f"seed {seed}: {FRESH}={seed} judges the same again\n")  # pytest shows it on failure
    _agrees(stand, seed)


# --- the judge can find against the model -------------------------------------------------------------------


def _found(stand: Stand) -> Disagreement:
    """The first disagreement over random rulesets."""

    def enough(tally: Tally) -> bool:
        return bool(tally.kept)

    for tally in campaign(stand, FIXED, 4 * PACKETS, enough=enough):
        if tally.kept:
            return tally.kept[0]
    raise AssertionError("the kernel found nothing wrong with a model that is wrong")


def _nat_before_mangle(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = {
        hook: tuple((table, -160 if table == "nat" and priority < 0 else priority) for table, priority in at)
        for hook, at in hooks.IPTABLES.items()
    }
    monkeypatch.setattr(hooks, "IPTABLES", swapped)
    monkeypatch.setattr(hooks, "NAT_DESTINATION", -160)


def _ranges_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = OnePacket.satisfying

    def satisfying(self: OnePacket, condition: Condition) -> bool:
        if isinstance(condition, Within):
            shorter = tuple((low, high - 1 if high > low else high) for low, high in condition.ranges)
            condition = Within(condition.field, shorter)
        return decide(self, condition)

    monkeypatch.setattr(OnePacket, "satisfying", satisfying)


def _rejections_are_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, words in ((4, "icmp-host-prohibited"), (6, "icmp6-adm-prohibited")):
        monkeypatch.setitem(targets.REJECTIONS[version], words, (3, 0))


def _notrack_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Untrack, "applied", lambda _self, packet: packet)


def _no_connection_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "known", lambda _self, _key: None)
    monkeypatch.setattr(Connections, "enter", _always_new)


def _always_new(_self: Connections, packet: Packet) -> tuple[Packet, None]:
    return packet.with_(state=State.NEW), None


def _ttl_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    route = Stack._in
    monkeypatch.setattr(Stack, "_in", lambda self, packet, device: route(self, packet.with_(ttl=64), device))


def _errors_come_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_speaker", lambda packet, _routing: packet.destination_address)


FAULTS = (
    _nat_before_mangle,
    _ranges_end_early,
    _rejections_are_mixed_up,
    _notrack_forgotten,
    _no_connection_is_remembered,
    _ttl_is_kept,
    _errors_come_from_elsewhere,
)


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_fault_is_found(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    found = _found(stand)
    assert found.differences


def test_a_disagreement_is_cut_down_to_what_it_needs(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    _notrack_forgotten(monkeypatch)
    rules = Ruleset.parse(
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j MARK --set-xmark 0x1/0x1\n"
        "-A PREROUTING -p udp -j NOTRACK\nCOMMIT\n"
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -j ACCEPT\n"
        "-A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT\n-A FORWARD -p icmp -j DROP\nCOMMIT\n"
    )
    mac = site.neighbour_mac("eth0", 3)
    shots = tuple(
        Shot.of(Packet.of("10.1.0.3", "10.2.0.5", protocol, mac=mac), "eth0")
        for protocol in ("tcp", "icmp", "udp", "tcp")
    )
    found = judge(stand, Case(rules, shots, Backend.NFT))
    assert found is not None
    smallest = shrink(found, Stand).case
    assert [shot.packet.protocol for shot in smallest.shots] == [17]
    assert [rule.render() for _, rule in smallest.rules.rules()] == ["-A PREROUTING -p udp -j NOTRACK"]


# --- what is written down and read again --------------------------------------------------------------------


def test_a_case_survives_being_written() -> None:
    packet = Packet.of("10.1.0.3", "10.2.0.5", "icmp", mac=2, ttl=9, tos=8)
    about = Packet.of("10.2.0.5", "10.1.0.3", "tcp", dport=80).tuple
    shots = (
        Shot.of(packet, "p1", "p2"),
        Shot.of(packet.with_(icmp_type=3, icmp_code=1, sport=0, embedded=about, mac=None)),
    )
    rules = Ruleset.parse("*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n", family="ipv4")
    case = Case(rules, shots, Backend.LEGACY, {"net.ipv4.ip_forward": "0"}, "why not")
    assert Case.from_json(case.as_json()) == case


@pytest.mark.parametrize("text", ["", "{}", '{"rules": []}', "[1]"])
def test_what_is_no_case_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is no case"):
        Case.from_json(text)


@pytest.mark.parametrize("version", [4, 6])
def test_packets_survive_the_wire(version: int) -> None:
    ends = ("10.1.0.3", "10.2.0.5") if version == 4 else ("fd00:1::3", "fd00:2::5")
    for protocol in ("tcp", "udp", "icmp", "sctp", 47, 200):
        shot = Shot.of(Packet.of(*ends, protocol, ttl=7, tos=8))
        assert wire.decode(wire.encode(shot.packet, 42)) == (shot.packet, 42)


def test_a_packet_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="shorter"):
        Shot(Packet.of("10.1.0.3", "10.2.0.5", "udp", length=20), "eth0")


def test_nobody_sends_by_a_device_without_a_cable() -> None:
    with pytest.raises(InputError, match="no cable"):
        Shot.of(Packet.of("10.1.0.3", "10.2.0.5", "udp"), "br0")


def test_two_connections_with_one_reply_are_left_to_chance() -> None:
    rules = Ruleset.parse("*nat\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n", family="ipv4")
    told = foretell.Foretelling(foretell.model(rules, {}, Backend.NFT))
    for source in ("10.1.0.3", "10.1.0.4"):
        shot = Shot.of(Packet.of(source, "10.2.0.5", "udp"), "eth0")
        if source == "10.1.0.3":
            assert told.fire(shot)
            continue
        with pytest.raises(foretell.ByChance, match="same reply"):
            told.fire(shot)
