"""`netverify diff`: what was opened, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.commands.asking import EDITED, ROOT, RULES, TOPOLOGIES, netverify, refused, snapshot_in
from tests.host.samples import IPTABLES, without

Golden = Callable[[str, str], None]


def test_a_hole_is_found(golden: Golden) -> None:
    done = netverify("diff", RULES, EDITED)
    assert (done.returncode, done.stderr) == (1, "")
    golden("commands/diff-opened.txt", done.stdout)


def test_nothing_changed() -> None:
    done = netverify("diff", RULES, RULES)
    assert done.returncode == 0
    assert "host, IPv4: no packet notices the change" in done.stdout


def test_the_other_way_round_it_is_only_closed() -> None:
    done = netverify("diff", EDITED, RULES, "--json")
    said = json.loads(done.stdout)
    kinds = [change["kind"] for host in said["hosts"] for change in host["changes"]]
    # What the edit closed is open again: replies from published ports to eth0's side.
    assert "closed" in kinds
    assert done.returncode == int(said["opens"])


def test_only_closing_is_no_alarm(tmp_path: Path) -> None:
    closed = tmp_path / "closed.rules"
    text = (ROOT / RULES).read_text()
    closed.write_text(text.replace("-A DOCKER-USER -j RETURN\n", "-A DOCKER-USER -j DROP\n"))
    done = netverify("diff", RULES, str(closed))
    assert done.returncode == 0, done.stdout
    assert "closed  filter FORWARD" in done.stdout
    assert "OPENED" not in done.stdout


def test_a_topology_against_its_rules() -> None:
    """A bare ruleset is taken to be for the host of the other side."""
    done = netverify("diff", f"{TOPOLOGIES}/docker-published.yaml", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no packet notices the change" in done.stdout
    edited = netverify("diff", f"{TOPOLOGIES}/docker-published.yaml", EDITED)
    assert edited.returncode == 1


def test_two_snapshots(tmp_path: Path) -> None:
    changed = IPTABLES.replace(":FORWARD DROP", ":FORWARD ACCEPT")
    rules = {"iptables-save.txt": changed, "iptables-legacy-save.txt": changed}
    old, new = snapshot_in(tmp_path / "old"), snapshot_in(tmp_path / "new", without(**rules))
    done = netverify("diff", old, new)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OPENED  filter FORWARD: DROP -> ACCEPT" in done.stdout


def test_rules_that_nobody_collected_are_unknown(tmp_path: Path) -> None:
    old = snapshot_in(tmp_path / "old")
    new = snapshot_in(tmp_path / "new", without("nft.json"))
    done = netverify("diff", old, new)
    assert done.returncode == 3, done.stdout
    assert "nft.json: it is not in the snapshot" in done.stdout


def test_a_damaged_dump(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rules"
    damaged.write_text((ROOT / RULES).read_text()[:900])
    said = refused(netverify("diff", RULES, str(damaged)))
    assert said.startswith(f"netverify: {damaged}:")
    assert "; expected " in said
    assert refused(netverify("diff", RULES)).endswith("error: expected OLD and NEW, or OLD --live\n")


NFT = "tests/ruleset/nft_samples"


def test_native_nftables_are_compared() -> None:
    done = netverify("diff", f"{NFT}/firewalld.json", f"{NFT}/docker_bridges.json")
    assert done.returncode == 1, done.stdout
    assert "OPENED  inet firewalld filter_FORWARD: DROP -> ACCEPT" in done.stdout
    assert "closed  ip docker-bridges filter-FORWARD: ACCEPT -> DROP" in done.stdout
    assert "Unknown" not in done.stdout
    same = netverify("diff", f"{NFT}/firewalld.json", f"{NFT}/firewalld.json")
    assert same.returncode == 0, same.stdout
    assert "host, IPv6: no packet notices the change" in same.stdout


def _nft(path: Path, family: str, verdict: str, hook: str = "input") -> str:
    chain = {"family": family, "table": "t", "name": "c"}
    registered = {"type": "filter", "hook": hook, "prio": 0, "policy": "accept"}
    members: list[dict[str, object]] = [
        {"table": {"family": family, "name": "t"}},
        {"chain": chain | registered},
        {"rule": {"family": family, "table": "t", "chain": "c", "expr": [{verdict: None}]}},
    ]
    path.write_text(json.dumps({"nftables": members}))
    return str(path)


def test_chains_that_are_not_modelled_stay_unknown(tmp_path: Path) -> None:
    old = _nft(tmp_path / "old.json", "bridge", "accept")
    new = _nft(tmp_path / "new.json", "bridge", "drop")
    done = netverify("diff", old, new)
    assert done.returncode == 3, done.stdout
    assert "nftables: the chain bridge t c (hook input, priority 0) of host is not modelled" in done.stdout
    assert netverify("diff", old, old).returncode == 0
    changed = netverify(
        "diff", _nft(tmp_path / "a.json", "ip", "drop"), _nft(tmp_path / "b.json", "ip", "accept")
    )
    assert changed.returncode == 1, changed.stdout
    assert "OPENED  ip t c: DROP -> ACCEPT" in changed.stdout


def test_the_legacy_backend_beside_nft(tmp_path: Path) -> None:
    own = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -j DROP\nCOMMIT\n"
    changed = {"iptables-legacy-save.txt": own}
    old = snapshot_in(tmp_path / "old", without(**changed, **{"iptables-save.txt": own}))
    gone = {"iptables-legacy-save.txt": own.replace("udp", "tcp"), "iptables-save.txt": own}
    done = netverify("diff", old, snapshot_in(tmp_path / "new", without(**gone)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OPENED  legacy filter INPUT: DROP -> ACCEPT" in done.stdout


def test_where_a_forwarded_packet_came_in_is_known_to_postrouting(tmp_path: Path) -> None:
    def ruleset(name: str, *rules: object) -> str:
        where = {"family": "ip", "table": "t", "name": "c"}
        hook = {"type": "filter", "hook": "postrouting", "prio": 0, "policy": "accept"}
        members: list[dict[str, object]] = [{"table": {"family": "ip", "name": "t"}}, {"chain": where | hook}]
        members += ({"rule": {"family": "ip", "table": "t", "chain": "c", "expr": rule}} for rule in rules)
        (tmp_path / name).write_text(json.dumps({"nftables": members}))
        return str(tmp_path / name)

    device = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lan0"}}
    with_rule, without_rule = ruleset("old.json", [device, {"drop": None}]), ruleset("new.json")
    done = netverify("diff", with_rule, without_rule)
    assert done.returncode == 1, done.stdout
    assert "OPENED  ip t c: DROP -> ACCEPT" in done.stdout
