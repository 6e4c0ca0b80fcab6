"""What a real Docker engine writes is what netverify says that its version writes, rule by rule, in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.docker import Daemon, DockerHost, listeners, rules, sysctls
from netverify.docker.config import containers
from netverify.docker.difference import differences
from netverify.docker.version import GENERATIONS, Generation, Version
from netverify.kernel.docker_engine import Engine, has_sctp
from netverify.ruleset import Ruleset, Table
from suites.engine.conftest import ROOT
from suites.engine.hosts import hosts


@pytest.fixture
def known(version: str) -> dict[str, DockerHost]:
    """The hosts for this version, with SCTP where the kernel has it."""
    return hosts(version, sctp=has_sctp())


def test_a_new_host(case: str, known: dict[str, DockerHost]) -> None:
    """Networks and containers over the product of options, on a host where nothing was before.

    The sockets of the userland proxies, and the kernel's settings, are what netverify says as well.
    """
    host = known[case]
    with Engine(ROOT, forwarding=host.forward_policy == "ACCEPT") as engine:
        engine.start(host)
        engine.create(host)
        found = engine.iptables()
        sockets = {(one.protocol, one.address, one.port) for one in listeners(host)}
        assert engine.sockets() == sockets
        settings = sysctls(host)
        assert engine.sysctls(settings) == settings
    several = any(len(places) > 1 for places in containers(host))
    for written, there in zip(rules(host), found, strict=True):
        if several:  # a container's networks are joined in no order, each with its own line in the raw table
            assert differences(_sorted(written, "raw"), _sorted(there, "raw")) == []
        else:
            assert differences(written, there) == []
        assert there.family == "ipv6" or any(True for _ in there.rules())


def _same_rules(written: Ruleset, found: Ruleset) -> None:
    """The same rules in each chain, in whatever order: an engine restores its networks in none of its own."""
    assert differences(_sorted(written), _sorted(found)) == []


def _sorted(ruleset: Ruleset, *names: str) -> Ruleset:
    """The ruleset with the rules of each chain by their text, in these tables or in all."""

    def in_order(table: Table) -> Table:
        chains = (replace(one, rules=tuple(sorted(one.rules, key=str))) for one in table.chains)
        return replace(table, chains=tuple(chains))

    tables = (in_order(one) if not names or one.name in names else one for one in ruleset.tables)
    return replace(ruleset, tables=tuple(tables))


def test_removals_a_flush_and_a_restart(engine: Engine, known: dict[str, DockerHost]) -> None:
    """A container and its network go; somebody flushes the filter table; the daemon starts again."""
    host = known["containers,proxy=on"]
    engine.start(host)
    engine.create(host)
    daemon = Daemon.started(host)
    closed = next(place for place in host.attached if place.network == "closed")
    engine.remove_container("c4")
    engine.call("DELETE", "/networks/closed")
    daemon = daemon.without_containers(closed).without_network("closed")
    for written, found in zip((daemon.ipv4, daemon.ipv6), engine.iptables(), strict=True):
        assert differences(_sorted(written, "raw"), _sorted(found, "raw")) == []

    for name in ("c0", "both", "c2", "inward"):
        engine.remove_container(name)
    for program in ("iptables", "ip6tables"):
        engine.run(program, "-F")
    engine.stop()
    daemon = daemon.without_containers(*daemon.host.attachments()).flushed("filter").restarted()
    engine.start(daemon.host)
    for written, found in zip((daemon.ipv4, daemon.ipv6), engine.iptables(), strict=True):
        _same_rules(written, found)


def test_the_proxy_is_switched_off(engine: Engine, known: dict[str, DockerHost]) -> None:
    """A restart without the proxy takes the rules of the time with it back, as far as the version does so."""
    host = replace(known["options,proxy=on"])
    engine.start(host)
    engine.create(host)
    engine.stop()
    again = replace(Daemon.started(host), host=replace(host, userland_proxy=False)).restarted()
    engine.start(again.host)
    for written, found in zip((again.ipv4, again.ipv6), engine.iptables(), strict=True):
        _same_rules(written, found)


OLDER = [one for one in GENERATIONS if one.backend == "iptables"]


@pytest.mark.parametrize("older", OLDER, ids=lambda generation: generation.name)
def test_an_upgrade(older: Generation, engine: Engine, version: str, known: dict[str, DockerHost]) -> None:
    """The engine finds the rules that an older generation left: what it removes, and what stays for good."""
    if older.first > Version.parse(version):
        pytest.skip(f"generation {older.name} is newer than this engine")
    if older.name == "B0":
        pytest.skip("28.0.0's rules need ipsets, which are made by no command here")
    host = replace(known["no networks"], networks=known["host forwards"].networks)
    old_version = str(older.first)
    old = Daemon.started(replace(host, version=old_version, ip6tables=None))
    engine.load(old.ipv4, old.ipv6)
    new = Daemon.started(replace(host, ip6tables=None), ipv4=old.ipv4, ipv6=old.ipv6)
    engine.start(new.host)
    engine.create(new.host)
    for written, there in zip((new.ipv4, new.ipv6), engine.iptables(), strict=True):
        _same_rules(written, there)
