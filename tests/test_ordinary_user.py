from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netverify.kernel import sandbox, syscalls
from netverify.kernel.namespace import Visitor
from tests import ordinary_user


@pytest.fixture
def elsewhere() -> Iterator[Visitor]:
    """A thread with mounts of its own."""
    if os.geteuid() != 0:
        sandbox.enter()
    with Visitor() as visitor:
        visitor.call(lambda: syscalls.unshare(syscalls.CLONE_NEWNS))
        visitor.call(lambda: syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE))
        yield visitor


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that others may not enter, with something that they need and something that they do not."""
    folder = tmp_path / "closed"
    for name in ("needed", "secret"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    folder.chmod(0o700)
    return folder


def test_way_is_opened_to_what_is_needed_alone(elsewhere: Visitor, closed: Path) -> None:
    needed = closed / "needed"
    assert ordinary_user.closed_ancestor(needed) is not None
    elsewhere.call(lambda: ordinary_user.open_the_way([needed]))
    assert elsewhere.call(lambda: ordinary_user.closed_ancestor(needed)) is None
    assert elsewhere.call((needed / "file").read_text) == "needed"
    assert elsewhere.call(lambda: sorted(closed.iterdir())) == [needed]
    assert sorted(closed.iterdir()) == [needed, closed / "secret"], "nobody else sees a difference"


def test_closed_directory_itself_cannot_be_opened(elsewhere: Visitor, closed: Path) -> None:
    with pytest.raises(SystemExit, match="closed is closed to others: chmod"):
        elsewhere.call(lambda: ordinary_user.open_the_way([closed]))


def test_scratch_and_home_are_writable_and_leave_nothing() -> None:
    scratch = Path("/opt")  # exists everywhere, and is root's
    before = sorted(scratch.iterdir()), Path("/proc/self/mountinfo").read_text()
    script = 'touch /opt/a "$HOME/b" "$TMPDIR/c" && ls "$HOME" && ls /opt && id -u'
    command = [*ordinary_user.command()[:-1], "--scratch=/opt", "--", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["b", "c", "a", str(ordinary_user.NOBODY)]
    assert (sorted(scratch.iterdir()), Path("/proc/self/mountinfo").read_text()) == before
