"""Snapshots that mean harm: clear errors, nothing followed, nothing expanded without end, nothing run."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.host import Parts, SnapshotError, read_folder, read_json, read_snapshot, read_tar, tars
from netverify.host.parts import MOST_BYTES
from tests.host.samples import CONTAINERS, TEXTS
from tests.host.test_parts import tar_of, write

SYSCTL = b"net.ipv4.ip_forward = 1\n"


def member(name: str, content: bytes = SYSCTL, **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def packed(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


NO_FILES = [
    (member("addr.json", b"", type=tarfile.SYMTYPE, linkname="/etc/shadow"), "in the tar it is a link"),
    (member("addr.json", b"", type=tarfile.LNKTYPE, linkname="sysctl.txt"), "in the tar it is a link"),
    (member("addr.json", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "in the tar it is a device"),
    (member("addr.json", b"", type=tarfile.FIFOTYPE), "in the tar it is a pipe"),
    (member("addr.json", b"", type=tarfile.DIRTYPE), "in the tar it is a folder"),
    (member("../addr.json"), "its path leads out of it"),
    (member("x/../../addr.json"), "its path leads out of it"),
    (member("/addr.json"), "its path leads out of it"),
]


@pytest.mark.parametrize(("first", "expected"), NO_FILES)
def test_what_is_no_file_in_a_tar_is_not_read_and_said(first: Any, expected: str) -> None:
    parts = read_tar(packed([first, member("sysctl.txt")]), "x.tar")
    assert set(parts.texts) == {"sysctl.txt"}
    assert expected in parts.missing["addr.json"]
    assert expected in read_snapshot(parts).missing["addr.json"]
    with pytest.raises(SnapshotError, match=f"no part of a snapshot is in it; addr.json: .*{expected}"):
        read_tar(packed([first]), "x.tar")


def test_two_hosts_in_one_tar() -> None:
    with pytest.raises(SnapshotError, match=r"both 'a/sysctl.txt' and 'b/sysctl.txt' are in it"):
        read_tar(packed([member("a/sysctl.txt"), member("b/sysctl.txt")]), "x.tar")


@pytest.mark.parametrize(
    "name", ["containers/../addr.json", "containers/a b/addr.json", "containers/./addr.json"]
)
def test_names_that_no_container_has(name: str) -> None:
    assert set(read_tar(packed([member(name), member("sysctl.txt")]), "x.tar").texts) == {"sysctl.txt"}


def test_huge_members_are_refused_before_they_are_read() -> None:
    info = tarfile.TarInfo("sysctl.txt")
    info.size = MOST_BYTES + 1
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError, match=r"x\.tar/sysctl\.txt: it is larger than 256 MiB"):
            read_tar(info.tobuf() + bytes(1024), "x.tar")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["sysctl.txt", "something/else"])
def test_a_small_tar_that_expands_without_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MOST_EXPANDED", 1 << 20)
    bomb = gzip.compress(packed([member(name, bytes(4 << 20)), member("addr.json", b"[]")]))
    assert len(bomb) < 1 << 16
    with pytest.raises(SnapshotError, match=r"x\.tgz: it expands to more than 1 MiB"):
        read_tar(bomb, "x.tgz")


def test_a_header_that_expands_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pax header is read whole by tarfile before anybody can ask how large it is."""
    monkeypatch.setattr(tars, "MOST_EXPANDED", 1 << 20)
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(SnapshotError, match="expands to more than 1 MiB"):
        read_tar(gzip.compress(info.tobuf() + bytes(4 << 20)), "x.tgz")


