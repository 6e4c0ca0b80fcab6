"""What nft prints is read whole, what is written for it is loaded, and tables of iptables are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netverify.ruleset import NftRuleset, Ruleset, split_sources
from tests.ruleset import namespace, samples

SAMPLES = Path(__file__).parent / "nft_samples"


@pytest.fixture
def shell(tmp_path):
    """Runs a script in a namespace that has nft, and returns what it printed."""
    lock = tmp_path / "xtables.lock"
    namespace.need("nft -j list ruleset", "", lock)

    def run(script: str, text: str = "") -> str:
        done = namespace.run(script, text, lock)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", ["docker_bridges", "everything", "firewalld"])
def test_a_dump_of_the_kernel_is_read_whole(shell, name):
    live = NftRuleset.parse(shell("nft -f - && nft -j list ruleset", (SAMPLES / f"{name}.nft").read_text()))
    stored = NftRuleset.parse((SAMPLES / f"{name}.json").read_text())
    # Another version of nft may print the same rules in other words.
    assert live == stored or live.version != stored.version
    assert [place for place, _ in live.rules()] == [place for place, _ in stored.rules()]
    assert NftRuleset.parse(live.render()) == live


@pytest.mark.parametrize("name", ["docker_bridges", "firewalld"])
def test_what_is_written_is_loaded_and_comes_back(shell, name):
    ruleset = NftRuleset.parse((SAMPLES / f"{name}.json").read_text())
    returned = NftRuleset.parse(shell("nft -j -f - && nft -j list ruleset", ruleset.render()))
    assert returned == ruleset or returned.version != ruleset.version


MARK = "#####\n"
BOTH_DUMPS = (
    f"nft -j list ruleset; printf '{MARK}'; iptables-nft-save -c; printf '{MARK}'; ip6tables-nft-save -c"
)


def test_tables_of_iptables_are_read_from_iptables(shell, tmp_path):
    """With one rule of every extension, so that every translation iptables makes is known."""
    for family, sample in (("ipv4", samples.LOADABLE_IPV4), ("ipv6", samples.LOADABLE_IPV6)):
        (tmp_path / family).write_text(samples.ruleset(sample, family).render())
    load = f"iptables-nft-restore < {tmp_path}/ipv4; ip6tables-nft-restore < {tmp_path}/ipv6; nft -f -; "
    native = (SAMPLES / "firewalld.nft").read_text()
    dump, saved, saved6 = shell(load + BOTH_DUMPS, native).split(MARK)
    rulesets = [Ruleset.parse(saved, family="ipv4"), Ruleset.parse(saved6, family="ipv6")]
    sources = split_sources(NftRuleset.parse(dump), rulesets)
    assert sources.foreign == ()
    assert [(table.family, table.name) for table in sources.native.tables] == [("inet", "firewalld")]
    assert sources.iptables == tuple(rulesets)
    assert len(list(sources.iptables[0].rules())) == len(samples.lines(samples.LOADABLE_IPV4))


@pytest.mark.parametrize(
    ("rule", "misread"),
    [
        ("ip saddr { 10.0.0.1, 10.0.0.2 } counter drop", "-A INPUT -j DROP"),
        ("ip saddr 10.0.0.1-10.0.0.9 counter drop", "-A INPUT -s 10.0.0.9/32 -j DROP"),
        ("iifname { lo, eth0 } counter drop", "-A INPUT -j DROP"),
        ("tcp dport { 80, 443 } counter accept", "-A INPUT -p tcp -j ACCEPT"),
    ],
)
def test_a_rule_that_iptables_misreads_is_taken_from_nft(shell, rule, misread):
    """iptables-nft-save 1.8.9 prints these rules of others as if they matched other packets."""
    script = f"iptables-nft -A INPUT -s 1.2.3.4 -j DROP; nft add rule ip filter INPUT {json.dumps(rule)}; "
    dump, saved, saved6 = shell(script + BOTH_DUMPS).split(MARK)
    sources = split_sources(
        NftRuleset.parse(dump), [Ruleset.parse(saved), Ruleset.parse(saved6, family="ipv6")]
    )
    [(place, foreign)] = sources.foreign
    assert str(place) == "ip filter:INPUT:rule:2"
    assert str(foreign).split()[:2] == rule.split()[:2]
    assert [table.name for table in sources.native.tables] == ["filter"]
    assert not sources.iptables[0].tables
    if "v1.8.9" in saved:
        assert misread in saved
