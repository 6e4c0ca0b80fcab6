"""Rulesets in files: several to a file, each under a line `# TITLE`; no counters."""

from __future__ import annotations

import re
from pathlib import Path

from netverify.ruleset import Ruleset

GOLDEN = Path(__file__).parent.parent / "golden" / "docker"


def saved_text(rulesets: dict[str, Ruleset]) -> str:
    """The rulesets as the text of a golden file."""
    sections = (f"# {title}\n{ruleset.render()}" for title, ruleset in rulesets.items())
    return re.sub(r"^(:.*) \[0:0\]$", r"\1", "".join(sections), flags=re.MULTILINE)


def saved(name: str) -> dict[str, Ruleset]:
    """The rulesets of a golden file by title. Their titles name the family: "started ipv6"."""
    sections = re.split(r"^# (.*)\n", (GOLDEN / f"{name}.rules").read_text(), flags=re.MULTILINE)
    pairs = zip(sections[1::2], sections[2::2], strict=True)
    return {title: Ruleset.parse(text, family="ipv6" if "ipv6" in title else "ipv4") for title, text in pairs}


def chains(ruleset: Ruleset) -> dict[tuple[str, str], list[str]]:
    """Every chain's policy and rules as text, by table and name: what a failed test can show readably."""
    return {
        (table.name, chain.name): [f"policy {chain.policy}", *map(str, chain.rules)]
        for table in ruleset.tables
        for chain in table.chains
    }
