"""Snapshots as files: a folder, a tar and one JSON file say the same; a fault is answered with its place."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from netverify.host import Parts, SnapshotError, read_folder, read_json, read_snapshot, read_tar
from tests.host.samples import TEXTS, without


def write(folder: Path, texts: Mapping[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tar_of(texts: Mapping[str, str], mode: str = "w", prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_a_folder_a_tar_and_a_file_say_the_same(tmp_path: Path) -> None:
    folder = read_folder(str(write(tmp_path, TEXTS)))
    expected = read_snapshot(folder)
    assert expected.name == "web-7"
    assert expected.missing == {}
    for mode in ("w", "w:gz", "w:xz"):
        assert read_snapshot(read_tar(tar_of(TEXTS, mode), "x.tar")) == expected
    assert read_snapshot(read_tar(tar_of(TEXTS, prefix="./snapshot-web-7/"), "x.tar")) == expected
    assert read_snapshot(read_json(folder.as_json(), "host.json")) == expected


def test_what_is_missing_is_known_with_its_reason(tmp_path: Path) -> None:
    meta = json.dumps({"name": "h", "missing": {"nft.json": "nft is not installed"}})
    texts = without("nft.json", "rule.json", "containers/web/route.json", **{"meta.json": meta})
    snapshot = read_snapshot(read_folder(str(write(tmp_path, texts))))
    assert snapshot.missing == {
        "nft.json": "nft is not installed",
        "rule.json": "it is not in the snapshot",
        "containers/web/route.json": "it is not in the snapshot",
    }


def test_nothing_is_unpacked_and_strangers_are_passed_over() -> None:
    """Links, devices and paths outside of a snapshot's names are not even opened."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("addr.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
        for name in ("../../etc/passwd", "containers/../addr.json.exe", "sysctl.txt"):
            member = tarfile.TarInfo(name)
            member.size = 24
            archive.addfile(member, io.BytesIO(b"net.ipv4.ip_forward = 1\n"))
    assert set(read_tar(buffer.getvalue(), "x").texts) == {"sysctl.txt"}


BROKEN_FILES = [
    ("sysctl.txt", "net.ipv4.ip_forward = yes\n", "sysctl.txt:1: 'net.ipv4.ip_forward' is 'yes'; expected"),
    ("addr.json", '[{"ifname": ', "addr.json:1:13: damaged JSON: the text ends"),
    ("addr.json", '[\n {"ifname": }]', "addr.json:2:13: damaged JSON: found '}]'"),
    ("addr.json", "{}", "addr.json: it is an object; expected a list"),
    ("addr.json", "[" * 100_000, "addr.json: the JSON is nested too deeply"),
    ("addr.json", '[{"ifname": "a b"}]', "addr.json: [0].ifname: it is 'a b'; expected the name of a device"),
    ("addr.json", '[{"ifname": "\\u001b[31m/"}]', "[0].ifname: it is '\\x1b[31m/'; expected the name"),
    (
        "addr.json",
        '[{"ifname": "a", "addr_info": [{"local": "10.0.0.300", "prefixlen": 8}]}]',
        "addr.json: [0].addr_info[0].local: it is '10.0.0.300'; expected an IP address",
    ),
    ("route.json", '[{"type": "unicast"}]', "route.json: [0]: it is an object; expected the key 'dst' in it"),
    (
        "route.json",
        '[{"dst": "10.0.0.0/99"}]',
        "route.json: [0].dst: it is '10.0.0.0/99'; expected an address",
    ),
    ("rule.json", '[{"priority": "x"}]', "rule.json: [0].priority: it is 'x'; expected a whole number"),
    ("sysctl.txt", "net.ipv4.ip_forward = 1\nwhat\n", "sysctl.txt:2: found 'what'; expected `name = value`"),
    (
        "listen.txt",
        "tcp LISTEN 0 1 here:http *:*\n",
        "listen.txt:1: found 'here:http'; expected ADDRESS:PORT",
    ),
    (
        "iptables-save.txt",
        "*filter\n:INPUT ACCEPT [0:0]\n",
        "iptables-save.txt:3:1: found the end; expected COMMIT",
    ),
    ("iptables-save.txt", "*filter\n-A INPUT -j\nCOMMIT\n", "iptables-save.txt:2:12: found the end"),
    ("nft.json", '{"nftables": [', "nft.json:1:15: found the end; expected JSON"),
    (
        "docker-containers.json",
        '[{"Name": "/\\u001b]0;x\\u0007", "State": {"Running": true}}]',
        "docker-containers.json: [0].Name: it is '/\\x1b]0;x\\x07'; expected a container's name",
    ),
    (
        "docker-networks.json",
        '[{"Id": "a"}]',
        "docker-networks.json: [0]: it is an object; expected the key 'Name'",
    ),
]


@pytest.mark.parametrize(("part", "text", "expected"), BROKEN_FILES)
def test_a_damaged_part_is_answered_with_its_place(
    tmp_path: Path, part: str, text: str, expected: str
) -> None:
    parts = read_folder(str(write(tmp_path, TEXTS | {part: text})))
    with pytest.raises(SnapshotError) as error:
        read_snapshot(parts)
    assert expected in str(error.value)
    assert str(error.value).startswith(str(tmp_path))
    assert str(error.value).isprintable()


def test_in_one_file_places_are_keys() -> None:
    addresses = json.dumps([{"ifname": "eth0", "addr_info": [{"local": "here", "prefixlen": 8}]}])
    parts = Parts("-", TEXTS | {"addr.json": addresses})
    with pytest.raises(
        SnapshotError, match=r"^host\.json: parts\.addr\.json: \[0\]\.addr_info\[0\]\.local: "
    ):
        read_snapshot(read_json(parts.as_json(), "host.json"))


WRONG_FILES = [
    ('{"format": "something"}', "host.json: format: this is no snapshot of a host"),
    (
        '{"format": "netverify host snapshot", "version": 2}',
        "host.json: version: it is '2'; expected version 1",
    ),
    (
        '{"format": "netverify host snapshot", "version": 1, "parts": {"adr.json": []}}',
        "there is no part 'adr.json'; expected one of ",
    ),
    ('{"format": "netverify host snapshot", "version": 1, "parts": {"sysctl.txt": 5}}', "expected a text"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_FILES)
def test_a_file_that_is_no_snapshot(text: str, expected: str) -> None:
    with pytest.raises(SnapshotError) as error:
        read_json(text, "host.json")
    assert expected in str(error.value)


def test_an_empty_folder_and_a_damaged_tar(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no part of a snapshot is in it; expected files such as"):
        read_folder(str(tmp_path))
    with pytest.raises(SnapshotError, match="damaged tar"):
        read_tar(tar_of(TEXTS)[:700], "x.tar")
    with pytest.raises(SnapshotError, match="damaged tar"):
        read_tar(tar_of(TEXTS, "w:gz")[:300], "x.tar")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    write(tmp_path, TEXTS)
    (tmp_path / "sysctl.txt").write_bytes(b"a = 1\nb = \xff\n")
    with pytest.raises(SnapshotError, match=r"sysctl\.txt:2:5: a byte that is no UTF-8"):
        read_folder(str(tmp_path))
