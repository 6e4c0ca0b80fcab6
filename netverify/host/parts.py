"""A snapshot as it travels: what each tool printed, under fixed names, in a folder, a tar or one JSON file.

    host.json       {"format": "netverify host snapshot", "version": 1, "name": "web-7",
                     "parts": {"iptables-save.txt": "*filter\\n...", "addr.json": [...], ...},
                     "missing": {"ipset.txt": "ipset is not installed"}}

Parts whose name ends in .json are JSON values there, the others texts. What could not be collected stands
under `missing` with the reason; in a folder or a tar, meta.json may have the same `name` and `missing`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from netverify.errors import Place
from netverify.host.cursor import Cursor, loads
from netverify.host.errors import SnapshotError
from netverify.topology.errors import did_you_mean, quoted

FORMAT: Final = "netverify host snapshot"
VERSION: Final = 1
META: Final = "meta.json"
NAMES: Final[Mapping[str, str]] = {
    "iptables-save.txt": "IPv4 rules of the host's own iptables",
    "iptables-legacy-save.txt": "IPv4 rules of the legacy backend",
    "ip6tables-save.txt": "IPv6 rules of the host's own ip6tables",
    "ip6tables-legacy-save.txt": "IPv6 rules of the legacy backend",
    "nft.json": "the nftables ruleset",
    "addr.json": "devices and addresses",
    "route.json": "routes of all tables",
    "rule.json": "rules of routing",
    "sysctl.txt": "sysctls",
    "ipset.txt": "ipsets and their members",
    "listen.txt": "listening sockets",
    "docker-networks.json": "the engine's networks",
    "docker-containers.json": "the engine's containers",
    "docker-info.json": "the engine itself",
    META: "when, where and how it was collected",
}
"""The parts of a snapshot, by file name; and for each container containers/NAME/{addr,route}.json."""

MOST_BYTES: Final = 256 << 20  # of one part; 100,000 rules are about 10 MiB
OF_CONTAINER: Final = re.compile(r"^containers/([a-zA-Z0-9][a-zA-Z0-9_.-]*)/(addr|route)\.json$")


@dataclass(frozen=True)
class Parts:
    """The parts of one snapshot: texts as they were printed, and why others are not there.

    `source` is the file or folder that they come from. `joined` says that it is one JSON file, so that
    places in it are keys and not lines.
    """

    source: str
    texts: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    joined: bool = False

    def has(self, part: str) -> bool:
        """Whether the part was collected."""
        return part in self.texts

    def reason(self, part: str) -> str:
        """Why a part is not there."""
        return self.missing.get(part, "it is not in the snapshot")

    def where(self, part: str) -> str:
        """What errors call the part."""
        return f"{self.source}: parts.{part}" if self.joined else f"{self.source}/{part}"

    def document(self, part: str) -> Cursor:
        """A part that is JSON, as a value. Raises SnapshotError."""
        return Cursor(loads(self.texts[part], self.where(part)), self.where(part))

    def as_json(self) -> str:
        """The snapshot as one JSON file. Raises SnapshotError for a part that is damaged JSON."""
        parts = {
            name: self.document(name).value if name.endswith(".json") else text
            for name, text in self.texts.items()
        }
        document = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "parts": parts,
            "missing": dict(self.missing),
        }
        return json.dumps(document, indent=1) + "\n"


def is_snapshot(document: Any) -> bool:
    """Whether a JSON value says that it is a snapshot."""
    return isinstance(document, dict) and "format" in document


def read_json(text: str, source: str) -> Parts:
    """A snapshot in one JSON file. Raises SnapshotError."""
    document = Cursor(loads(text, source), source)
    if document.text("format", "") != FORMAT:
        raise SnapshotError(Place(source, key="format"), "this is no snapshot of a host", repr(FORMAT))
    if document.number("version") != VERSION:
        raise document.at("version").error(f"version {VERSION}, the only one that this netverify reads")
    texts = {}
    for name, part in document.at("parts").members():
        _check_name(name, source)
        texts[name] = json.dumps(part.value) if name.endswith(".json") else part.typed(str)
    return Parts(source, texts, _missing(document, source), document.text("name", ""), joined=True)


def read_folder(folder: str) -> Parts:
    """A snapshot in a folder with a file for each part. Raises SnapshotError.

    Links are not followed: who packed the folder decides what they would lead to.
    """
    texts, passed = {}, {}
    for path in sorted([*Path(folder).glob("*.*"), *Path(folder).glob("containers/*/*.json")]):
        name = path.relative_to(folder).as_posix()
        if not is_part(name):
            continue
        if any(Path(folder, *path.relative_to(folder).parts[:depth]).is_symlink() for depth in (1, 2, 3)):
            passed[name] = "in the folder it is a link, which is not followed"
        elif path.is_file():
            try:
                with path.open("rb") as stream:
                    texts[name] = decoded(stream.read(MOST_BYTES + 1), str(path))
            except OSError as error:
                raise SnapshotError(Place(str(path)), f"cannot be read: {error.strerror}") from error
    return with_meta(folder, texts, passed)


def with_meta(source: str, texts: dict[str, str], passed: Mapping[str, str]) -> Parts:
    """The parts with what meta.json says of them; `passed` are those that were there and not read."""
    if not set(texts) - {META}:
        first = next((f"; {name}: {why}" for name, why in passed.items()), "")
        problem = f"no part of a snapshot is in it{first}"
        raise SnapshotError(Place(source), problem, f"files such as {', '.join(NAMES)}")
    name, missing = "", {}
    if META in texts:
        meta = Cursor(loads(texts[META], f"{source}/{META}"), f"{source}/{META}")
        name, missing = meta.text("name", ""), _missing(meta, f"{source}/{META}")
    missing |= {part: why for part, why in passed.items() if part not in texts}
    return Parts(source, texts, missing, name)


def _missing(document: Cursor, file: str) -> dict[str, str]:
    """Why parts are not there, as a document says it."""
    found = {}
    for part, reason in document.at("missing").members() if document.has("missing") else ():
        _check_name(part, file, "missing")
        found[part] = reason.typed(str)
    return found


def is_part(name: str) -> bool:
    """Whether a file of that name is a part of a snapshot."""
    return name in NAMES or OF_CONTAINER.fullmatch(name) is not None


def _check_name(name: str, source: str, key: str = "parts") -> None:
    if not is_part(name):
        place = Place(source, key=key)
        raise SnapshotError(place, f"there is no part {quoted(name)}", did_you_mean(name, NAMES))


def decoded(raw: bytes, file: str) -> str:
    """The text in a file. Raises SnapshotError."""
    if len(raw) > MOST_BYTES:
        raise SnapshotError(Place(file), f"it is larger than {MOST_BYTES >> 20} MiB", "what the tool printed")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise SnapshotError(Place(file, line, column), "a byte that is no UTF-8", "text") from None
