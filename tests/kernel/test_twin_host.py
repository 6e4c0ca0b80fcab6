"""Twins of hosts: what is asked of them, single packets, and what cannot be rebuilt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address

import pytest

from fixtures.large_host import parts
from netverify.dataplane.packet import Address
from netverify.errors import InputError
from netverify.host import Parts
from netverify.kernel import capabilities, neighbours, resting
from netverify.kernel.channel import Channel
from netverify.kernel.lab import Lab
from netverify.kernel.namespace import Namespace, Visitor
from netverify.kernel.twin import NotTwinned, realise
from netverify.kernel.twin_host import Twin, twin_of
from netverify.model import sources
from netverify.model.matrix import reach
from netverify.model.subject import Subject
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from tests.host.samples import ADDR, CONTAINERS, INSIDE, IPTABLES, LISTENERS, SYSCTLS, TEXTS, without

HOST, WEB, LAN = ip_address("198.51.100.10"), ip_address("172.17.0.2"), ip_address("198.51.100.2")


def sample(**changed: str) -> Subject:
    return sources.snapshot(Parts("host.json", without(**changed), {}, "web-7"))


def rules(text: str) -> dict[str, str]:
    """The parts that hold the host's IPv4 rules."""
    return {"iptables-save.txt": text, "iptables-legacy-save.txt": text}


def agreed(twin: Twin, probe: Probe) -> dict[tuple[str, str], str]:
    """All pairs, on which model and twin must agree, with the outcome."""
    found = twin.confirm(reach(twin.subject, probe))
    assert found.differences == ()
    assert found.unmeasured == ()
    assert found.left_out == 0
    return {(c.source, c.target): c.outcome.value for c in found.cells if c is not None}


@pytest.mark.parametrize("probe", [tcp(80), tcp(8080), udp(80), icmp()], ids=str)
def test_a_twin_agrees_with_the_model(probe: Probe) -> None:
    with twin_of(sample()) as twin:
        assert twin.not_twinned == ()
        assert twin.seconds > 0
        assert len(agreed(twin, probe)) == 16


def test_a_host_of_many_is_told_its_neighbours_first() -> None:
    """More pairs than the machine's neighbour table has room for, and none of them is an error."""
    with twin_of(sources.snapshot(parts(10, 22))) as twin:
        assert not twin.lab.introduced
        cells = agreed(twin, udp(80))
        assert twin.lab.introduced
        known = twin.lab.run("c3", "ip neighbour show nud permanent").splitlines()
    assert len(cells) == 625
    # On its link are the other containers of the network, the bridge, and whoever else is behind it.
    assert {line.split()[0] for line in known} >= {"10.0.3.1", "10.0.3.3"}


def test_of_many_only_those_who_sent_something_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel looks through the whole machine's neighbour table for each namespace that is asked about."""
    watched: list[int] = []
    settle = neighbours.settle

    def counting(visitor: Visitor, channels: Mapping[str, tuple[Namespace, Channel]]) -> None:
        watched.append(len(channels))
        settle(visitor, channels)

    monkeypatch.setattr(resting, "MANY", 0)
    monkeypatch.setattr(neighbours, "settle", counting)
    with twin_of(sources.snapshot(parts(5, 20))) as twin:
        for probe in (tcp(80), udp(80), icmp()):
            watched.clear()
            cells = agreed(twin, probe)
            assert "filtered" in cells.values()
            assert watched
        (found,) = twin.ask(tcp(80), [("c1", "c2", ip_address("10.0.2.2"))])
        assert found is not None
        assert found.outcome is Outcome.FILTERED
        assert watched[-1] < len(twin.lab.channels) / 2


# --- services -------------------------------------------------------------------------------------------


def test_whoever_translation_leads_to_listens_on_the_port_that_it_names() -> None:
    old = "--dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    text = IPTABLES.replace(old, "--dport 81 -j REDIRECT --to-ports 9090")
    with twin_of(sample(**rules(text))) as twin:
        assert agreed(twin, tcp(81))["lan", "host"] == "delivered"


def test_a_proxy_on_one_address_leaves_the_others_to_others() -> None:
    """8080 of 127.0.0.1 is the proxy's; on 198.51.100.10 somebody else may listen, as the model has it."""
    listening = LISTENERS.replace("0.0.0.0:8080", "127.0.0.1:8080")
    containers = json.dumps(CONTAINERS).replace('"HostIp": "0.0.0.0"', '"HostIp": "127.0.0.1"')
    text = IPTABLES.replace("--dport 8080 -j DNAT", "-d 127.0.0.1/32 --dport 8080 -j DNAT")
    changed = {"listen.txt": listening, "docker-containers.json": containers, **rules(text)}
    with twin_of(sample(**changed)) as twin:
        assert agreed(twin, tcp(8080))["lan", "host"] == "delivered"
        loop = ip_address("127.0.0.1")
        (cell,) = twin.ask(tcp(8080), [("host", "loopback", loop)])
    assert cell is not None
    assert (cell.outcome, cell.receiver, cell.replied) == (Outcome.DELIVERED, "web", True)


