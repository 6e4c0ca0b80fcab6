"""Topology files: what can be written, and what a mistake in one is answered with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.errors import InputError
from netverify.topology.document import MOST_CHARACTERS
from netverify.topology.errors import TopologyFileError
from netverify.topology.load import load, loads
from netverify.topology.model import (
    Container,
    DockerDaemon,
    Endpoint,
    Host,
    Interface,
    Network,
    NetworkDriver,
    PortMapping,
    Role,
    Route,
    Segment,
    Topology,
)

FILES = sorted(Path("fixtures/topologies").absolute().glob("*.yaml"))


def test_everything_that_can_be_written():
    text = """
        name: all
        title: 5000:60            # text stays as it is written, whatever YAML 1.1 thinks
        source: one
        hosts:
          host:
            role: host
            forwarding: [ipv4, ipv6]
            interfaces:
              eth0: {segment: lan, address: 192.168.1.10/24, mac: 02:00:00:00:00:01, mtu: 1400, up: false}
            bridges: {br9: {address: 10.9.0.1/24}}
            routes: default via 192.168.1.1
            sysctls: {net.ipv4.conf.all.rp_filter: 1}
            docker: {version: 24.10, ipv6: true, userland_proxy: false, forward_policy: ACCEPT}
            listen: [tcp/22, udp/53]
          bare: {loopback: false, rules: "*filter", rules6: "*raw"}
          empty:
        segments: {lan: {subnet: 192.168.1.0/24}}
        networks:
          web: {subnet: [172.18.0.0/16, fd00:18::/64], gateway: 172.18.0.9, internal: true, mtu: 1300}
          mac: {driver: macvlan, parent: eth0, subnet: 192.168.1.0/24, mode: vepa}
        containers:
          c1:
            networks: {web: {address: 172.18.0.5, device: eth7, mac: 02:00:00:00:00:02, host_device: v}}
            publish: [8080:80, "[::1]:53:53/udp"]
            listen: tcp/80
            routes: [10.0.0.0/8 dev eth7]
          c2: {networks: [web, mac]}
          c3: {mode: "container:c1"}
        notes: {why: because}
    """
    lan, wan = ip_network("192.168.1.0/24"), ip_network("172.18.0.0/16")
    card = ip_interface("192.168.1.10/24")
    assert loads(text) == Topology(
        "all",
        "5000:60",
        ("one",),
        hosts=(
            Host(
                "host",
                Role.HOST,
                frozenset({"ipv4", "ipv6"}),
                (Interface("eth0", (card,), "lan", None, "02:00:00:00:00:01", 1400, False),),
                (Interface("br9", (ip_interface("10.9.0.1/24"),)),),
                (Route(ip_network("0.0.0.0/0"), ip_address("192.168.1.1")),),
                {"net.ipv4.conf.all.rp_filter": "1"},
                docker=DockerDaemon("24.10", ipv6=True, userland_proxy=False, forward_policy="ACCEPT"),
                listens=(("tcp", 22), ("udp", 53)),
            ),
            Host("bare", loopback=False, rules="*filter", rules6="*raw"),
            Host("empty"),
        ),
        segments=(Segment("lan", (lan,)),),
        networks=(
            Network(
                "web",
                NetworkDriver.BRIDGE,
                ("host",),
                (wan, ip_network("fd00:18::/64")),
                (ip_address("172.18.0.9"),),
                internal=True,
                mtu=1300,
            ),
            Network("mac", NetworkDriver.MACVLAN, ("host",), (lan,), device="eth0", mode="vepa"),
        ),
        containers=(
            Container(
                "c1",
                "host",
                (Endpoint("web", (ip_address("172.18.0.5"),), "eth7", "02:00:00:00:00:02", "v"),),
                publish=(PortMapping(8080, 80), PortMapping(53, 53, "udp", ip_address("::1"))),
                listens=(("tcp", 80),),
                routes=(Route(ip_network("10.0.0.0/8"), device="eth7"),),
            ),
            Container("c2", "host", (Endpoint("web"), Endpoint("mac"))),
            Container("c3", "host", mode="container:c1"),
        ),
        notes={"why": "because"},
    )


def cases(name: str) -> dict[str, str]:
    """Texts by title. Each has the mark <--- on the line that its error must name."""
    text = Path(__file__).with_name(name).read_text().removeprefix("==== ")
    return dict(case.split("\n", 1) for case in text.split("\n==== "))


# What a file says wrongly by itself, and where its parts contradict each other.
WRONG = {name: cases(name) for name in ("mistakes.txt", "contradictions.txt")}


def error_in(text: str) -> TopologyFileError:
    with pytest.raises(TopologyFileError) as caught:
        loads(text, "file.yaml")
    return caught.value


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in WRONG for case in WRONG[name]])
def test_a_mistake_is_answered_with_its_place(name: str, case: str):
    text = WRONG[name][case]
    error = error_in(text)
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "<---" in line)
    assert (error.place.file, error.place.line) == ("file.yaml", line), error
    assert str(error).startswith(f"file.yaml:{line}:{error.place.column}: ")


@pytest.mark.parametrize("name", WRONG)
def test_what_the_errors_say(name: str, golden: Callable[[str, str], None]):
    said = (f"==== {case}\n{error_in(text)}\n" for case, text in WRONG[name].items())
    golden(f"topology/{name}", "".join(said))


def test_the_error_points_at_the_value():
    with pytest.raises(TopologyFileError) as caught:
        loads("name: t\nhosts: {a: {role: hots}}\n", "file.yaml")
    assert str(caught.value) == (
        "file.yaml:2:19: hosts.a.role: 'hots' is unknown; "
        "expected one of host, router, neighbour, internet, netns (did you mean 'host'?)\n"
        "    hosts: {a: {role: hots}}\n"
        "                      ^"
    )
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("name: t\ntitle: a\x1b[31m", 2, r"there is U\+001B in it"),
        ("name: t\r\n\u2028title: '\ud800'", 3, r"there is U\+D800 in it"),
        ("%YAML " + "9" * 5000 + ".1\n---\nname: t", 1, "it is no YAML"),
        ('title: "\\UFFFFFFFF"\nname: t', 1, "it is no YAML"),
        ("name: t\nhosts:\n  " + "a" * 64 + ":", 3, "at most 63"),
    ],
    ids=["control character", "lone surrogate", "large number", "beyond Unicode", "long name"],
)
def test_texts_that_do_not_print(text: str, line: int, words: str):
    error = error_in(text)
    assert error.place.line == line
    assert re.search(words, str(error))


def test_the_error_shows_what_a_terminal_would_obey_as_text():
    error = str(error_in("name: t\ntitle: a\x1b[31m"))
    assert "\x1b" not in error
    assert r"\x1b[31m" in error


def test_the_host_can_be_left_out_where_only_one_has_the_role():
    topology = loads("name: t\nhosts: {h: {role: host}, n: {}}\nnetworks: {b: {subnet: 10.0.0.0/24}}\n")
    assert topology.network("b").hosts == ("h",)


def test_anchors_and_aliases_work():
    topology = loads("name: t\nhosts:\n  a: &a {forwarding: ipv4}\n  b: *a\n")
    assert topology.host("b").forwarding == frozenset({"ipv4"})


def test_an_alias_bomb_is_defused():
    bridges = ", ".join(["d0: &d {address: []}", *(f"d{number}: *d" for number in range(1, 400))])
    hosts = "".join(f"  h{number}: {{bridges: *b}}\n" for number in range(400))
    text = f"name: t\nhosts:\n  h: {{bridges: &b {{{bridges}}}}}\n{hosts}"
    with pytest.raises(TopologyFileError, match="more than 100000 values"):
        loads(text)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "name: &a [*a]", "hosts: &a {a: *a}"]
)
def test_nesting_is_bounded(text: str):
    with pytest.raises(TopologyFileError):
        loads(text)


def test_a_huge_text_is_not_read():
    with pytest.raises(TopologyFileError, match="it has 1000001 characters"):
        loads(" " * (MOST_CHARACTERS + 1))


@pytest.mark.parametrize("text", ["", "# nothing", "---"])
def test_an_empty_file(text: str):
    with pytest.raises(TopologyFileError, match=r"f.yaml(:1:4)?: (it is empty|there is no mapping)"):
        loads(text, "f.yaml")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(TopologyFileError, match=r"none\.yaml: it cannot be read: No such file") as caught:
        load(tmp_path / "none.yaml")
    assert caught.value.place.line is None


def test_a_directory(tmp_path: Path):
    with pytest.raises(TopologyFileError, match="it cannot be read: Is a directory"):
        load(tmp_path)


def test_a_path_that_cannot_be():
    with pytest.raises(TopologyFileError, match="it cannot be read: embedded null byte"):
        load("a\0b")


def test_a_file_in_another_encoding(tmp_path: Path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("name: t\ntitle: Br\xfccke\n".encode("latin-1"))
    with pytest.raises(TopologyFileError, match=r"latin\.yaml:2: byte 0xfc is no UTF-8"):
        load(os.fspath(file))


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path):
    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: t\r\nhosts:\r\n  a:\r\n")
    assert load(file) == Topology("t", hosts=(Host("a"),))


YAML = st.text(
    st.sampled_from("abz019 \n\t:-,[]{}&*!|>'\"%@`#?~.\\/\x85\u2028\ud800\U0010ffffé"), max_size=60
)


def only_a_topology_or_its_error(text: str) -> None:
    message = ""
    try:
        assert isinstance(loads(text, "fuzz.yaml"), Topology)
    except TopologyFileError as error:
        message = str(error)
    assert message == "" or message.startswith("fuzz.yaml:")
    assert all(character.isprintable() or character == "\n" for character in message)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(max_size=60), YAML))
def test_any_text_is_a_topology_or_an_error(text: str):
    only_a_topology_or_its_error(text)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_damage_to_a_file_is_a_topology_or_an_error(data: st.DataObject):
    text = data.draw(st.sampled_from([path.read_text() for path in FILES]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 30)))
        words = st.sampled_from([text[end : end + 40], "", "0", "host", "10.0.0.0/8"])
        filling = data.draw(st.one_of(YAML, words))
        text = text[:start] + filling + text[end:]
    only_a_topology_or_its_error(text)
