"""`netverify collect`: this host in a file, and other files as one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

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


def test_a_snapshot_made_by_others_loses_its_secrets(tmp_path: Path) -> None:
    """The sample has an environment variable in it, as `docker inspect` prints it."""
    folder = snapshot_in(tmp_path / "snapshot")
    assert "PASSWORD" in (tmp_path / "snapshot" / "docker-containers.json").read_text()
    assert "PASSWORD" not in netverify("collect", "--from", folder).stdout


def test_the_script_makes_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "collect.sh").write_text(netverify("collect", "--print-script").stdout)
    command = ["sh", str(tmp_path / "collect.sh"), str(tmp_path / "host.tar")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    snapshot = read_snapshot(read_json(netverify("collect", "--from", command[-1]).stdout, "host.json"))
    assert [device.name for device in snapshot.devices][:1] == ["lo"]


def test_the_schema_fits_what_is_written(tmp_path: Path) -> None:
    schema = json.loads(netverify("collect", "--schema").stdout)
    written = json.loads(netverify("collect", "--from", snapshot_in(tmp_path / "snapshot")).stdout)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(written)] == []


def test_redacted(tmp_path: Path) -> None:
    folder = snapshot_in(tmp_path / "snapshot")
    first, second, third, fourth = (
        netverify("collect", "--from", folder, "--redact", *salt).stdout
        for salt in ((), (), ("--salt", "pepper"), ("--salt", "pepper"))
    )
    assert first != second
    assert third == fourth
    for text in (first, third):
        assert '"web' not in text
        assert "pepper" not in text
        (container,) = read_snapshot(read_json(text, "-")).containers
        assert container.name.startswith("container-")
    assert "what --redact draws names from" in refused(netverify("collect", "--salt", "x"))
    assert "what --redact draws names from" in refused(netverify("collect", "--redact", "--salt", ""))


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `ssh` that runs the command here, unless the host is called gone."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ssh"
    program.write_text(
        "#!/bin/sh\nfor word; do host=$command; command=$word; done\n"
        '[ "$host" != gone ] || { printf "ssh: no route to \\033[31mgone\\n" >&2; exit 255; }\n'
        'exec sh -c "$command"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_other_hosts(ssh: None, tmp_path: Path) -> None:
    """One that cannot be reached is named, and does not stop the others."""
    folder = tmp_path / "new" / "snapshots"
    hosts = [word for url in ("ssh://root@web-7", "ssh://gone", "local://") for word in ("--host", url)]
    done = netverify("collect", *hosts, "-o", str(folder), "-j", "2")
    assert (done.returncode, done.stdout) == (3, "")
    progress = [line for line in done.stderr.splitlines() if line.startswith("netverify: [")]
    assert [line.split()[1] for line in progress] == ["[1/3]", "[2/3]", "[3/3]"]
    lines = {line.split()[2].rstrip(":"): line for line in progress}
    assert lines["ssh://gone"].endswith(": unreachable: ssh: no route to \\x1b[31mgone")
    assert lines["ssh://root@web-7"].endswith(f"parts -> {folder}/web-7.json")
    files = sorted(folder.iterdir())
    assert len(files) == 2
    for file in files:
        parts = read_json(file.read_text(), file.name)
        assert [device.name for device in read_snapshot(parts).devices][:1] == ["lo"]
        for part, reason in parts.missing.items():
            assert f": {part} was not collected: {reason}\n" in done.stderr


def test_one_other_host(ssh: None, tmp_path: Path) -> None:
    """It goes to a file or to standard output, and into a folder that is there."""
    printed = netverify("collect", "--host", "ssh://web-7")
    assert read_snapshot(read_json(printed.stdout, "-")).devices
    netverify("collect", "--host", "ssh://web-7", "-o", str(tmp_path / "one.json"), "--redact")
    assert read_json((tmp_path / "one.json").read_text(), "-").name.startswith("host-")
    netverify("collect", "--host", "ssh://web-7", "-o", str(tmp_path))
    assert (tmp_path / "web-7.json").exists()
    gone = netverify("collect", "--host", "ssh://gone", "-o", str(tmp_path / "gone.json"))
    assert gone.returncode == 3
    assert not (tmp_path / "gone.json").exists()


def test_damage_is_named(tmp_path: Path) -> None:
    folder = snapshot_in(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "addr.json").write_text('[{"ifname": "e')
    for options in ((), ("--redact",)):
        done = netverify("collect", "--from", folder, "-o", str(tmp_path / "host.json"), *options)
        assert "addr.json:1:13: damaged JSON: found '\"e'" in refused(done)
    assert not (tmp_path / "host.json").exists()


def test_mistakes_about_other_hosts(ssh: None, tmp_path: Path) -> None:
    assert "is no URL" in refused(netverify("collect", "--host", "web-7"))
    both = ("--host", "ssh://web-7", "--host", "ssh://web-8")
    assert "say with -o DIR where their files go" in refused(netverify("collect", *both))
    (tmp_path / "file").write_text("")
    assert "cannot be made a folder" in refused(netverify("collect", *both, "-o", str(tmp_path / "file")))
    assert "not allowed with" in refused(netverify("collect", "--host", "local://", "--dry-run"))
    assert "is not a number from 1 to 256" in refused(netverify("collect", "--host", "local://", "-j", "0"))
    assert "is for --host ansible://" in refused(netverify("collect", "--inventory", "x"))
