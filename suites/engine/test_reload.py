"""What a real engine writes again when firewalld is reloaded, and what not: with a stand-in for firewalld."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest

from netverify.docker import Daemon
from netverify.docker.difference import differences
from netverify.kernel.docker_engine import Engine
from netverify.kernel.firewalld import Firewalld
from netverify.ruleset import Ruleset
from suites.engine.hosts import hosts

QUIET = 2.0  # seconds in which an engine asks for nothing more, when it has written its rules again


@pytest.fixture
def firewalld(engine: Engine) -> Generator[Firewalld]:
    """The stand-in, at a path that the engine is told of as the system's bus."""

    engine.environment["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/run/netverify/bus"
    with Firewalld(engine.folder / "bus", engine.run) as found:
        yield found


def test_two_reloads(engine: Engine, version: str, firewalld: Firewalld) -> None:
    """Rule by rule as modelled, FORWARD's in order; policies stay, as with firewalld's nftables backend.

    Before the second a network is removed: engines before 28.1 bring its rules back.
    """
    host = hosts(version)["containers,proxy=on"]
    engine.start(host)
    engine.create(host)
    firewalld.reload(QUIET)
    daemon = Daemon.started(host).reloaded()
    _compare(daemon, engine)
    closed = next(place for place in host.attached if place.network == "closed")
    engine.remove_container("c4")
    engine.call("DELETE", "/networks/closed")
    firewalld.reload(QUIET)
    _compare(daemon.without_containers(closed).without_network("closed").reloaded(), engine)


def _compare(daemon: Daemon, engine: Engine) -> None:
    for written, there in zip((daemon.ipv4, daemon.ipv6), engine.iptables(), strict=True):
        assert differences(_sorted(written), _sorted(there)) == []
        assert _jumps(written) == _jumps(there)


def _jumps(ruleset: Ruleset) -> list[str]:
    """FORWARD's rules, in order."""
    if not ruleset.has_table("filter"):
        return []
    return [str(rule) for rule in ruleset.chain("filter", "FORWARD").rules]


def _sorted(ruleset: Ruleset) -> Ruleset:
    """With each chain's rules by their text: an engine's map of containers and ports has no order."""
    tables = (
        replace(
            table,
            chains=tuple(replace(one, rules=tuple(sorted(one.rules, key=str))) for one in table.chains),
        )
        for table in ruleset.tables
    )
    return replace(ruleset, tables=tuple(tables))
