"""`netverify trace`: what it says, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.asking import RULES, TOPOLOGIES, netverify, refused, snapshot_in
from tests.host.samples import ADDR, ROUTES, without

Golden = Callable[[str, str], None]
PUBLISHED = f"{TOPOLOGIES}/docker-published.yaml"


def test_a_published_port_arrives(golden: Golden) -> None:
    done = netverify("trace", PUBLISHED, "neighbour", "host", "--tcp", "8080")
    assert (done.returncode, done.stderr) == (0, "")
    golden("commands/trace-arrives.txt", done.stdout)


def test_between_two_networks_it_does_not(golden: Golden) -> None:
    done = netverify("trace", PUBLISHED, "web1", "apart1", "--tcp", "80", "--every-rule")
    assert (done.returncode, done.stderr) == (1, "")
    golden("commands/trace-blocked.txt", done.stdout)


def test_json_says_the_same() -> None:
    done = netverify("trace", PUBLISHED, "web1", "apart1", "--tcp", "80", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["verdict"], said["outcome"]) == ("blocked", "filtered")
    assert said["rule"].startswith("host: filter DOCKER-ISOLATION-STAGE-2 rule 1: ")
    request = said["exchange"]["request"]
    assert request["deciding"] == "filter:DOCKER-ISOLATION-STAGE-2:rule:1"
    assert {step["host"] for step in request["steps"]} == {"web1", "host"}


def test_a_lost_answer_is_told_apart_from_a_lost_request(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text(
        "*filter\n:FORWARD ACCEPT\n-A FORWARD -i lan1 -m conntrack --ctstate ESTABLISHED -j DROP\nCOMMIT\n"
    )
    links = ["--link", "lan0=10.0.0.1/24", "--link", "lan1=10.0.1.1/24"]
    done = netverify("trace", str(rules), "lan0", "10.0.1.7", "--udp", "53", *links)
    assert done.returncode == 1
    assert (
        "Result: DOES NOT WORK. The request arrives at somebody behind lan1, but its answer is lost"
        in done.stdout
    )
    assert "decided by  host: filter FORWARD rule 1: " in done.stdout
    back = netverify("trace", str(rules), "lan1", "10.0.0.7", "--udp", "53", *links)
    assert back.returncode == 0


def test_a_snapshot_from_the_internet_to_a_published_port(tmp_path: Path) -> None:
    done = netverify("trace", snapshot_in(tmp_path), "internet", "host", "--tcp", "8080")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Result: ARRIVES. The request arrives at web, and its answer at internet." in done.stdout
    assert "NAT: destination 198.51.100.10 -> 172.17.0.2; dport 8080 -> 80" in done.stdout


def test_the_internet_has_no_route_to_a_container(tmp_path: Path) -> None:
    done = netverify("trace", snapshot_in(tmp_path), "internet", "web", "--tcp", "80")
    assert done.returncode == 1
    assert "Nothing is sent to 172.17.0.2: internet has no route" in done.stdout


def test_the_host_s_own_way_to_its_published_port_is_the_proxy(tmp_path: Path) -> None:
    """There is no rule of DNAT for what the host itself sends to 127.0.0.1: docker-proxy answers."""
    done = netverify("trace", snapshot_in(tmp_path), "host", "127.0.0.1", "--tcp", "8080")
    assert done.returncode == 0, done.stdout
    assert "Proxy's Request  tcp 172.17.0.1:" in done.stdout
    assert "arrives at web" in done.stdout


def test_a_forged_source(tmp_path: Path) -> None:
    snapshot = snapshot_in(tmp_path)
    done = netverify("trace", snapshot, "lan", "host", "--icmp", "--source", "172.17.0.2")
    assert done.returncode == 1
    assert "Request  icmp 172.17.0.2 -> 198.51.100.10" in done.stdout
    honest = netverify("trace", snapshot, "lan", "host", "--icmp", "--source", "198.51.100.77")
    assert honest.returncode == 0, honest.stdout


@pytest.mark.parametrize("part", ["nft.json", "iptables-legacy-save.txt", "sysctl.txt", "route.json"])
def test_what_depends_on_a_missing_part_is_unknown(tmp_path: Path, part: str) -> None:
    done = netverify("trace", snapshot_in(tmp_path, without(part)), "web", "lan", "--tcp", "80")
    assert done.returncode == 3, done.stdout
    assert "Result: UNKNOWN. By what was collected, " in done.stdout
    assert f"unknown     {part}: it is not in the snapshot" in done.stdout


def test_what_does_not_depend_on_it_is_answered(tmp_path: Path) -> None:
    parts = without("ip6tables-save.txt", "ipset.txt", "listen.txt")
    done = netverify("trace", snapshot_in(tmp_path, parts), "web", "lan", "--tcp", "80")
    assert done.returncode == 0, done.stdout


def test_without_devices_nobody_could_look(tmp_path: Path) -> None:
    said = refused(netverify("trace", snapshot_in(tmp_path, without("addr.json")), "web", "lan"), 3)
    assert "addr.json was not collected (it is not in the snapshot)" in said


MISTAKES = [
    (
        [PUBLISHED, "web11", "apart1"],
        "nobody is called 'web11' in topology docker-published (did you mean web1?)",
    ),
    ([PUBLISHED, "web1", "apartx"], "(did you mean apart"),
    ([PUBLISHED, "web1", "\x1b[31mred"], "nobody is called '\\x1b[31mred'"),
    ([PUBLISHED, "web1", "web1@10.0.0.300"], "'10.0.0.300' is not an IP address"),
    ([PUBLISHED, "web1", "host:99999", "--tcp", "80"], "'99999' is not a port from 1 to 65535"),
    ([PUBLISHED, "web1", "host:80", "--icmp"], "target 'host:80' has a port, and icmp has none"),
    (
        [PUBLISHED, "web1", "apart1", "--source", "fd00::1"],
        "fd00::1 -> 172.20.0.2: two addresses of different",
    ),
    ([PUBLISHED, "web1", "apart1", "--source", "x"], "'x' is not an IP address"),
    ([PUBLISHED, "web1", "apart1", "-6"], "apart1 has no IPv6 address to send to; it has 172.20.0.2"),
    (
        [PUBLISHED, "web1", "apart1", "--link", "eth0=10.0.0.1/24"],
        "--link describes the host of a bare ruleset",
    ),
    ([RULES, "br-web", "host", "--link", "eth0"], "--link eth0: expected DEVICE=ADDRESS/LENGTH"),
    ([RULES, "br-web", "host", "--link", "eth0=1.2.3"], "--link eth0=1.2.3: "),
    ([PUBLISHED, "web1"], "expected WHERE FROM TO, got 2"),
    (["--live", "a", "b", "c"], "expected FROM TO after --live, got 3"),
    ([PUBLISHED, "web1", "apart1", "--tcp", "0"], "'0' is not a port from 1 to 65535"),
    ([PUBLISHED, "web1", "apart1", "--tcp", "1", "--udp", "2"], "not allowed with argument"),
    (["nowhere.yaml", "a", "b"], "nowhere.yaml: cannot be read: No such file or directory"),
    (["no\x1b[31mwhere", "a", "b"], "no\\x1b[31mwhere: cannot be read"),
    (
        ["README.md", "a", "b"],
        "README.md: it is none of the kinds of file that can be asked; expected the text of",
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES)
def test_mistakes(arguments: list[str], expected: str) -> None:
    assert expected in refused(netverify("trace", *arguments))


def test_what_is_not_modelled_is_assumed_and_tried_otherwise(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    string = '-m string --string "GET" --algo bm'
    rules.write_text(f"*filter\n:FORWARD ACCEPT\n-A FORWARD -i a -o b {string} -j DROP\nCOMMIT\n")
    done = netverify("trace", str(rules), "a", "b", "--tcp", "80")
    assert done.returncode == 0
    assert "  assumed     no: -m string " in done.stdout
    assert "  otherwise   DOES NOT ARRIVE, if -m string " in done.stdout
    (other,) = json.loads(netverify("trace", str(rules), "a", "b", "--tcp", "80", "--json").stdout)[
        "otherwise"
    ]
    assert (other["if"], other["verdict"]) == ({string: True}, "blocked")


def test_what_the_unknowns_cannot_change_is_certain_and_what_several_change_together_is_shown(
    tmp_path: Path,
) -> None:
    links = ["--link", "lan0=10.0.0.1/24", "--link", "lan1=10.0.1.1/24", "--udp", "53"]
    rare, often = "-m limit --limit 1/sec", "-m limit --limit 5/sec"
    rules = tmp_path / "rules.txt"
    rules.write_text(f"*filter\n:FORWARD ACCEPT\n-A FORWARD {rare} -j ACCEPT\nCOMMIT\n")
    sure = netverify("trace", str(rules), "lan0", "10.0.1.7", *links)
    assert "  certain     ARRIVES, whatever the unknowns say\n" in sure.stdout
    assert "  otherwise" not in sure.stdout
    text = f"*filter\n:FORWARD DROP\n-A FORWARD {rare} -j ACCEPT\n-A FORWARD {often} -j ACCEPT\nCOMMIT\n"
    rules.write_text(text)
    both = netverify("trace", str(rules), "lan0", "10.0.1.7", *links)
    said = " and ".join(
        f"not {test} (host: filter:FORWARD:rule:{number})" for number, test in enumerate((rare, often), 1)
    )
    assert f"  otherwise   DOES NOT ARRIVE, if {said}\n" in both.stdout
    assert "  certain" not in both.stdout


def test_a_chain_of_nat_decides_nothing(tmp_path: Path) -> None:
    """Native chains have any name; those that are asked for a translation let no packet pass."""
    members: list[dict[str, object]] = [{"table": {"family": "inet", "name": "t"}}]
    for name, kind, priority in (("f", "filter", 0), ("n", "nat", 100)):
        where = {"family": "inet", "table": "t", "name": name}
        members.append(
            {"chain": where | {"type": kind, "hook": "input", "prio": priority, "policy": "accept"}}
        )
    rules = tmp_path / "nft.json"
    rules.write_text(json.dumps({"nftables": members}))
    links = ["--link", "lan0=10.0.0.1/24"]
    done = netverify("trace", str(rules), "lan0", "host", "--tcp", "22", *links)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decided by  host: inet t f policy ACCEPT" in done.stdout


def test_hostile_names_of_devices_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    """The kernel lets a device be called by anything but blanks, slashes and colons."""
    device = {"ifname": "\x1b[31m", "ifindex": 7, "addr_info": [{"local": "10.7.0.1", "prefixlen": 24}]}
    addresses = json.dumps([*ADDR, device])
    routes = json.dumps([*ROUTES, {"dst": "10.7.0.0/24", "dev": device["ifname"]}])
    snapshot = snapshot_in(tmp_path, without(**{"addr.json": addresses, "route.json": routes}))
    done = netverify("trace", snapshot, "web", "10.7.0.9")
    assert done.returncode == 0, done.stderr
    assert "out \\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    said = refused(netverify("trace", snapshot, "nobody", "host"))
    assert "\\x1b[31m" in said
    matrix = netverify("reach", snapshot)
    assert (matrix.returncode, matrix.stderr) == (0, "")
    assert "\\x1b[31m" in matrix.stdout
    assert "\x1b" not in matrix.stdout
