"""Drawings of topologies: some that people have looked at, and what must hold for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from netverify.reachability.text import width
from netverify.report.drawing import draw
from netverify.topology.load import load, loads
from netverify.topology.model import Topology
from tests.strategies.topology import topologies

FOLDER = Path(__file__).parents[2] / "fixtures" / "topologies"
FILES = sorted(FOLDER.glob("*.yaml"))
SINK = loads("""
    name: sink
    title: What the documented topologies do not have
    segments: {lan: {subnet: 192.168.1.0/24}, unused: {}, wan: {}}
    hosts:
      host:
        role: host
        interfaces:
          eth0: {segment: lan, address: 192.168.1.10/24, mtu: 9000}
          eth1: {up: false}
        bridges: {br9: {address: 10.9.0.1/24}, empty: {}}
        sysctls: {net.ipv4.conf.all.rp_filter: 1}
        rules: |
          *filter
          -A FORWARD -j DROP
          COMMIT
        listen: [tcp/22, udp/53]
      ns1: {routes: default via 10.9.0.1}
      ns2: {}
      ns3: {}
      ns4: {}
      far: {role: internet, interfaces: {eth0: {segment: wan, address: 203.0.113.9/24}}, forwarding: ipv6}
    networks:
      web: {device: br0, subnet: [172.18.0.0/16, "fd00:18::/64"], masquerade: false}
      back: {subnet: 172.19.0.0/16, default_route: false}
      div: {driver: ipvlan, parent: eth0, mode: l3, subnet: 192.168.7.0/24}
    containers:
      front: {networks: [web, back], publish: ["80:80", "[::1]:53:53/udp"]}
      store: {networks: back, routes: 10.0.0.0/8 via 172.19.0.1}
      side: {mode: "container:store", listen: tcp/6379}
      agent: {mode: host}
      routed: {networks: div}
      alone: {mode: none}
    cables:
      - {host:veth1: {master: br9}, ns1:eth0: {address: 10.9.0.5/24}}
      - {host:veth2: {master: br0}, ns2:eth0: {address: 172.18.5.5/16}}
      - {ns3:a: {}, ns4:a: {}}
      - {ns3:b: {}, ns4:b: {}}
      - {ns4:c: {}, far:c: {}}
      - {host:veth3: {address: 10.8.0.1/24}, store:eth9: {address: 10.8.0.2/24}}
      - {far:loop0: {}, far:loop1: {}}
    notes: {why: to look at}
""")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_documented_topologies(path: Path, golden: Callable[[str, str], None]):
    golden(f"drawings/{path.stem}.txt", draw(load(path)))


def test_everything_else(golden: Callable[[str, str], None]):
    golden("drawings/everything-else.txt", draw(SINK))


def test_ascii(golden: Callable[[str, str], None]):
    drawing = draw(SINK, plain=True)
    assert drawing.isascii()
    golden("drawings/everything-else-ascii.txt", drawing)


def test_many_containers_go_to_several_rows(golden: Callable[[str, str], None]):
    containers = "".join(f"  c{number}: {{networks: web}}\n" for number in range(12))
    text = "name: many\nhosts: {host: {role: host}}\nnetworks: {web: {device: br0, subnet: 10.0.0.0/24}}\n"
    golden("drawings/many.txt", draw(loads(f"{text}containers:\n{containers}")))


def test_nothing_at_all():
    assert draw(Topology("empty")) == "empty: nothing in it"


def test_a_title_cannot_steer_the_terminal():
    assert "\u202e" not in draw(Topology("t", notes={"a": "b\tc\nd"}))
    assert draw(Topology("t", notes={"a": "b\tc\nd"})).endswith(r"a: b\tc\nd")


def cells(line: str) -> list[str]:
    """The character in each terminal cell; a wide one is in two."""
    return [character for character in line for _ in range(width(character))]


def assert_frames_are_closed(drawing: str) -> None:
    """From each upper corner a side leads straight down to a lower corner."""
    grid = [cells(line) for line in drawing.split("\n")]
    for row, line in enumerate(grid):
        for column, character in enumerate(line):
            if character not in "┌┐":
                continue
            below = row + 1
            while column < len(grid[below]) and grid[below][column] in ("│", "┤"):
                below += 1
            assert grid[below][column] == {"┌": "└", "┐": "┘"}[character], drawing


@settings(deadline=None, max_examples=80)
@given(topologies())
def test_everybody_is_in_the_drawing_and_every_frame_is_closed(topology: Topology):
    drawing = draw(topology)
    resolved = topology.resolved()
    for node in (*resolved.hosts, *resolved.containers):
        assert node.name in drawing
        for address in resolved.addresses_of(node.name):
            assert str(address) in drawing
    assert all(character.isprintable() or character == "\n" for character in drawing)
    assert all(line == line.rstrip() for line in drawing.split("\n"))
    assert_frames_are_closed(drawing.split("\n\n", 1)[-1])
