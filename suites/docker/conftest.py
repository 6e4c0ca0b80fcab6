"""Which releases of Docker are asked: all, or with `pytest suites/docker --docker 28.2` that one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from netverify.docker.version import CLASSIC
from suites.docker.grid import SETTINGS
from suites.docker.releases import RELEASES, release_of

pytest.register_assert_rewrite("suites.docker.scene")
_RELEASES = {"release", "iptables_release"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a `release` run for each that is asked for; with a `setting` too, for each of both.

    Those that take an `iptables_release` run for each that writes iptables rules.
    """
    chosen = metafunc.config.getoption("--docker")
    releases = RELEASES if chosen is None else (release_of(chosen),)
    if "iptables_release" in metafunc.fixturenames:
        writing = [one for one in releases if one.backend == "iptables"]
        metafunc.parametrize("iptables_release", writing, ids=str)
    if "release" not in metafunc.fixturenames:
        return
    if "setting" in metafunc.fixturenames:
        points = [(one, release) for one in SETTINGS for release in releases if one.exists_in(release)]
        names = [f"{setting.name}, {release}" for setting, release in points]
        metafunc.parametrize(("setting", "release"), points, ids=names)
    else:
        metafunc.parametrize("release", releases, ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --docker, the tests here that ask the documents' own engine run for its generation alone."""
    chosen = config.getoption("--docker")
    if chosen is None or release_of(chosen).generation is CLASSIC:
        return
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    others = [item for item in here if not _RELEASES & {*getattr(item, "fixturenames", ())}]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)
