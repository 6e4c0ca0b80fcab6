"""What pierces a network beside published ports: legacy links, and marks that the bridge accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netverify.docker import DockerError, Link, docker_host
from netverify.docker.version import ACCEPT_FWMARK
from netverify.kernel.lab import Lab
from netverify.reachability.probe import icmp, tcp
from netverify.topology.model import Container, Endpoint
from suites.docker.grid import setting
from suites.docker.releases import Release
from suites.docker.scene import HOST, Scene

pytestmark = pytest.mark.needs("br_netfilter", "nft", "match set")


# --- legacy links ------------------------------------------------------------------------------------------


def linked(lab: Lab, release: Release) -> Scene:
    """docker0 with icc=false, and on it a client with `--link server`, which exposes port 80."""
    names = ("server", "client", "third")
    found = setting("default").topology(release).with_network("bridge", icc=False)
    found = found.adding(*(Container(name, HOST, endpoints=(Endpoint("bridge"),)) for name in names))
    scene = Scene.of(lab, found)
    server, client = (scene.topology.addresses_of(name, 4)[0] for name in names[:2])
    link = Link("bridge", client, server, 80)  # type: ignore[arg-type]
    scene.start(replace(docker_host(scene.topology, HOST), links=(link,)))
    return scene


def test_a_link_opens_one_port_one_way(lab: Lab, release: Release) -> None:
    """With icc=false the client reaches the server's exposed port, and nothing else is open on the bridge.

    Links are IPv4's: over IPv6 a network with icc=false stays shut where ip6tables is on.
    """
    scene = linked(lab, release)
    found = scene.answers(
        [
            ("client", "server", tcp(80)),
            ("client", "server", tcp(81)),
            ("client", "server", icmp()),
            ("server", "client", tcp(80)),
            ("third", "server", tcp(80)),
        ]
    )
    assert list(found.values()) == [".", "F", "F", "F", "F"]
    over6 = scene.cells([("client", "server", tcp(80, version=6))])
    filtered = scene.daemon.host.filters_ipv6
    assert [cell.replied for cell in over6.values()] == [not filtered]


def test_a_link_s_server_reaches_every_port_from_its_own(lab: Lab, release: Release) -> None:
    """The rule for answers asks for the source port alone: from port 80 the server may begin, too.

    The model says so for every release. nftables accepts what is established first, and writes the same rule.
    """
    scene = linked(lab, release)
    world = scene.world()
    for sport, verdict in ((80, "delivered"), (40_000, "dropped")):
        packet = world.packet("server", scene.topology.addresses_of("client", 4)[0], "tcp", dport=83)
        assert packet is not None
        world.forget()
        assert world.trace(replace(packet, sport=sport), "server").verdict == verdict


# --- marks -------------------------------------------------------------------------------------------------

TO_CONTAINER = ("neighbour", "web1", tcp(83))
BESIDE = ("neighbour", "web1", tcp(84))
BY_HOST = ("other", "web1", tcp(83))


def marking(lab: Lab, release: Release, name: str) -> Scene | None:
    """A host whose engine accepts mark 1 of 3, and whose operator marks what is for port 83 so.

    None, and proof of it, for a release that does not know the option.
    """
    chosen = setting(name)
    found = setting("default").topology(release)
    if chosen.exists_in(release):
        found = chosen.topology(release)
    daemon = found.host(HOST).docker
    assert daemon is not None
    found = found.with_host(HOST, docker=replace(daemon, accept_fwmark="0x1/0x3")).resolved()
    if not release.version.has(ACCEPT_FWMARK):
        with pytest.raises(DockerError, match=r"accept_fwmark: not before Docker 29\.0"):
            docker_host(found, HOST)
        return None
    scene = Scene.of(lab, found)
    scene.iptables("-t mangle -A PREROUTING -p tcp --dport 83 -j MARK --set-xmark 0x5")
    return scene


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("default", "F"), ("allow-direct-routing", "."), ("routed", "."), ("trusted eth0", ".")],
)
def test_a_mark_opens_every_port(lab: Lab, release: Release, name: str, symbol: str) -> None:
    """`--bridge-accept-fwmark` lets marked packets to any port, but only past the filter table.

    In a network with translation the raw table (raw-PREROUTING) drops them before anybody could mark them:
    the option needs --allow-direct-routing, a trusted device or a routed network beside it.
    """
    scene = marking(lab, release, name)
    if scene is not None:
        assert list(scene.answers([TO_CONTAINER, BESIDE]).values()) == [symbol, "F"]


def test_a_mark_opens_other_networks_too(lab: Lab, release: Release) -> None:
    """The accept names no bridge and no source: with direct routing, other networks' containers get in."""
    scene = marking(lab, release, "allow-direct-routing")
    if scene is not None:
        assert list(scene.answers([BY_HOST, ("other", "web1", tcp(84))]).values()) == [".", "F"]
