"""An engine leaves nothing: no process, no control group, no folder, no rule."""

from __future__ import annotations

from pathlib import Path

from netverify.kernel.docker_engine import Engine
from suites.engine.conftest import ROOT
from suites.engine.hosts import hosts


def _traces(name: str) -> list[str]:
    """Where that name is still found: folders, control groups, command lines."""
    folders = [path for place in ("/tmp", "/var/tmp") for path in Path(place).glob(f"*{name}*")]
    groups = [path for path in Path("/sys/fs/cgroup").rglob(f"*{name}*") if path.is_dir()]
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name.encode() in path.read_bytes():
                commands.append(path)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return sorted(map(str, (*folders, *groups, *commands)))


def test_after_a_run(version: str) -> None:
    """With containers still running when the block ends."""
    host = hosts(version)["containers,proxy=on"]
    with Engine(ROOT) as engine:
        engine.start(host)
        engine.create(host)
        name = engine.name
        assert _traces(name)
    assert _traces(name) == []


def test_after_a_crash(version: str) -> None:
    """The process that holds the engine dies: whoever it was, its end of the pipe is closed."""
    host = hosts(version)["containers,proxy=on"]
    with Engine(ROOT) as engine:
        engine.start(host)
        engine.create(host)
        name = engine.name
        engine.abandon()
        assert _traces(name) == []