def test_legacy_rules_stay_legacy() -> None:
    with twin_of(sample()) as twin:
        assert "-A FORWARD" in twin.lab.run("host", "iptables-legacy-save")
        assert "-A FORWARD" not in twin.lab.run("host", "iptables-nft-save")
        assert twin.notes == ()


def test_another_backend_is_said_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    has = capabilities.has
    monkeypatch.setattr(capabilities, "has", lambda name: name != "iptables-legacy" and has(name))
    with twin_of(sample()) as twin:
        assert twin.notes == ("host: ipv4 rules of iptables-legacy are loaded by the machine's iptables",)
        assert agreed(twin, tcp(80))["internet", "web"] == "unreachable"


def test_sysctls_that_decide_are_taken_over_and_no_others() -> None:
    settings = (
        SYSCTLS
        + "net.ipv4.conf.eth0.rp_filter = 2\nnet.ipv4.conf.eth0/100.rp_filter = 1\n"
        + "net.ipv4.neigh.default.gc_thresh3 = 8\nnet.ipv4.tcp_rmem = 4096 4096 4096\n"
        + "net.ipv6.conf.all.forwarding = 1\n"
    )
    with twin_of(sample(**{"sysctl.txt": settings})) as twin:
        assert twin.not_twinned == ()
        assert twin.lab.sysctl("host", "net.ipv4.conf.eth0.rp_filter") == "2"
        assert twin.lab.sysctl("host", "net.ipv4.ip_forward") == "1"
        assert twin.lab.sysctl("host", "net.ipv4.tcp_rmem").split()[2] != "4096"


# --- single packets -------------------------------------------------------------------------------------


def test_a_packet_to_a_container_by_the_hosts_address_as_gateway() -> None:
    with twin_of(sample()) as twin:
        landed = twin.send("lan", WEB, tcp(80), gateway=HOST)
        assert landed is not None
        assert (landed.receivers, landed.answered) == (("web",), True)
        assert landed.seen_source == f"{LAN}:{landed.packet.sport}"
        stopped = twin.send("lan", WEB, tcp(81), gateway=HOST)
    assert stopped is not None
    assert (stopped.arrived, stopped.why) == (False, "nobody got it")


def test_a_forged_source_and_a_chosen_port() -> None:
    forged = ip_address("203.0.113.77")
    with twin_of(sample()) as twin:
        by_kernel = twin.send("lan", WEB, tcp(80), source_address=forged, sport=4242)
        by_device = twin.send("lan", HOST, icmp(), source_address=forged, device="eth0")
        assert by_kernel is not None
        assert by_device is not None
        assert (by_kernel.receivers, by_kernel.seen_source) == (("web",), "203.0.113.77:4242")
        assert (by_device.receivers, by_device.seen_source) == (("host",), "203.0.113.77")
        assert not by_kernel.answered  # the answer goes to whom the source claims to be
        twin.lab.sysctl("host", "net.ipv4.conf.all.rp_filter", 1)
        inside = twin.send("lan", HOST, icmp(), source_address=ip_address("172.17.0.9"), device="eth0")
    assert inside is not None
    assert not inside.arrived


def test_a_neighbours_packet_for_127_0_0_1() -> None:
    """moby#45610: it is taken where route_localnet is on, as Docker sets it for its proxies."""
    loop = ip_address("127.0.0.1")
    with twin_of(sample()) as twin:
        refused = twin.send("lan", loop, udp(53), gateway=HOST)
        twin.lab.sysctl("host", "net.ipv4.conf.eth0.route_localnet", 1)
        taken = twin.send("lan", loop, udp(53), gateway=HOST)
        own = twin.send("lan", loop, udp(53))
    assert refused is not None
    assert taken is not None
    assert own is not None
    assert (refused.receivers, taken.receivers) == ((), ("host",))
    assert own.receivers == ("(behind eth0)",)  # left to its kernel, it never leaves the sender


def test_packets_over_ipv6() -> None:
    inside: Address = ip_address("2001:db8::2")
    device = {"family": "inet6", "local": "2001:db8::10", "prefixlen": 64}
    cards = [
        card | {"addr_info": [*card["addr_info"], device]} if card["ifname"] == "eth0" else card  # type: ignore[misc]
        for card in ADDR
    ]
    with twin_of(sample(**{"addr.json": json.dumps(cards)})) as twin:
        landed = twin.send("lan", ip_address("2001:db8::10"), tcp(22, version=6), source_address=inside)
    assert landed is not None
    assert (landed.receivers, landed.seen_source) == (("host",), f"[{inside}]:{landed.packet.sport}")