def test_sparse_members_are_not_filled() -> None:
    header = bytearray(tarfile.TarInfo("sysctl.txt").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"77777777777\0"  # its real size: 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(SnapshotError, match="no part of a snapshot is in it"):
        read_tar(bytes(header) + bytes(1024), "x.tar")


@given(st.data())
def test_whatever_a_tar_says_is_answered(data: st.DataObject) -> None:
    """Bytes of a good tar replaced by others: it is read, or refused as what it is."""
    raw = bytearray(tar_of(TEXTS, data.draw(st.sampled_from(["w", "w:gz", "w:xz", "w:bz2"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + 1] = data.draw(st.binary(max_size=12))
        if not raw:
            return
    assert answer_to(bytes(raw[: data.draw(st.integers(1, len(raw)))])).isprintable()


def answer_to(raw: bytes) -> str:
    try:
        read_snapshot(read_tar(raw, "x.tar"))
    except SnapshotError as error:
        return str(error)
    return ""


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2 = 1\n")
    folder = write(tmp_path / "snapshot", TEXTS)
    for name in ("sysctl.txt", "containers/web/addr.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    (folder / "rule.json").unlink()
    os.mkfifo(folder / "rule.json")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "route.json").write_text("hunter2")
    (folder / "containers" / "other").symlink_to(tmp_path / "elsewhere")
    parts = read_folder(str(folder))
    assert "hunter2" not in "".join(parts.texts.values())
    missing = read_snapshot(parts).missing
    assert missing["sysctl.txt"] == "in the folder it is a link, which is not followed"
    assert missing["containers/web/addr.json"] == "in the folder it is a link, which is not followed"
    assert missing["rule.json"] == "it is not in the snapshot"


JSON = [
    (
        '{"format": "netverify host snapshot", "version": 1, "parts": {"addr.json": [',
        "damaged JSON: the text ends",
    ),
    ('{"format": "netverify host snapshot", "version": NaN, "parts": {}}', "NaN is no number of JSON"),
    (
        '{"format": "netverify host snapshot", "version": %s, "parts": {}}' % ("1" * 5000),
        "damaged JSON: Exceeds",
    ),
    (
        '{"format": "netverify host snapshot", "version": 1, "parts": {"sysctl.txt": "\\ud800"}}',
        "half a surrogate",
    ),
    ('{"format": "netverify host snapshot", "version": true, "parts": {}}', "expected a whole number"),
    ('{"format": "netverify host snapshot", "version": 99, "parts": {}}', "expected version 1, the only one"),
    ("[" * 100_000, "nested too deeply"),
    ('"text"', "it is 'text'; expected an object"),
    ("", "the text ends"),
]


@pytest.mark.parametrize(("text", "expected"), JSON)
def test_json_that_is_none_or_no_snapshot(text: str, expected: str) -> None:
    with pytest.raises(SnapshotError) as error:
        read_json(text, "host.json")
    assert expected in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("part", ["addr.json", "nft.json", "containers/web/route.json", "meta.json"])
def test_parts_that_end_in_the_middle(tmp_path: Path, part: str) -> None:
    """Whoever writes them into one file is told where they are damaged."""
    folder = write(tmp_path, TEXTS | {part: TEXTS[part][:-5]})
    with pytest.raises(SnapshotError, match=rf"{part}:1:\d+: damaged JSON: (the text ends|found)"):
        read_folder(str(folder)).as_json()


def test_reasons_for_parts_that_there_are_not(tmp_path: Path) -> None:
    meta = json.dumps({"missing": {"\x1b[2J": "x"}})
    with pytest.raises(SnapshotError, match=r"meta\.json: missing: there is no part '\\x1b\[2J'"):
        read_folder(str(write(tmp_path, TEXTS | {"meta.json": meta})))


def test_labels_of_any_size_are_passed_over() -> None:
    containers = json.loads(json.dumps(CONTAINERS))
    containers[0]["Config"]["Labels"] = {"x" * 65536: "\x1b[2J" * 16384, "<script>": "$(touch PWNED)"}
    texts = TEXTS | {"docker-containers.json": json.dumps(containers)}
    assert read_snapshot(Parts("x", texts)) == read_snapshot(Parts("x", TEXTS))


def test_names_that_a_terminal_would_obey() -> None:
    """The host's name is made harmless; a container's or a device's is refused with its place."""
    meta = json.dumps({"name": "\x1b]0;owned\x07\u202e" + "x" * 70_000})
    snapshot = read_snapshot(Parts("x", TEXTS | {"meta.json": meta}, name=json.loads(meta)["name"]))
    assert snapshot.name.isprintable()
    assert len(snapshot.name) <= 80
    containers = json.loads(json.dumps(CONTAINERS))
    containers[0]["Name"] = "/\x1b[31m" + "x" * 70_000
    with pytest.raises(SnapshotError) as error:
        read_snapshot(Parts("x", TEXTS | {"docker-containers.json": json.dumps(containers)}))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400
