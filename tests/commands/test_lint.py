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


def _nft(path: Path, *rules: str) -> str:
    """A native ruleset of rules `FAMILY CHAIN EXPRESSIONS`; the chain `c` is at input, nobody calls `own`."""
    families = dict.fromkeys(rule.split(" ", 1)[0] for rule in rules)
    members: list[dict[str, object]] = []
    for family in families:
        where = {"family": family, "table": "t"}
        hook = {"type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
        members += [
            {"table": {"family": family, "name": "t"}},
            {"chain": where | {"name": "c"} | hook},
            {"chain": where | {"name": "own"}},
        ]
    for rule in rules:
        family, chain, expressions = rule.split(" ", 2)
        members.append(
            {"rule": {"family": family, "table": "t", "chain": chain, "expr": json.loads(expressions)}}
        )
    path.write_text(json.dumps({"nftables": members}))
    return str(path)


def _test(protocol: str, field: str, right: object) -> str:
    left = {"payload": {"protocol": protocol, "field": field}}
    return json.dumps({"match": {"op": "==", "left": left, "right": right}})


def test_native_rules_of_nftables(tmp_path: Path) -> None:
    http = _test("tcp", "dport", 80)
    where = _nft(
        tmp_path / "nft.json",
        f'inet c [{http}, {{"counter": {{"packets": 1, "bytes": 1}}}}, {{"drop": null}}]',
        f'inet c [{_test("ip", "saddr", "192.0.2.9")}, {http}, {{"accept": null}}]',
        f'inet c [{_test("ip6", "saddr", "2001:db8::9")}, {{"accept": null}}]',
        f'inet c [{_test("ip", "saddr", "192.0.2.9")}, {{"accept": null}}]',
        'inet own [{"drop": null}]',
        f'ip c [{http}, {{"drop": null}}]',
        f'ip c [{http}, {{"accept": null}}]',
    )
    done = netverify("lint", where, "--json")
    found = {
        (f["family"], f["table"], f["chain"], f["number"], f["kind"])
        for f in json.loads(done.stdout)["findings"]
    }
    assert found == {
        (None, "inet t", "c", 2, "shadowed"),  # and not 3 and 4, which are of one IP version each
        (None, "inet t", "own", 0, "unreached-chain"),
        (4, "ip t", "c", 2, "shadowed"),  # and not the chain `own`, which has no rules
    }
    shown = netverify("lint", where)
    assert shown.returncode == 1
    assert "host, IPv4 and IPv6\n  shadowed  inet t c rule 2\n" in shown.stdout


def test_native_rulesets_of_docker_and_firewalld() -> None:
    """A map of chains leads to them, and POSTROUTING knows where a forwarded packet came in."""
    samples = "tests/ruleset/nft_samples"
    docker = netverify("lint", f"{samples}/docker_bridges.json")
    assert docker.returncode == 0, docker.stdout
    firewalld = netverify("lint", f"{samples}/firewalld.json", "--json")
    found = [(f["chain"], f["number"], f["kind"]) for f in json.loads(firewalld.stdout)["findings"]]
    assert found == [("filter_FORWARD", 3, "impossible")]  # nothing that lo brings is forwarded


def test_legacy_rules_beside_nft(tmp_path: Path) -> None:
    own = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP\n{}COMMIT\n"
    legacy = own.format("-A INPUT -p udp -m udp --dport 53 -j ACCEPT\n")
    rules = {"iptables-save.txt": own.format(""), "iptables-legacy-save.txt": legacy}
    done = netverify("lint", snapshot_in(tmp_path, without(**rules)), "--json")
    found = [(f["table"], f["chain"], f["number"], f["kind"]) for f in json.loads(done.stdout)["findings"]]
    assert ("legacy filter", "INPUT", 2, "shadowed") in found
