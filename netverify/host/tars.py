"""Snapshots in a tar, which anybody may have packed. Nothing is unpacked: members are read in memory.

Only regular files count, and only under the names of parts. However little a tar weighs, no more of it is
expanded than a snapshot can be.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from io import BytesIO
from typing import BinaryIO, Final

from netverify.errors import Place
from netverify.host.errors import SnapshotError
from netverify.host.parts import MOST_BYTES, Parts, decoded, is_part, with_meta
from netverify.topology.errors import printable, quoted

MOST_EXPANDED: Final = 512 << 20  # bytes of a whole tar
_KINDS: Final = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.DIRTYPE: "a folder",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
_DAMAGE: Final = (
    *(tarfile.TarError, EOFError, OSError, ValueError, RecursionError, OverflowError),
    *(zlib.error, lzma.LZMAError),
)


def read_tar(content: bytes, source: str) -> Parts:
    """A snapshot in a tar, compressed or not; folders around the parts do not matter. Raises SnapshotError.

    A part that is no regular file, or whose path leads out of the tar, is missing, with that reason.
    """
    texts: dict[str, str] = {}
    passed: dict[str, str] = {}
    found: dict[str, str] = {}
    try:
        # As a stream: what was passed over is not sought again.
        with tarfile.open(fileobj=_Expanded(content, source), mode="r|") as archive:
            for member in archive:
                name = _below(member.name)
                if name is None:
                    continue
                steps = member.name.split("/")
                if not member.isfile() or member.issparse():
                    kind = _KINDS.get(member.type, "no regular file")
                    passed[name] = f"in the tar it is {kind}, which is not followed"
                    continue
                if ".." in steps or not steps[0]:
                    passed[name] = "in the tar its path leads out of it"
                    continue
                if found.setdefault(name, member.name) != member.name:
                    both = f"{quoted(found[name])} and {quoted(member.name)}"
                    raise SnapshotError(Place(source), f"both {both} are in it", "one snapshot")
                file = f"{source}/{name}"
                if member.size > MOST_BYTES:
                    problem = f"it is larger than {MOST_BYTES >> 20} MiB"
                    raise SnapshotError(Place(file), problem, "what the tool printed")
                stream = archive.extractfile(member)
                if stream is not None:
                    texts[name] = decoded(stream.read(), file)
    except _DAMAGE as error:
        problem = f"damaged tar: {printable(str(error))[:200]}"
        raise SnapshotError(Place(source), problem, "a tar that netverify's script wrote") from error
    return with_meta(source, texts, passed)


class _Expanded(BytesIO):
    """A tar without its compression, up to `MOST_EXPANDED`."""

    def __init__(self, content: bytes, source: str) -> None:
        super().__init__()
        raw = BytesIO(content)
        self._stream: BinaryIO = raw
        if content[:2] == b"\x1f\x8b":
            self._stream = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]  # reads as one
        elif content[:3] == b"BZh":
            self._stream = bz2.BZ2File(raw)  # type: ignore[assignment]
        elif content[:6] == b"\xfd7zXZ\0":
            self._stream = lzma.LZMAFile(raw)  # type: ignore[assignment]  # noqa: SIM115  # no file is open
        self._left = MOST_EXPANDED
        self._source = source

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else min(size, self._left + 1)
        found = self._stream.read(wanted)
        self._left -= len(found)
        if self._left < 0:
            problem = f"it expands to more than {MOST_EXPANDED >> 20} MiB"
            raise SnapshotError(Place(self._source), problem, "a snapshot")
        return found


def _below(name: str) -> str | None:
    """The part that a path in a tar ends in."""
    steps = name.split("/")
    # What is in a container's folder is never a part of the host, whatever the folder is called.
    last = "/".join(steps[-3:]) if steps[-3:-2] == ["containers"] else steps[-1]
    return last if is_part(last) else None
