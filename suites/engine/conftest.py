"""The engine that is compared: the one under NETVERIFY_ENGINE_ROOT (`make engines` sets it), else the
machine's.

Where there is none the tests are skipped, under CI=true as well: there `make engines` brings its own.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from netverify.docker import Version
from netverify.errors import MissingCapability
from netverify.kernel.docker_engine import Engine, installed_version
from suites.engine.hosts import hosts

ROOT = Path(os.environ.get("NETVERIFY_ENGINE_ROOT", "/"))
_NEWEST = "28.5.2"  # whose hosts name the tests where there is no engine to run them


def _version() -> str | None:
    try:
        return str(Version.parse(installed_version(ROOT)))
    except MissingCapability:
        return None


VERSION = _version()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each host that an engine of this version can be asked for."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", list(hosts(VERSION or _NEWEST)))


@pytest.fixture(scope="session")
def version() -> str:
    """The version of the engine; a skip where there is none."""
    if VERSION is None:
        pytest.skip(f"no Docker engine under {ROOT} that may be run here; `make engines` brings three")
    return VERSION


@pytest.fixture
def engine(version: str) -> Generator[Engine]:
    """Namespaces for an engine, which is not started yet."""
    with Engine(ROOT) as found:
        yield found
