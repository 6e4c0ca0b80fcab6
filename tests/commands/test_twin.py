"""`netverify twin` and `netverify reach --twin`: a host rebuilt from its snapshot, and asked with packets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.commands.asking import ROOT, netverify, refused, snapshot_in
from tests.host.samples import ADDR, IPTABLES, without

# Somebody who breaks the model before the command runs: it no longer believes in rules that drop.
BROKEN = """
import sys
from netverify.cli import main
from netverify.dataplane import program
from netverify.dataplane.targets import Verdict

right = program.CompiledChain.__init__

def wrong(self, *arguments, **named):
    right(self, *arguments, **named)
    if self.policy is Verdict.DROP:
        object.__setattr__(self, "policy", Verdict.ACCEPT)

program.CompiledChain.__init__ = wrong
sys.exit(main(sys.argv[1:]))
"""


def test_model_and_twin_agree(tmp_path: Path) -> None:
    done = netverify("twin", snapshot_in(tmp_path), "--tcp", "80")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(
        r"Twin of snapshot of web-7: built in \d+\.\d\d s, 16 cells of tcp/80 asked in \d", done.stdout
    )
    assert "     16  cells: model and twin agree\n      0  cells: model and twin differ" in done.stdout


def test_a_published_port_is_served_behind_translation_and_proxy(tmp_path: Path) -> None:
    """8080 of the host is port 80 of the container: DNAT for others, the proxy for the host."""
    done = netverify("twin", snapshot_in(tmp_path), "--tcp", "8080", "--to", "host", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert {cell["src"]: cell["twin"] for cell in found["cells"]} == {
        "web": "arrives",
        "host": "arrives",
        "lan": "arrives",
        "internet": "arrives",
    }
    assert found["differences"] == []
    assert set(found["seconds"]) == {"built", "asked"}


def test_reach_fills_the_twin_column(tmp_path: Path) -> None:
    arguments = ("reach", snapshot_in(tmp_path), "--tcp", "80", "--format", "json")
    alone, both = (json.loads(netverify(*arguments, *more).stdout) for more in ((), ("--twin",)))
    assert {cell["twin"] for cell in alone["cells"]} == {None}
    assert all(cell["twin"] == cell["model"] for cell in both["cells"])
    assert [cell | {"twin": None} for cell in both["cells"]] == alone["cells"]
    assert set(both["cells"][0]) == {"src", "dst", "address", "proto", "port", "model", "twin", "rule"}
    text = netverify("reach", str(tmp_path), "--tcp", "80", "--twin").stdout
    assert "Decided by" in text
    assert "model and twin agree" in text
    assert "--any is about all" in refused(netverify("reach", str(tmp_path), "--any", "--twin"))


def test_a_wrong_model_is_found_out(tmp_path: Path) -> None:
    snapshot = snapshot_in(tmp_path)
    command = [sys.executable, "-c", BROKEN, "twin", snapshot, "--tcp", "81"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Model and twin differ: a fault of netverify, please report it with the snapshot" in done.stdout
    assert "    lan -> web (172.17.0.2)\n        model: arrives" in done.stdout
    assert "        twin:  filtered (dropped by host: filter FORWARD policy)" in done.stdout
    command += ["--json", "--from", "lan", "--to", "web"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    (difference,) = json.loads(done.stdout)["differences"]
    assert (difference["model"], difference["twin"]) == ("arrives", "filtered")


def test_what_a_device_does_that_nobody_rebuilds_is_not_twinned(tmp_path: Path) -> None:
    """Behind wg0 nothing was asked; everything else is."""
    tunnel = {
        "ifindex": 9,
        "ifname": "wg0",
        "flags": ["POINTOPOINT", "NOARP", "UP", "LOWER_UP"],
        "link_type": "none",
        "linkinfo": {"info_kind": "wireguard"},
        "addr_info": [{"family": "inet", "local": "10.9.0.1", "prefixlen": 24}],
    }
    texts = without(**{"addr.json": json.dumps([*ADDR, tunnel])})
    done = netverify("twin", snapshot_in(tmp_path, texts), "--tcp", "80", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["not_twinned"] == [
        "host: device wg0: wireguard devices are not rebuilt; a plain cable stands in its place"
    ]
    for cell in found["cells"]:
        passes = "lan-wg0" in (cell["src"], cell["dst"])
        assert (cell["twin"] == "not twinned") is passes, cell
    text = netverify("twin", str(tmp_path), "--tcp", "80").stdout
    assert "Not twinned\n    host: device wg0: wireguard" in text


def test_rules_that_this_kernel_does_not_take_leave_nothing_to_compare(tmp_path: Path) -> None:
    rules = IPTABLES.replace("-A FORWARD -o docker0 -j DOCKER", "-A FORWARD -m nosuchmatch -j DOCKER")
    texts = without(**{"iptables-save.txt": rules, "iptables-legacy-save.txt": rules})
    done = netverify("twin", snapshot_in(tmp_path, texts), "--tcp", "80")
    assert done.returncode == 3
    assert "Not twinned\n    host: rules: host: iptables-legacy-restore -w: " in done.stdout
    assert "nosuchmatch" in done.stdout
    assert "     16  cells: not twinned" in done.stdout


def test_what_was_not_collected_is_not_compared(tmp_path: Path) -> None:
    done = netverify("twin", snapshot_in(tmp_path, without("nft.json")), "--tcp", "80")
    assert done.returncode == 3
    assert "cells: the model's answer is unknown" in done.stdout
    assert "nft.json: it is not in the snapshot" in done.stdout


def test_bad_input(tmp_path: Path) -> None:
    assert "cannot be read" in refused(netverify("twin", str(tmp_path / "none.json")))
    snapshot = snapshot_in(tmp_path)
    assert "nobody is called 'wen'" in refused(netverify("twin", snapshot, "--to", "wen"))
    (tmp_path / "addr.json").write_text('[{"ifname": ')
    assert "addr.json" in refused(netverify("twin", snapshot))


def test_hold_says_how_to_get_in_and_ends_when_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netverify", "twin", snapshot_in(tmp_path), "--tcp", "80", "--hold"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("Held until"):
                break
        (inside,) = (line.split(maxsplit=1)[1] for line in said if line.startswith("  web "))
        shell = [*inside.split(), "ip", "-o", "-4", "address"]
        shown = subprocess.run(shell, capture_output=True, text=True, check=False)
        answered = subprocess.run(
            [*next(line for line in said if line.startswith("  lan ")).split()[1:], *_ASK],
            capture_output=True,
            text=True,
            check=False,
        )
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert "172.17.0.2/16" in shown.stdout, shown.stderr
    assert "web tcp/80 sees you as 198.51.100.2:" in answered.stdout, answered.stderr
    assert rest.endswith("Gone.\n")


_ASK = [
    sys.executable,
    "-c",
    "import socket; print(socket.create_connection(('198.51.100.10', 8080), 5).recv(99).decode())",
]
