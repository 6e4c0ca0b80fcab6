"""`netverify collect`: this host in a file, and other files as one."""

from __future__ import annotations

import json
from pathlib import Path

from netverify.host import read_folder, read_json, read_snapshot
from tests.commands.asking import netverify, refused, snapshot_in
from tests.host.samples import without


def test_this_host_in_a_file_can_be_asked(tmp_path: Path) -> None:
    """The process is in a sandbox of its own here, so it is an empty host that is collected."""
    file = tmp_path / "host.json"
    done = netverify("collect", "-o", str(file))
    assert done.stdout == ""
    assert done.returncode in (0, 3)  # 3 where this machine lacks one of the tools, which is then said
    assert (done.returncode == 3) == any(
        f"netverify: {part} " in done.stderr for part in ("nft.json", "addr.json")
    )
    snapshot = read_snapshot(read_json(file.read_text(), "host.json"))
    assert [device.name for device in snapshot.devices][:1] == ["lo"]


def test_a_folder_becomes_a_file(tmp_path: Path) -> None:
    folder = snapshot_in(tmp_path / "snapshot")
    done = netverify("collect", "--from", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_snapshot(read_json(done.stdout, "-")) == read_snapshot(read_folder(folder))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = snapshot_in(
        tmp_path, without("nft.json") | {"meta.json": json.dumps({"missing": {"nft.json": "no nft"}})}
    )
    done = netverify("collect", "--from", folder, "-o", str(tmp_path / "host.json"))
    assert done.returncode == 3
    assert done.stderr == "netverify: nft.json was not collected: no nft\n"
    assert read_json((tmp_path / "host.json").read_text(), "-").missing == {"nft.json": "no nft"}


def test_a_dry_run_runs_nothing() -> None:
    done = netverify("collect", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nft -j list ruleset\n" in done.stdout


def test_mistakes(tmp_path: Path) -> None:
    assert "no part of a snapshot is in it" in refused(netverify("collect", "--from", str(tmp_path)))
    folder = snapshot_in(tmp_path / "snapshot")
    nowhere = str(tmp_path / "nowhere" / "host.json")
    assert "cannot be written: No such file or directory" in refused(
        netverify("collect", "--from", folder, "-o", nowhere)
    )
