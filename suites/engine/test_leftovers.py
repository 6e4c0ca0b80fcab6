"""What a real engine does with rules that it finds: those of 28.0.0, which look into ipsets, and ufw's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netverify.docker import Daemon, Version, ipsets
from netverify.docker.difference import differences
from netverify.docker.version import SETS
from netverify.kernel.docker_engine import Engine
from netverify.kernel.docker_host import make_sets
from netverify.kernel.lab import Lab
from netverify.ruleset import Ruleset
from suites.engine.hosts import hosts


@pytest.mark.needs("match set")
def test_an_upgrade_from_28_0_0(engine: Engine, version: str, lab: Lab) -> None:
    """The rules and sets of 28.0.0 stand in the kernel when the engine starts, as after an upgrade.

    An engine older than 28.0.1 knows nothing of them, and leaves them: a downgrade.
    """
    known = hosts(version)
    host = replace(known["no networks"], networks=known["host forwards"].networks, ip6tables=None)
    old = Daemon.started(replace(host, version=str(SETS.first)))
    lab.adopt("host", engine.namespace_path())
    lab.visit("host", lambda: make_sets(ipsets(old.host)))
    engine.load(old.ipv4, old.ipv6)
    new = Daemon.started(host, ipv4=old.ipv4, ipv6=old.ipv6)
    engine.start(new.host)
    engine.create(new.host)
    for written, there in zip((new.ipv4, new.ipv6), engine.iptables(), strict=True):
        assert differences(_sorted(written), _sorted(there)) == []
        named = [str(rule) for _place, rule in there.rules() if "match-set" in str(rule)]
        assert bool(named) is (Version.parse(version) < SETS.until)


RULES = Path(__file__).parents[2] / "fixtures" / "rulesets"


def test_ufw_was_there_first(engine: Engine, version: str) -> None:
    """The engine's rules come to stand around ufw's jumps as modelled, in order, and leave its policies."""
    host = hosts(version)["default bridge,icc=false"]
    ipv4, ipv6 = (
        Ruleset.parse((RULES / name).read_text(), family=family)
        for name, family in (("ufw.rules", "ipv4"), ("ufw6.rules", "ipv6"))
    )
    engine.load(ipv4, ipv6)
    engine.start(host)
    engine.create(host)
    new = Daemon.started(host, ipv4=ipv4, ipv6=ipv6)
    for written, there in zip((new.ipv4, new.ipv6), engine.iptables(), strict=True):
        assert differences(written, there) == []
        assert there.table("filter").has_chain("ufw-not-local") is (there.family == "ipv4")


def _sorted(ruleset: Ruleset) -> Ruleset:
    """With each chain's rules by their text: networks are restored in no order of the engine's own."""
    tables = (
        replace(
            table,
            chains=tuple(replace(one, rules=tuple(sorted(one.rules, key=str))) for one in table.chains),
        )
        for table in ruleset.tables
    )
    return replace(ruleset, tables=tuple(tables))
