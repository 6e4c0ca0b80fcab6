"""`netverify audit`: a host's snapshot in, findings out, in every format."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.audit.checks.test_published import published_on
from tests.audit.hosts import document
from tests.commands.asking import netverify, refused, snapshot_in
from tests.host.samples import INFO, TEXTS, without

HOLE = "engine-with-known-hole"


def host(folder: Path, version: str = "19.03.5", **changed: str) -> str:
    """A snapshot whose engine is of that version."""
    info = {"docker-info.json": json.dumps(INFO | {"ServerVersion": version})}
    return snapshot_in(folder, TEXTS | info | changed)


def test_findings_are_exit_code_1_and_the_threshold_is_kept(tmp_path: Path) -> None:
    where = host(tmp_path)
    done = netverify("audit", where)
    assert done.returncode == 1, done.stderr
    assert "CVE-2020-13401" in done.stdout
    assert "upgrade Docker to 19.03.11 or later" in done.stdout
    assert netverify("audit", where, "--fail-on", "critical").returncode == 0


def test_json_sarif_html_and_junit_say_the_same(tmp_path: Path) -> None:
    where = host(tmp_path)
    found = json.loads(netverify("audit", where, "--format", "json").stdout)["findings"]
    assert "CVE-2020-13401" in {each["subject"] for each in found}
    log = json.loads(netverify("audit", where, "--format", "sarif").stdout)
    assert len(log["runs"][0]["results"]) == len(found)
    suite = ET.fromstring(netverify("audit", where, "--format", "junit").stdout)
    failed = [case.get("name", "") for case in suite if case.find("failure") is not None]
    assert any(name.startswith(HOLE) for name in failed)
    target = tmp_path / "page.html"
    assert netverify("audit", where, "--format", "html", "-o", str(target)).returncode == 1
    assert target.read_text().count("<article") == len(found)


def test_what_was_not_collected_is_unknown_and_never_fine(tmp_path: Path) -> None:
    where = snapshot_in(tmp_path, without("docker-info.json"))
    done = netverify("audit", where, "--format", "json", "--fail-on", "critical")
    found = {each["id"]: each for each in json.loads(done.stdout)["findings"]}
    assert found[HOLE]["unknown"].startswith("not collected: docker-info.json")
    assert done.returncode == 3


def test_accepted_findings_do_not_count_until_they_expire(tmp_path: Path) -> None:
    where = host(tmp_path / "host")
    every = json.loads(netverify("audit", where, "--format", "json").stdout)["findings"]
    entries = [
        f"  - {{id: {identity}, reason: known, expires: {day}}}"
        for identity in sorted({each["id"] for each in every})
        for day in ("2999-01-01",)
    ]
    accepted = tmp_path / "accepted.yaml"
    accepted.write_text("\n".join(["accepted:", *entries, ""]))
    done = netverify("audit", where, "--accept", str(accepted))
    assert done.returncode == 0, done.stdout
    assert "until 2999-01-01: known" in done.stdout
    accepted.write_text(accepted.read_text().replace("2999", "2001"))
    done = netverify("audit", where, "--accept", str(accepted))
    assert done.returncode == 1
    assert "expired on 2001-01-01" in done.stdout


def test_a_policy_is_drafted_and_checked(tmp_path: Path) -> None:
    where = host(tmp_path / "host", "28.5.2")
    drafted = tmp_path / "policy.yaml"
    assert netverify("audit", where, "--write-policy", str(drafted)).returncode == 0
    assert "everything else deny" in drafted.read_text()
    before = netverify("audit", where, "--format", "json", "--policy", str(drafted))
    assert not [each for each in json.loads(before.stdout)["findings"] if each["id"].startswith("policy")]
    drafted.write_text("rules:\n  - internet -> web deny\n")
    after = netverify("audit", where, "--format", "json", "--policy", str(drafted))
    assert "policy-violated" in {each["id"] for each in json.loads(after.stdout)["findings"]}
    drafted.write_text("rules:\n  - internet -> web tcp/99999 allow\n")
    assert "policy.yaml" in refused(netverify("audit", where, "--policy", str(drafted)))


@pytest.mark.needs("iptables-legacy")
def test_findings_are_confirmed_by_a_twin(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps(document(published_on("127.0.0.1", "26.1.4"))))
    done = netverify("audit", str(tmp_path / "host.json"), "--twin", "--format", "json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["findings"]
    shown = [each for each in found if each["evidence"] is not None]
    assert "loopback-publication-reachable" in {each["id"] for each in shown}
    assert {each["confirmation"] for each in shown} == {"confirmed"}
    assert done.stderr == ""


def test_what_is_looked_for() -> None:
    done = netverify("audit", "--list")
    assert done.returncode == 0
    assert any(line.split()[:2] == [HOLE, "medium"] for line in done.stdout.splitlines())
    assert "looks at no host" in refused(netverify("audit", "--list", "host.json"))


def test_bad_input(tmp_path: Path) -> None:
    damaged = tmp_path / "host.json"
    damaged.write_text('{"format": "netverify host snapshot", "version": 1, "parts": {')
    assert "host.json:1:" in refused(netverify("audit", str(damaged)))
    assert "addr.json" in refused(netverify("audit", snapshot_in(tmp_path, without("addr.json"))), 3)
    assert "expected WHERE" in refused(netverify("audit"))


def test_hostile_names_reach_no_terminal_and_no_page(tmp_path: Path) -> None:
    evil = "\x1b[31m<script>alert(1)</script>"
    networks = json.loads(TEXTS["docker-networks.json"])
    networks[0] |= {"Name": evil, "Internal": True}
    where = host(tmp_path, **{"docker-networks.json": json.dumps(networks)})
    for form in ("text", "html", "junit", "sarif", "json"):
        done = netverify("audit", where, "--format", form)
        assert done.returncode in (0, 1), done.stderr
        assert "\x1b" not in done.stdout
        assert "<script" not in done.stdout or form in ("text", "json", "sarif")