def test_what_cannot_be_sent() -> None:
    with twin_of(sample()) as twin:
        with pytest.raises(InputError, match="has no device 'eth7' to send by"):
            twin.send("lan", WEB, tcp(80), device="eth7")
        nobody = twin.send("lan", WEB, tcp(80), gateway=ip_address("198.51.100.99"))
        unsent = twin.send("web", ip_address("172.17.0.99"), tcp(80), device="eth0")
    assert nobody is not None
    assert unsent is not None
    assert nobody.why == "nobody on eth0 of (behind eth0) has 198.51.100.99"
    assert unsent.why == "nobody on eth0 of web has 172.17.0.99"


# --- what is not rebuilt --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wireguard", "ipvlan", "gre", "frobnicate"])
def test_devices_of_kinds_that_are_not_rebuilt(kind: str) -> None:
    """What stands behind such a device of a container concerns that container alone."""
    card = {name: value for name, value in INSIDE[1].items() if name != "link_index"}  # type: ignore[attr-defined]
    card |= {"linkinfo": {"info_kind": kind}} | ({"link_index": 2} if kind == "ipvlan" else {})
    with twin_of(sample(**{"containers/web/addr.json": json.dumps([INSIDE[0], card])})) as twin:
        (lack,) = twin.not_twinned
        assert str(lack) == (
            f"web: device eth0: {kind} devices are not rebuilt; a plain cable stands in its place"
        )
        found = twin.confirm(reach(twin.subject, tcp(80)))
        assert {
            (pair.cell.source, pair.cell.target): cell is None
            for pair, cell in zip(found.reach.pairs, found.cells, strict=True)
        } == {
            (source, target): "web" in (source, target)
            for source in ("web", "host", "lan", "internet")
            for target in ("web", "host", "lan", "internet")
        }
        assert twin.send("lan", WEB, tcp(80)) is None


def test_a_kernel_without_macvlan(monkeypatch: pytest.MonkeyPatch) -> None:
    has = capabilities.has
    monkeypatch.setattr(capabilities, "has", lambda name: name != "macvlan" and has(name))
    inside = [INSIDE[0], INSIDE[1] | {"linkinfo": {"info_kind": "macvlan"}, "link_index": 2}]  # type: ignore[operator]
    with twin_of(sample(**{"containers/web/addr.json": json.dumps(inside)})) as twin:
        assert list(map(str, twin.not_twinned)) == ["web: device eth0: this kernel has no macvlan"]
        assert twin.ask(tcp(80), [("lan", "web", WEB)]) == [None]
        (cell,) = twin.ask(tcp(80), [("lan", "host", HOST)])
        assert cell is not None
        assert cell.replied


@pytest.mark.needs("ip sets")
def test_an_ipset_that_the_kernel_does_not_have() -> None:
    """Then none of the host's rules can be loaded, and nothing that passes it is claimed."""
    text = IPTABLES.replace(
        "-A FORWARD -o docker0 -j DOCKER", "-A FORWARD -m set --match-set odd src -j DROP"
    )
    changed = rules(text) | {"ipset.txt": "create odd hash:frob family inet\n"}
    with twin_of(sample(**changed)) as twin:
        (lack,) = twin.not_twinned
        assert (lack.node, lack.what) == ("host", "rules")
        assert "Set odd doesn't exist" in lack.why
        assert twin.ask(tcp(80), [("lan", "web", WEB), ("web", "web", WEB)]) == [None, None]


def test_a_sysctl_that_the_kernel_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    from netverify.kernel import twin_sysctls

    monkeypatch.setattr(twin_sysctls, "OTHERS", twin_sysctls.OTHERS | {"ipv4/frobnicate"})
    with twin_of(sample(**{"sysctl.txt": SYSCTLS + "net.ipv4.frobnicate = 1\n"})) as twin:
        assert [(each.node, each.what) for each in twin.not_twinned if each.node == "host"] == [
            ("host", "sysctl ipv4/frobnicate = 1")
        ]
        assert twin.ask(tcp(80), [("lan", "web", WEB)]) == [None]


def test_long_names_of_ports_that_the_model_invented(lab: Lab) -> None:
    """A container that nobody looked into hangs on a port named after it."""
    texts = {name: text for name, text in TEXTS.items() if not name.startswith("containers/")}
    containers = json.dumps(CONTAINERS).replace('"/web"', '"/a-name-that-is-long"')
    subject = sources.snapshot(Parts("x", texts | {"docker-containers.json": containers}, {}, "x"))
    port = next(link.name for link in subject.views[0].links if "long" in link.name)
    assert len(port) > 15
    missing: tuple[NotTwinned, ...] = realise(lab, subject.world)
    assert missing == ()
    assert port not in lab.run("host", "ip -o link")
