"""Which host is audited: a snapshot, `pytest suites/audit --snapshot host.json`, or this one, with `--live`.

Without either there is no host to look at, and the tests here are not collected.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from netverify.audit import acceptance
from netverify.audit.case import Case
from netverify.audit.finding import Severity
from netverify.host import read_snapshot
from netverify.pytest_plugin import snapshot_of


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests out where no host is given; who asks for them alone is told what is missing."""
    if snapshot_of(config) is not None or collection_path.suffix != ".py":
        return None
    if all(Path(argument.partition("::")[0]).resolve() in _HERE for argument in config.args):
        raise pytest.UsageError("suites/audit needs a host: --snapshot host.json, or --live")
    return True


_HERE = {Path(__file__).parent, *Path(__file__).parent.glob("test_*.py")}


@pytest.fixture(scope="session")
def host(pytestconfig: pytest.Config) -> Case:
    """The host, ready to be asked."""
    parts = snapshot_of(pytestconfig)
    assert parts is not None
    return Case.of(read_snapshot(parts), parts.source)


@pytest.fixture(scope="session")
def accepted(pytestconfig: pytest.Config) -> tuple[acceptance.Acceptance, ...]:
    """The findings that somebody has accepted."""
    path = pytestconfig.getoption("--accept")
    today = datetime.now(UTC).date()
    return tuple(entry for entry in (acceptance.load(path) if path else ()) if entry.expires >= today)


@pytest.fixture(scope="session")
def fail_on(pytestconfig: pytest.Config) -> Severity:
    """The least severity that fails a test."""
    return Severity.named(pytestconfig.getoption("--fail-on"))
