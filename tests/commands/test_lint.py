"""`netverify lint`: findings, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.commands.asking import EDITED, RULES, netverify, refused, snapshot_in
from tests.host.samples import without

Golden = Callable[[str, str], None]


def test_findings(golden: Golden) -> None:
    done = netverify("lint", EDITED)
    assert (done.returncode, done.stderr) == (1, "")
    golden("commands/lint-findings.txt", done.stdout)


def test_nothing_to_find() -> None:
    done = netverify("lint", RULES)
    assert done.returncode == 0, done.stdout
    assert "nothing found" in done.stdout


def test_json() -> None:
    done = netverify("lint", EDITED, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    assert "pre-dnat-port" in {finding["kind"] for finding in found}
    assert {(finding["chain"], finding["number"]) for finding in found} == {
        ("DOCKER-USER", 2),
        ("DOCKER-USER", 4),
    }


def test_where_rules_are_missing_there_may_be_more(tmp_path: Path) -> None:
    done = netverify("lint", snapshot_in(tmp_path, without("nft.json")))
    assert done.returncode == 3, done.stdout
    assert "Unknown, so that there may be more" in done.stdout


def test_hostile_words_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    comment = '-m comment --comment "\x1b]0;owned\x07 <b>"'
    shadowed = f"-A INPUT -p tcp -m tcp --dport 80 {comment} -j ACCEPT"
    rules.write_text(f"*filter\n:INPUT ACCEPT\n-A INPUT -p tcp -j DROP\n{shadowed}\nCOMMIT\n")
    done = netverify("lint", str(rules))
    assert done.returncode == 1, done.stderr
    assert "\x1b" not in done.stdout
    assert "\\x1b]0;owned\\x07" in done.stdout
    as_json = netverify("lint", str(rules), "--json")
    assert "\x1b" not in as_json.stdout


def test_a_damaged_dump_has_line_and_column(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT --dport\x1b[2J 80 -j\nCOMMIT\n")
    said = refused(netverify("lint", str(rules)))
    assert said.startswith(f"netverify: {rules}:3:")
