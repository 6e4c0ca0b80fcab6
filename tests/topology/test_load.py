"""Topology files: what can be written, and what a mistake in one is answered with."""

from __future__ import annotations

import os
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
    assert loads(text) == Topology(
        "all",
        "5000:60",
        ("one",),
        hosts=(
            Host(
                "host",
                Role.HOST,
                frozenset({"ipv4", "ipv6"}),
                (
                    Interface(
                        "eth0",
                        (ip_interface("192.168.1.10/24"),),
                        "lan",
                        None,
                        "02:00:00:00:00:01",
                        1400,
                        False,
                    ),
                ),
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


# Each text has the mark <--- on the line that its error must name; then the key path, and what it must say.
WRONG: dict[str, tuple[str, str, str]] = {
    "no mapping": ("- a  # <---", "", "there is no mapping; expected keys such as name, hosts"),
    "no name": ("title: x  # <---", "", "it has no name"),
    "empty name": ("name:  # <---", "name", "there is nothing; expected text"),
    "unknown key": ("name: t\nhost: {}  # <---", "host", "did you mean 'hosts'?"),
    "unknown key inside": (
        "name: t\nhosts:\n  a:\n    interfaces:\n      eth0: {addres: 10.0.0.1/24}  # <---",
        "hosts.a.interfaces.eth0.addres",
        "did you mean 'address'?",
    ),
    "plural": ("name: t\nhosts: {a: {listens: tcp/80}}  # <---", "hosts.a.listens", "did you mean 'listen'?"),
    "key twice": ("name: t\nhosts:\n  a:\n  b:\n  a:  # <---", "hosts.a", "the key comes twice"),
    "key in other quotes": ("name: t\nhosts:\n  a:\n  'a':  # <---", "hosts.a", "the key comes twice"),
    "no key": ("name: t\nhosts:\n  [a]: {}  # <---", "hosts.?", "it is no key"),
    "null key": ("name: t\nhosts:\n  ~: {}  # <---", "hosts.?", "it is no key"),
    "merge key": (
        "name: t\nhosts:\n  a: &a {}\n  b: {<<: *a}  # <---",
        "hosts.b.<<",
        "is unknown; expected one of",
    ),
    "tag": (
        "name: !!python/object/apply:os.system [true]  # <---",
        "name",
        "the tag 'tag:yaml.org,2002:python",
    ),
    "set": ("name: t\nhosts: !!set {a}  # <---", "hosts", "means nothing here; expected a plain value"),
    "list for a mapping": (
        "name: t\nhosts: [a, b]  # <---",
        "hosts",
        "there is a list; expected hosts by name",
    ),
    "text for a mapping": (
        "name: t\nhosts:\n  a: yes  # <---",
        "hosts.a",
        "there is a text, 'yes'; expected a host",
    ),
    "mapping for a list": (
        "name: t\nsource: {a: b}  # <---",
        "source",
        "there is a mapping; expected a list",
    ),
    "mapping for a text": ("name: {a: b}  # <---", "name", "there is a mapping; expected text"),
    "list for a text": ("name: [a]  # <---", "name", "there is a list; expected text"),
    "not YAML": ("name: t\nhosts: {a: ]  # <---", "", "it is no YAML"),
    "tab": ("name: t\nhosts:\n\ta: {}  # <---", "", "it is no YAML"),
    "two documents": ("name: t\n--- # <---\nname: u", "", "it is no YAML: expected a single document"),
    "unknown alias": ("name: *nobody  # <---", "", "it is no YAML: found undefined alias"),
    "control character": ("name: t\ntitle: a\x1b[31m  # <---", "", "there is U+001B in it"),
    "surrogate": ("name: t\ntitle: '\ud800'  # <---", "", "there is U+D800 in it"),
    "escaped control character": (
        r"name: t  # <---" "\n" r'title: "\e[31m"',
        "title",
        "there is U+001B in it",
    ),
    "number too large for Unicode": (r'name: "\UFFFFFFFF"  # <---', "", "it is no YAML"),
    "directive": ("%YAML " + "9" * 5000 + ".1  # <---\n---\nname: t", "", "it is no YAML"),
    "bad name": ("name: two words  # <---", "name", "'two words' is no name"),
    "long name": ("name: t\nhosts:\n  " + "a" * 64 + ":  # <---", "hosts." + "a" * 64, "is no name"),
    "flag": (
        "name: t\nhosts: {a: {loopback: no}}  # <---",
        "hosts.a.loopback",
        "'no' is neither; expected true or",
    ),
    "number": (
        "name: t\nhosts: {a: {bridges: {b: {mtu: 1k}}}}  # <---",
        "hosts.a.bridges.b.mtu",
        "'1k' is no number",
    ),
    "mtu": (
        "name: t\nhosts: {a: {bridges: {b: {mtu: 67}}}}  # <---",
        "hosts.a.bridges.b.mtu",
        "from 68 to 65535",
    ),
    "role": ("name: t\nhosts: {a: {role: hots}}  # <---", "hosts.a.role", "did you mean 'host'?"),
    "family": ("name: t\nhosts: {a: {forwarding: ip4}}  # <---", "hosts.a.forwarding", "one of ipv4, ipv6"),
    "address": (
        "name: t\nhosts:\n  a:\n    bridges:\n      b:\n        address:\n        - 10.0.0.1/24\n        - 10.0.1.300/24  # <---",
        "hosts.a.bridges.b.address[1]",
        "'10.0.1.300/24' will not do",
    ),
    "prefix": (
        "name: t\nhosts: {a: {bridges: {b: {address: 10.0.0.1}}}}  # <---",
        "hosts.a.bridges.b.address",
        "prefix",
    ),
    "broadcast": (
        "name: t\nhosts: {a: {bridges: {b: {address: 10.0.0.255/24}}}}  # <---",
        "hosts.a.bridges.b.address[0]",
        "10.0.0.255 is the broadcast address of 10.0.0.0/24",
    ),
    "zone": (
        'name: t\nhosts: {a: {bridges: {b: {address: "fe80::1%eth0/64"}}}}  # <---',
        "hosts.a.bridges.b.address[0]",
        "has a zone",
    ),
    "mac": ("name: t\nhosts: {a: {bridges: {b: {mac: 0242}}}}  # <---", "hosts.a.bridges.b.mac", "six pairs"),
    "group mac": (
        "name: t\nhosts: {a: {bridges: {b: {mac: 01:00:5e:00:00:01}}}}  # <---",
        "hosts.a.bridges.b.mac",
        "unicast",
    ),
    "device": (
        "name: t\nhosts: {a: {bridges: {b/c: {}}}}  # <---",
        "hosts.a.bridges.b/c.device",
        "is no device name",
    ),
    "long device": (
        "name: t\nhosts: {a: {bridges: {sixteen_letters_: {}}}}  # <---",
        "hosts.a.bridges.sixteen_letters_.device",
        "1 to 15 printable",
    ),
    "lo": (
        "name: t\nhosts: {a: {interfaces: {lo: {}}}}  # <---",
        "hosts.a.interfaces.lo.device",
        "keeps the name 'lo'",
    ),
    "bridge on a segment": (
        "name: t\nhosts: {a: {bridges: {b: {segment: lan}}}}  # <---",
        "hosts.a.bridges.b.segment",
        "a bridge is plugged into nothing",
    ),
    "route": (
        "name: t\nhosts:\n  a:\n    routes:\n    - default via 10.0.0.1\n    - default over 10.0.0.1  # <---",
        "hosts.a.routes[1]",
        "'over' cannot stand there; expected [KIND] DESTINATION",
    ),
    "route's host bits": (
        "name: t\nhosts: {a: {routes: 10.0.0.1/24 dev b}}  # <---",
        "hosts.a.routes",
        "host bits set",
    ),
    "route to nowhere": (
        "name: t\nhosts: {a: {routes: default}}  # <---",
        "hosts.a.routes",
        "it leads nowhere",
    ),
    "empty route": (
        "name: t\nhosts: {a: {routes: blackhole}}  # <---",
        "hosts.a.routes",
        "it has no destination",
    ),
    "route of two families": (
        'name: t\nhosts: {a: {routes: "10.0.0.0/8 via fd00::1"}}  # <---',
        "hosts.a.routes.via",
        "fd00::1 is of another family",
    ),
    "sysctl": (
        "name: t\nhosts: {a: {sysctls: {kernel.hostname: x}}}  # <---",
        "hosts.a.sysctls.kernel.hostname",
        "net.",
    ),
    "sysctl that climbs": (
        "name: t\nhosts: {a: {sysctls: {net/../kernel: x}}}  # <---",
        "hosts.a.sysctls.net/../kernel",
        "is no sysctl",
    ),
    "version": (
        "name: t\nhosts: {a: {docker: {version: latest}}}  # <---",
        "hosts.a.docker.version",
        "is no version",
    ),
    "policy": (
        "name: t\nhosts: {a: {docker: {forward_policy: drop}}}  # <---",
        "hosts.a.docker.forward_policy",
        "'drop' is unknown; expected one of ACCEPT, DROP",
    ),
    "docker and rules": (
        'name: t\nhosts:\n  a:\n    docker: {}\n    rules: "*filter"  # <---',
        "hosts.a.rules",
        "docker writes the rules",
    ),
    "service": (
        "name: t\nhosts: {a: {listen: 80/tcp}}  # <---",
        "hosts.a.listen",
        "'80/tcp' is none; expected",
    ),
    "port": ("name: t\nhosts: {a: {listen: [tcp/0]}}  # <---", "hosts.a.listen[0]", "0 is no port"),
    "subnet": (
        "name: t\nhosts: {h: {role: host}}\nnetworks: {n: {subnet: 10.0.0.1/24}}  # <---",
        "networks.n.subnet",
        "has host bits set; expected a subnet",
    ),
    "no subnet": (
        "name: t\nhosts: {h: {role: host}}\nnetworks:\n  n:  # <---",
        "networks.n.subnet",
        "it is missing",
    ),
    "tiny subnet": (
        "name: t\nhosts: {h: {role: host}}\nnetworks: {n: {subnet: 10.0.0.0/31}}  # <---",
        "networks.n.subnet[0]",
        "no room for a gateway",
    ),
    "two subnets of a family": (
        "name: t\nhosts: {h: {role: host}}\nnetworks: {n: {subnet: [10.0.0.0/24, 10.0.1.0/24]}}  # <---",
        "networks.n.subnet[1]",
        "its second of IPv4",
    ),
    "gateway outside": (
        "name: t\nhosts: {h: {role: host}}\nnetworks:\n  n:\n    subnet: 10.0.0.0/24\n    gateway: 10.0.1.1  # <---",
        "networks.n.gateway[0]",
        "10.0.1.1 is outside 10.0.0.0/24",
    ),
    "gateway without a subnet": (
        "name: t\nhosts: {h: {role: host}}\nnetworks: {n: {subnet: 10.0.0.0/24, gateway: 'fd00::1'}}  # <---",
        "networks.n.gateway[0]",
        "fd00::1 has no subnet of its own",
    ),
    "gateway is the network address": (
        "name: t\nhosts: {h: {role: host}}\nnetworks: {n: {subnet: 10.0.0.0/24, gateway: 10.0.0.0}}  # <---",
        "networks.n.gateway[0]",
        "10.0.0.0 is the network address",
    ),
    "no host": (
        "name: t\nhosts: {h: {role: host}, i: {role: host}}\nnetworks: {n: {subnet: 10.0.0.0/24}}  # <---",
        "networks.n",
        "it has no host",
    ),
    "container without a host": (
        "name: t\ncontainers: {c: {mode: none}}  # <---",
        "containers.c",
        "it has no host",
    ),
    "host and hosts": (
        "name: t\nhosts: {h: {}}\nnetworks: {n: {host: h, hosts: [h], subnet: 10.0.0.0/24}}  # <---",
        "networks.n.hosts",
        "host says the same",
    ),
    "device of a macvlan": (
        "name: t\nhosts: {h: {}}\nnetworks: {n: {driver: macvlan, device: eth0, host: h, subnet: 10.0.0.0/24}}  # <---",
        "networks.n.device",
        "driver macvlan has none; expected a parent",
    ),
    "macvlan without a parent": (
        "name: t\nhosts: {h: {}}\nnetworks: {n: {driver: macvlan, host: h, subnet: 10.0.0.0/24}}  # <---",
        "networks.n.parent",
        "it is missing; expected the host's device that macvlan divides",
    ),
    "mode of a bridge": (
        "name: t\nhosts: {h: {}}\nnetworks: {n: {mode: l2, host: h, subnet: 10.0.0.0/24}}  # <---",
        "networks.n.mode",
        "'l2' is unknown; expected no mode",
    ),
    "overlay on one host": (
        "name: t\nhosts: {h: {}}\nnetworks: {n: {driver: overlay, host: h, vni: 1, subnet: 10.0.0.0/24}}  # <---",
        "networks.n.hosts",
        "an overlay spans hosts",
    ),
    "overlay without a vni": (
        "name: t\nhosts: {h: {}, i: {}}\nnetworks: {n: {driver: overlay, hosts: [h, i], subnet: 10.0.0.0/24}}  # <---",
        "networks.n.vni",
        "do not go together",
    ),
    "icc of an overlay": (
        "name: t\nhosts: {h: {}}\nnetworks:\n  n: {driver: overlay, hosts: [h, i], vni: 1, subnet: 10.0.0.0/24, icc: false}  # <---",
        "networks.n.icc",
        "driver overlay has no such option",
    ),
    "publish": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h, networks: n, publish: [80:80, 80]}}  # <---",
        "containers.c.publish[1]",
        "'80' cannot be read; expected [HOST_ADDRESS:]HOST_PORT",
    ),
    "published address": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h, networks: n, publish: 1.2.3:80:80}}  # <---",
        "containers.c.publish",
        "'1.2.3' is no address",
    ),
    "published protocol": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h, networks: n, publish: 80:80/icmp}}  # <---",
        "containers.c.publish.protocol",
        "one of tcp, udp, sctp",
    ),
    "mode": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h, mode: bridge}}  # <---",
        "containers.c.mode",
        "'bridge' is unknown; expected networks, none, host or container:NAME",
    ),
    "no networks": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h}}  # <---",
        "containers.c.networks",
        "it is attached to none",
    ),
    "publish in host mode": (
        "name: t\nhosts: {h: {}}\ncontainers:\n  c:\n    host: h\n    mode: host\n    publish: 80:80  # <---",
        "containers.c.publish",
        "mode host has nothing of the kind",
    ),
    "two addresses of a family": (
        "name: t\nhosts: {h: {}}\ncontainers: {c: {host: h, networks: {n: {address: [10.0.0.2, 10.0.0.3]}}}}  # <---",
        "containers.c.networks.n.address",
        "one address a family",
    ),
    "cables as a mapping": (
        "name: t\ncables: {a:b: {}}  # <---",
        "cables",
        "there is no list; expected a list of cables",
    ),
    "cable without a device": (
        "name: t\ncables: [{a: {}, b:c: {}}]  # <---",
        "cables[0].a",
        "does not name a device",
    ),
    "cable with one end": (
        "name: t\ncables:\n- a:b: {}  # <---",
        "cables[0]",
        "it has 1 ends; expected two ends",
    ),
    "cable on a segment": (
        "name: t\ncables:\n- a:b: {}\n  c:d: {segment: lan}  # <---",
        "cables[0].c:d.segment",
        "it is plugged into its other end",
    ),
    "its own bridge": (
        "name: t\nhosts: {a: {interfaces: {b: {master: b}}}}  # <---",
        "hosts.a.interfaces.b.master",
        "its own bridge",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_answered_with_its_place_and_what_was_expected(case: str):
    text, key, words = WRONG[case]
    with pytest.raises(TopologyFileError) as caught:
        loads(text, "file.yaml")
    error = caught.value
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "<---" in line)
    assert error.place.key == (key or None), error
    assert words in str(error)
    assert (error.place.file, error.place.line) == ("file.yaml", line), error
    assert str(error).startswith(f"file.yaml:{line}:{error.place.column}: ")


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


