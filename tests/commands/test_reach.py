"""`netverify reach`: matrices, the rules behind them, and any packet at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.commands.asking import RULES, TOPOLOGIES, netverify, refused, snapshot_in
from tests.host.samples import without

Golden = Callable[[str, str], None]


def test_a_lab(golden: Golden) -> None:
    done = netverify("reach", f"{TOPOLOGIES}/docker-published.yaml", "--tcp", "80")
    assert (done.returncode, done.stderr) == (0, "")
    golden("commands/reach-lab.txt", done.stdout)


def test_a_bare_ruleset(golden: Golden) -> None:
    done = netverify("reach", RULES, "--tcp", "80")
    assert (done.returncode, done.stderr) == (0, "")
    golden("commands/reach-rules.txt", done.stdout)


def test_json_has_a_cell_for_every_pair(tmp_path: Path) -> None:
    done = netverify("reach", snapshot_in(tmp_path), "--tcp", "80", "--format", "json")
    assert done.returncode == 0, done.stderr
    cells = {(cell["src"], cell["dst"]): cell for cell in json.loads(done.stdout)["cells"]}
    assert {source for source, _ in cells} == {"web", "host", "lan", "internet"}
    assert cells["lan", "web"] == {
        "src": "lan",
        "dst": "web",
        "address": "172.17.0.2",
        "proto": "tcp",
        "port": 80,
        "model": "arrives",
        "twin": None,
        "rule": "host: filter DOCKER rule 1: -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp"
        " --dport 80 -j ACCEPT",
    }
    assert cells["internet", "web"]["model"] == "unreachable"


def test_some_rows_and_columns(tmp_path: Path) -> None:
    snapshot = snapshot_in(tmp_path)
    done = netverify(
        "reach", snapshot, "--udp", "53", "--from", "lan", "--from", "docker0", "--to", "web", "--json"
    )
    cells = json.loads(done.stdout)["cells"]
    assert [(cell["src"], cell["dst"], cell["model"]) for cell in cells] == [
        ("lan", "web", "filtered"),
        ("docker0", "web", "filtered"),
    ]
    assert "nobody is called 'wen'" in refused(netverify("reach", snapshot, "--to", "wen"))


def test_unknown_cells_are_no_blocked_ones(tmp_path: Path) -> None:
    done = netverify("reach", snapshot_in(tmp_path, without("nft.json")), "--tcp", "80")
    assert done.returncode == 3
    assert "E  unknown: something that it depends on was not collected" in done.stdout
    assert "nft.json: it is not in the snapshot" in done.stdout
    cells = json.loads(netverify("reach", str(tmp_path), "--tcp", "80", "--json").stdout)["cells"]
    assert {cell["model"] for cell in cells if "host" in (cell["src"], cell["dst"])} == {"unknown"}


def test_nobody_to_ask_over_ipv6() -> None:
    said = refused(netverify("reach", f"{TOPOLOGIES}/docker-published.yaml", "-6"))
    assert "has an IPv6 address" in said


MATRIX = """\
            br-apart  br-web  docker0  br-sealed  outside  host
br-apart    -         X       X        X          .        .
br-web      X         -       X        X          .        .
docker0     X         X       -        X          .        .
br-sealed   X         X       X        -          X        .
outside     .         .       X        X          -        .
host        .         .       .        .          .        -
"""


def test_any_packet_at_all() -> None:
    """Not one packet of any kind crosses Docker's isolation; from outside only published ports are open."""
    done = netverify("reach", RULES, "--any")
    assert (done.returncode, done.stderr) == (0, "")
    assert MATRIX in done.stdout
    assert "   10  X  no packet arrives" not in done.stdout
    assert "  outside -> br-web  tcp " in done.stdout
    assert "by host: filter DOCKER rule 3: " in done.stdout


def test_any_packet_of_a_service_and_with_forged_sources() -> None:
    done = netverify("reach", RULES, "--any", "--tcp", "81", "--from", "outside", "--to", "br-web", "--json")
    (passage,) = json.loads(done.stdout)["passages"]
    assert (passage["packet"]["dport"], passage["surely"], passage["answered"]) == (81, True, True)
    none = netverify("reach", RULES, "--any", "--tcp", "7", "--from", "outside", "--to", "br-web", "--json")
    assert json.loads(none.stdout)["passages"] == []
    # The sealed network's own rule believes the source, so that a forged one gets in from another bridge.
    forged = ["reach", RULES, "--any", "--from", "br-web", "--to", "br-sealed", "--json"]
    assert json.loads(netverify(*forged).stdout)["passages"] == []
    (passage,) = json.loads(netverify(*forged, "--spoofed").stdout)["passages"]
    assert passage["packet"]["source"].startswith("172.19.")
    assert not passage["answered"]


def test_any_packet_where_a_rule_is_not_modelled(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    string = '-m string --string "GET" --algo bm'
    rules.write_text(f"*filter\n:FORWARD DROP\n-A FORWARD -i a -o b {string} -j ACCEPT\nCOMMIT\n")
    done = netverify("reach", str(rules), "--any", "--from", "a", "--to", "b")
    assert done.returncode == 0, done.stderr
    assert "    1  ?  some packet may arrive: it depends on what is not known" in done.stdout
    assert "if -m string" in done.stdout


def test_any_packet_with_parts_missing(tmp_path: Path) -> None:
    done = netverify("reach", snapshot_in(tmp_path, without("nft.json")), "--any")
    assert done.returncode == 3
    assert "nft.json: it is not in the snapshot" in done.stdout
    assert "--spoofed is about --any packet" in refused(netverify("reach", RULES, "--spoofed"))
