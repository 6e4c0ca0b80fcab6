"""Pairs that are told of others say, to the last word, what they say when they are followed themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.large_host import parts
from netverify.model import matrix, sources
from netverify.model.alike import Alike
from netverify.model.asked import Asked
from netverify.model.matrix import Reach, reach
from netverify.model.subject import Subject
from netverify.model.topologies import subject_of
from netverify.reachability.probe import Probe, icmp, tcp
from netverify.ruleset import Rule, Ruleset
from netverify.topology.load import load

FOLDER = Path(__file__).parents[2] / "fixtures" / "topologies"
PROBES = (tcp(80), tcp(10_000), icmp())


def followed(subject: Subject, probe: Probe) -> Reach:
    """The same with every pair followed by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alike, "recall", lambda *_arguments: None)
        return reach(subject, probe)


def with_rules(subject: Subject, *texts: str, chain: str = "DOCKER-USER", table: str = "filter") -> Subject:
    """The host with rules at the top of a chain."""
    views = list(subject.views)
    place = next(index for index, view in enumerate(views) if view.name == subject.host)
    rules: Ruleset = views[place].ipv4
    known = rules.chain(table, chain)
    new = tuple(Rule.parse(text, chain=chain) for text in texts)
    views[place] = replace(
        views[place], ipv4=rules.with_chain(table, replace(known, rules=(*new, *known.rules)))
    )
    return replace(subject, views=tuple(views))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_documented_topology(path: Path) -> None:
    subject = subject_of(load(path))
    for version in subject.versions():
        for probe in (tcp(80, version=version), icmp(version=version)):
            assert reach(subject, probe).pairs == followed(subject, probe).pairs


@pytest.mark.parametrize("engine", ["20.10.24", "27.5.1", "28.5.1"])
@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_hosts_of_every_generation(engine: str, probe: Probe) -> None:
    subject = sources.snapshot(parts(10, 14, engine))
    found, expected = reach(subject, probe), followed(subject, probe)
    assert found.pairs == expected.pairs
    assert found.matrix == expected.matrix


def test_few_pairs_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = sources.snapshot(parts(10, 40))
    sent = []
    send = matrix.send
    monkeypatch.setattr(matrix, "send", lambda *a, **k: (sent.append(a), send(*a, **k))[1])
    pairs = reach(subject, tcp(80)).pairs
    assert len(pairs) > 1700
    assert len(sent) < len(pairs) / 4


# Parts of rules that single out containers, ports and networks in every way that a rule can.
SINGLED = st.sampled_from(
    [
        *("-s 10.0.1.3/32", "-d 10.0.2.2/32", "! -s 10.0.1.0/24", "-d 10.0.0.0/23", "! -d 10.0.3.2/32"),
        *("-i br-000000000001", "-o br-000000000002", "-i br-+", "! -o docker0", "-p tcp -m tcp --dport 80"),
        *("-p tcp", "-m conntrack --ctstate NEW", "-m conntrack --ctorigsrc 10.0.1.2", "-m mark --mark 0x1"),
        *("-m iprange --src-range 10.0.1.2-10.0.2.3", "-m physdev --physdev-in veth0000003"),
        *("-m physdev --physdev-out veth0000002", "-m mac --mac-source 02:42:0a:00:01:02"),
        *("-m addrtype --dst-type LOCAL", "-m conntrack --ctstate ESTABLISHED"),
        "-m iprange --dst-range 10.0.1.3-10.0.1.9",
    ]
)  # fmt: skip
TARGETS = st.sampled_from(["-j DROP", "-j ACCEPT", "-j REJECT", "-j RETURN", ""])
MARKS = ("-s 10.0.1.2/32 -j MARK --set-xmark 0x1/0xffffffff", "-d 10.0.2.3/32 -j MARK --set-xmark 0x1/0x1")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.lists(SINGLED, min_size=1, max_size=3, unique=True), TARGETS), max_size=4),
    st.booleans(),
    st.sampled_from([tcp(80), icmp()]),
)
def test_rules_by_hand(rules: list[tuple[list[str], str]], marked: bool, probe: Probe) -> None:
    texts = [" ".join([*words, target]) for words, target in rules]
    texts = [text for text in texts if text.count("-s ") < 2 and text.count("-d ") < 2]
    texts = [text for text in texts if text.count("-i ") < 2 and text.count("-o ") < 2]
    texts = [text for text in texts if text.count("-p ") < 2]
    subject = with_rules(sources.snapshot(parts(4, 12)), *(MARKS if marked else ()), *texts)
    assert reach(subject, probe).pairs == followed(subject, probe).pairs


def test_translation_and_what_was_not_collected() -> None:
    whole = parts(6, 18)
    subject = with_rules(
        sources.snapshot(whole),
        "-d 10.0.1.2/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.2.2:80",
        chain="PREROUTING",
        table="nat",
    )
    assert reach(subject, tcp(80)).pairs == followed(subject, tcp(80)).pairs
    texts = {name: text for name, text in whole.texts.items() if name != "nft.json"}
    unknown = sources.snapshot(replace(whole, texts=texts))
    found = reach(unknown, tcp(80))
    assert found.pairs == followed(unknown, tcp(80)).pairs
    assert found.lacks


def test_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told without looking at the tests, a rule about one container is told of all."""
    subject = with_rules(sources.snapshot(parts(4, 12)), "-d 10.0.1.2/32 -j ACCEPT")
    monkeypatch.setattr(Asked, "agree", lambda *_arguments: True)
    assert reach(subject, tcp(80)).pairs != followed(subject, tcp(80)).pairs
