"""A real host as frozen facts: what its tools printed, in a folder, a tar or one JSON file, and its meaning.

`parts` reads and writes the files, `read_snapshot` makes a `HostSnapshot` of them. What was not collected is
known as such.
"""

from __future__ import annotations

from netverify.host.errors import SnapshotError
from netverify.host.parts import Parts, read_folder, read_json
from netverify.host.snapshot import HostSnapshot, read_snapshot
from netverify.host.tars import read_tar

__all__ = ["HostSnapshot", "Parts", "SnapshotError", "read_folder", "read_json", "read_snapshot", "read_tar"]
