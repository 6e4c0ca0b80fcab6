"""`pytest suites/docker --docker 28.2` asks one generation alone; `29.0+nftables` is the last one."""

from __future__ import annotations

import pytest

from netverify.docker import GENERATIONS, Generation, generation_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, where this folder is given to pytest."""
    parser.addoption("--docker", metavar="VERSION", help="ask only the generation of this Docker version")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take a `generation` run for each, or for the one that is asked for."""
    if "generation" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--docker", default=None)
        metafunc.parametrize("generation", _selected(wanted), ids=lambda one: one.name)


def _selected(wanted: str | None) -> tuple[Generation, ...]:
    if wanted is None:
        return GENERATIONS
    version, plus, backend = wanted.partition("+")
    return (generation_of(version, "nftables" if plus and backend == "nftables" else "iptables"),)