def test_the_error_shows_what_a_terminal_would_obey_as_text():
    with pytest.raises(TopologyFileError) as caught:
        loads("name: t\ntitle: a\x1b[31m")
    assert "\x1b" not in str(caught.value)
    assert r"\x1b[31m" in str(caught.value)


def test_the_host_can_be_left_out_where_only_one_has_the_role():
    topology = loads("name: t\nhosts: {h: {role: host}, n: {}}\nnetworks: {b: {subnet: 10.0.0.0/24}}\n")
    assert topology.network("b").hosts == ("h",)


def test_anchors_and_aliases_work():
    topology = loads("name: t\nhosts:\n  a: &a {forwarding: ipv4}\n  b: *a\n")
    assert topology.host("b").forwarding == frozenset({"ipv4"})


def test_an_alias_bomb_is_defused():
    hosts = (
        "hosts:\n  a: {bridges: &b {"
        + ", ".join(f"d{n}: &d {{address: []}}" if not n else f"d{n}: *d" for n in range(400))
        + "}}\n"
    )
    text = "name: t\n" + hosts + "".join(f"  h{n}: {{bridges: *b}}\n" for n in range(400))
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
    with pytest.raises(TopologyFileError, match=r"f.yaml(:1:1)?: (it is empty|there is no mapping)"):
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
    try:
        topology = loads(text, "fuzz.yaml")
    except TopologyFileError as error:
        assert str(error).startswith("fuzz.yaml")
        assert all(character.isprintable() or character == "\n" for character in str(error))
    else:
        assert isinstance(topology, Topology)


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
        filling = data.draw(
            st.one_of(YAML, st.sampled_from([text[end : end + 40], "", "0", "host", "10.0.0.0/8"]))
        )
        text = text[:start] + filling + text[end:]
    only_a_topology_or_its_error(text)
