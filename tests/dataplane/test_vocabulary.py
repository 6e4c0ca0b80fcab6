"""What rulesets of real hosts use: each entry is modelled exactly or is a named unknown; none is missing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from netverify.dataplane.condition import Condition, Unknown, all_of, unknowns
from netverify.dataplane.matches import MEANINGS, WHOLE, Context, compile_match
from netverify.dataplane.targets import TARGETS, Nat, compile_target
from netverify.dataplane.translation import choose
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Option, Rule
from netverify.ruleset.vocabulary import MATCHES
from netverify.ruleset.vocabulary import TARGETS as KNOWN_TARGETS
from tests.strategies.dataplane import HOST

KNOWN = HostView(HOST.name, HOST.links, sets={"known": (ip_network("10.0.0.0/8"),)})


@dataclass(frozen=True)
class Entry:
    """One row: what is used, on how many hosts (None where that was not counted), and an example."""

    subject: str
    name: str
    option: str
    hosts: int | None
    model: str
    version: int
    rule: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.subject, self.name, self.option) if part)


def _entries() -> list[Entry]:
    text = Path(__file__).with_name("vocabulary.tsv").read_text()
    rows = csv.DictReader(
        (line for line in text.splitlines() if not line.startswith("#")),
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
    return [
        Entry(
            row["class"], row["name"], row["option"], None if row["hosts"] == "?" else int(row["hosts"]),
            row["model"], int(row["version"]), row["rule"],
        )
        for row in rows
    ]  # fmt: skip


ENTRIES = _entries()
UNKNOWN_ON_SEVERAL_HOSTS = {"limit", "hashlimit", "connlimit", "recent", "CT"}
"""What more than one host uses and no model of packets can decide: counts, times, and a helper's doing."""


def _condition(rule: Rule, version: int) -> Condition:
    context = Context(version, KNOWN, "host: filter:X:rule:1")
    return all_of(compile_match(match, context) for match in rule.matches)


def _made_of(rule: Rule, version: int) -> tuple[str, set[str]]:
    """exact, unknown or choice, and the names of the unknowns."""
    names = {each.name for each in unknowns(_condition(rule, version))}
    if rule.target is not None and rule.target.name != "USER":
        effect = compile_target(rule.target, version)
        names |= {effect.not_modelled} - {""}
        if isinstance(effect.ending, Nat):
            of_source = effect.ending.kind.value in ("SNAT", "MASQUERADE")
            choice = choose(effect.ending, of_source=of_source, protocol=6, old=0x0A000009, port=80, to=1)
            if not choice.exact:
                return "choice", names
    return ("unknown" if names else "exact"), names


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_an_entry_is_exact_or_a_named_unknown(entry: Entry) -> None:
    rule = Rule.parse(entry.rule, chain="X")
    model, names = _made_of(rule, entry.version)
    assert model == entry.model, names
    if model == "unknown":
        words = (entry.name, entry.option.removesuffix(" (negated)"))
        assert any(word in name for name in names for word in words if word)


def test_what_several_hosts_use_is_exact_unless_nobody_could_know() -> None:
    several = [entry for entry in ENTRIES if entry.hosts is None or entry.hosts > 1]
    assert len(several) > 90
    assert {entry.name for entry in several if entry.model == "unknown"} <= UNKNOWN_ON_SEVERAL_HOSTS


def test_every_option_of_every_extension_means_something() -> None:
    """Of an option that has no meaning here, or whose value has none, an unknown speaks by its name."""
    context = Context(4, KNOWN, "host: filter:X:rule:1")
    silent = []
    for extension, spellings in MATCHES.items():
        for option in {spec.name: spec for spec in spellings.values()}.values():
            match = Match(extension, (Option(option.name, ("strange",) * option.arity),))
            named = {each.name for each in unknowns(compile_match(match, context))}
            modelled = (extension, option.name) in MEANINGS or extension in WHOLE
            if not modelled and not any(f"--{option.name}" in name for name in named):
                silent.append((extension, option.name))
            if modelled and option.arity and not named and (extension, option.name) not in ALWAYS_THE_SAME:
                silent.append((extension, option.name))
    assert not silent


ALWAYS_THE_SAME = {
    ("comment", "comment"), ("physdev", "physdev-in"), ("physdev", "physdev-out"),
    *(("rt", name) for name in ("rt-type", "rt-segsleft", "rt-len", "rt-0-addrs")),
}  # fmt: skip
"""Options that take any word, or whose match never holds here."""


@pytest.mark.parametrize("extension", sorted(MATCHES))
def test_an_option_that_nobody_knows_is_an_unknown(extension: str) -> None:
    context = Context(4, KNOWN, "host: filter:X:rule:1")
    condition = compile_match(Match(extension, (Option("surprise", ("1",)),)), context)
    assert any("--surprise 1" in each.name for each in unknowns(condition))


def test_an_extension_that_nobody_knows_is_an_unknown() -> None:
    condition = compile_match(Rule.parse("-m nonsense --level 3", chain="X").matches[0], Context(4, KNOWN))
    assert condition == Unknown("-m nonsense --level 3")


def test_every_target_is_known_or_said() -> None:
    assert set(KNOWN_TARGETS) <= set(TARGETS)
    target = Rule.parse("-j NONSENSE --level 3", chain="X").target
    assert target is not None
    assert compile_target(target, 4).not_modelled == "target NONSENSE"
