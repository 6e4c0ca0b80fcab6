"""Netlink requests, and the channel that carries many of them at once: what arrives, and what errors say."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from netverify.kernel import channel as channel_module
from netverify.kernel import netlink
from netverify.kernel.channel import NetlinkError
from netverify.kernel.netlink import Request, VethEnd
from tests.kernel.small_net import SmallNet, small_net

MAC = "02:00:00:00:00:11"


@pytest.fixture
def net() -> Iterator[SmallNet]:
    with small_net("here", "there") as made:
        yield made


def shown(net: SmallNet, where: str, what: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(net.run(where, f"ip -details -json {what}") or "[]")
    return records


def link(net: SmallNet, where: str, name: str) -> dict[str, Any]:
    return next(record for record in shown(net, where, "link") if record["ifname"] == name)


# --- what the kernel makes of requests ---------------------------------------------------------------------


def test_veth_pair(net: SmallNet) -> None:
    net.configure(
        "here",
        netlink.add_bridge("br0", 3, mac="02:00:00:00:00:33", mtu=1400),
        netlink.add_veth(
            VethEnd("near", 10, mac=MAC, mtu=1400, master=3),
            VethEnd("far", 20, mac="02:00:00:00:00:22", mtu=1200, namespace=net.namespaces["there"].fd),
        ),
    )
    near, far = link(net, "here", "near"), link(net, "there", "far")
    assert (near["ifindex"], near["address"], near["mtu"], near["master"]) == (10, MAC, 1400, "br0")
    assert (far["ifindex"], far["address"], far["mtu"]) == (20, "02:00:00:00:00:22", 1200)
    assert ("UP" in near["flags"], "UP" in far["flags"]) == (True, False)
    bridge = link(net, "here", "br0")
    assert (bridge["address"], bridge["mtu"]) == ("02:00:00:00:00:33", 1400)
    data = bridge["linkinfo"]["info_data"]
    assert (data["forward_delay"], data["stp_state"], data["mcast_snooping"]) == (0, 0, 0)


def test_changes_of_a_device(net: SmallNet) -> None:
    net.configure("here", netlink.add_bridge("br0", 3), netlink.add_veth(VethEnd("a", 4), VethEnd("b", 5)))
    net.configure("here", netlink.set_link(5, up=True, name="renamed", master=3, mac=MAC))
    changed = link(net, "here", "renamed")
    assert (changed["ifindex"], changed["address"], changed["master"]) == (5, MAC, "br0")
    assert "UP" in changed["flags"]

    net.configure("here", netlink.set_hairpin(5))
    assert link(net, "here", "renamed")["linkinfo"]["info_slave_data"]["hairpin"] is True

    net.configure("here", netlink.set_link(5, up=False, master=0))
    changed = link(net, "here", "renamed")
    assert "UP" not in changed["flags"]
    assert "master" not in changed

    net.configure("here", netlink.set_link(5, namespace=net.namespaces["there"].fd))
    assert link(net, "there", "renamed")["link_index"] == 4

    net.configure("here", netlink.delete_link(4))
    assert [record["ifname"] for record in shown(net, "there", "link")] == ["lo"]


@pytest.mark.parametrize(
    ("address", "broadcast"),
    [("10.0.0.1/24", "10.0.0.255"), ("10.0.0.1/31", None), ("10.0.0.1/32", None), ("fd00::1/64", None)],
)
def test_addresses(net: SmallNet, address: str, broadcast: str | None) -> None:
    net.configure("here", netlink.add_bridge("br0", 3), netlink.add_address(3, ip_interface(address)))
    (record,) = [
        one for one in shown(net, "here", "addr show dev br0")[0]["addr_info"] if one["scope"] == "global"
    ]
    assert f"{record['local']}/{record['prefixlen']}" == address
    assert record.get("broadcast") == broadcast
    assert "tentative" not in record, "usable at once"
    net.configure("here", netlink.delete_address(3, ip_interface(address)))
    assert address.partition("/")[0] not in net.run("here", "ip addr show dev br0")


# Each route as `ip route add` is told, and as a request: both must leave the same in the kernel's table.
ROUTES: dict[str, Callable[[], Request]] = {
    "10.1.0.0/16 via 10.0.0.2": lambda: netlink.add_route(
        ip_network("10.1.0.0/16"), via=ip_address("10.0.0.2")
    ),
    "default via 10.0.0.2": lambda: netlink.add_route(ip_network("0.0.0.0/0"), via=ip_address("10.0.0.2")),
    "default dev br0": lambda: netlink.add_route(ip_network("0.0.0.0/0"), device=3),
    "10.2.0.0/16 dev br0 src 10.0.0.1": lambda: netlink.add_route(
        ip_network("10.2.0.0/16"), device=3, source=ip_address("10.0.0.1")
    ),
    "10.3.0.0/16 via 192.0.2.1 dev br0 onlink": lambda: netlink.add_route(
        ip_network("10.3.0.0/16"), via=ip_address("192.0.2.1"), device=3, onlink=True
    ),
    "blackhole 10.4.0.0/16": lambda: netlink.add_route(ip_network("10.4.0.0/16"), kind="blackhole"),
    "prohibit 10.4.0.0/16": lambda: netlink.add_route(ip_network("10.4.0.0/16"), kind="prohibit"),
    "unreachable 10.4.0.0/16": lambda: netlink.add_route(ip_network("10.4.0.0/16"), kind="unreachable"),
    "fd01::/64 via fd00::2": lambda: netlink.add_route(ip_network("fd01::/64"), via=ip_address("fd00::2")),
    "default via fd00::2": lambda: netlink.add_route(ip_network("::/0"), via=ip_address("fd00::2")),
    "fd02::/64 dev br0": lambda: netlink.add_route(ip_network("fd02::/64"), device=3),
}


@pytest.mark.parametrize("words", ROUTES)
def test_routes_are_those_of_ip_route(net: SmallNet, words: str) -> None:
    for where in ("here", "there"):
        net.configure(where, netlink.add_bridge("br0", 3))
        net.address(where, 3, "10.0.0.1/24", "fd00::1/64")
    family = "-6" if ":" in words else "-4"
    net.configure("here", ROUTES[words]())
    net.run("there", f"ip {family} route add {words} proto static")
    routes = [net.run(where, f"ip {family} -details route show proto static") for where in ("here", "there")]
    assert routes[0] == routes[1] != ""


def test_a_route_is_deleted(net: SmallNet) -> None:
    net.configure("here", netlink.add_bridge("br0", 3))
    net.address("here", 3, "10.0.0.1/24")
    default, via = ip_network("0.0.0.0/0"), ip_address("10.0.0.2")
    net.configure("here", netlink.add_route(default, via=via))
    net.configure("here", netlink.delete_route(default, via=via))
    assert "default" not in net.run("here", "ip route")


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_neighbours(net: SmallNet, address: str) -> None:
    net.configure("here", netlink.add_bridge("br0", 3), netlink.add_bridge("br1", 4))
    first = netlink.add_neighbour(3, ip_address(address), MAC)
    net.configure("here", first, netlink.same_neighbour(first, 4))
    for device in ("br0", "br1"):
        (entry,) = [one for one in shown(net, "here", f"neigh show dev {device}") if one["dst"] == address]
        assert (entry["lladdr"], entry["state"]) == (MAC, ["PERMANENT"])


def test_a_vxlan_device_and_whom_it_asks(net: SmallNet) -> None:
    net.configure("here", netlink.add_bridge("br0", 3))
    net.address("here", 3, "10.0.0.1/24")
    net.configure(
        "here",
        netlink.add_bridge("br1", 4),
        netlink.add_vxlan("vx0", 5, 4097, ip_address("10.0.0.1"), 4, mtu=1450),
        netlink.add_forwarding_entry(5, "00:00:00:00:00:00", ip_address("10.0.0.2")),
        netlink.add_forwarding_entry(5, "00:00:00:00:00:00", ip_address("10.0.0.3")),
    )
    device = link(net, "here", "vx0")
    data = device["linkinfo"]["info_data"]
    assert (data["id"], data["local"], data["port"], data["learning"]) == (4097, "10.0.0.1", 4789, False)
    assert (device["mtu"], device["master"]) == (1450, "br1")
    remotes = {entry.get("dst") for entry in json.loads(net.run("here", "bridge -json fdb show dev vx0"))}
    assert {"10.0.0.2", "10.0.0.3"} <= remotes


def test_patience_with_neighbours(net: SmallNet) -> None:
    net.configure("here", netlink.add_bridge("br0", 3), netlink.set_neighbour_patience(3, 4, 100))
    assert "retrans 100" in net.run("here", "ip ntable show dev br0 name arp_cache")
    assert "retrans 1000" in net.run("here", "ip ntable show dev br0 name ndisc_cache")


# --- errors ------------------------------------------------------------------------------------------------


def test_an_error_names_namespace_request_and_the_kernels_own_words(net: SmallNet) -> None:
    with pytest.raises(NetlinkError) as caught:
        net.configure("here", netlink.add_route(ip_network("10.1.0.0/16"), via=ip_address("192.0.2.1")))
    assert str(caught.value) == (
        "namespace 'here': add unicast route 10.1.0.0/16 via 192.0.2.1: "
        "Network is unreachable (Nexthop has invalid gateway)"
    )
    assert caught.value.errno == errno.ENETUNREACH


def test_an_error_without_a_hint(net: SmallNet) -> None:
    with pytest.raises(NetlinkError, match=r"^namespace 'here': delete device 99: No such device$"):
        net.configure("here", netlink.delete_link(99))


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_first_refused_request_is_named_wherever_it_stands(net: SmallNet, position: int) -> None:
    requests = [netlink.add_bridge(f"br{number}", 10 + number) for number in range(3)]
    requests[position] = netlink.delete_link(90 + position)
    with pytest.raises(NetlinkError, match=f"delete device {90 + position}: No such device"):
        net.configure("here", *requests)
    made = {record["ifname"] for record in shown(net, "here", "link")} - {"lo"}
    assert made == {f"br{number}" for number in range(3) if number != position}, "the others are carried out"


def test_of_several_refused_requests_the_first_is_named(net: SmallNet) -> None:
    with pytest.raises(NetlinkError, match="delete device 91:"):
        net.configure("here", netlink.set_link(1, up=True), netlink.delete_link(91), netlink.delete_link(92))


def test_a_channel_works_after_an_error(net: SmallNet) -> None:
    for _ in range(3):
        with pytest.raises(NetlinkError, match="delete device 91:"):
            net.configure("here", netlink.delete_link(91), netlink.add_bridge("br0", 3))
        assert net.channels["here"].link_flags([3])[0] & netlink.IFF_UP
        net.configure("here", netlink.delete_link(3))


def test_nothing_to_send(net: SmallNet) -> None:
    net.configure("here")


# --- batches -----------------------------------------------------------------------------------------------


def test_more_than_fits_into_one_datagram(net: SmallNet) -> None:
    """Requests of 0.6 MB, which no socket buffer of the default size takes at once: in order and complete."""
    requests = [netlink.add_bridge("br0", 3)]
    requests += [netlink.set_link(3, name=f"renamed-{number}", mac=MAC) for number in range(10_000)]
    assert sum(len(request.data) for request in requests) > 4 * channel_module._LARGEST_BATCH
    assert [request for batch in channel_module._batches(requests) for request in batch] == requests
    net.configure("here", *requests)
    assert link(net, "here", "renamed-9999")["ifindex"] == 3


def test_large_requests_are_split_by_their_size() -> None:
    half = Request("half a batch", bytes(channel_module._LARGEST_BATCH // 2))
    assert [len(batch) for batch in channel_module._batches([half] * 4)] == [1, 1, 1, 1]
    third = Request("a third", bytes(channel_module._LARGEST_BATCH // 3 - 3))
    assert [len(batch) for batch in channel_module._batches([third] * 7)] == [3, 3, 1]
    whole = Request("too large for any company", bytes(2 * channel_module._LARGEST_BATCH))
    assert [len(batch) for batch in channel_module._batches([whole, third, whole])] == [1, 1, 1]


@pytest.mark.parametrize("count", [127, 128, 129, 3000])
def test_every_request_may_be_refused(net: SmallNet, count: int) -> None:
    """The kernel drops answers that do not fit into the socket's buffer; the last one must not be lost."""
    with pytest.raises(NetlinkError, match="delete device 1000:"):
        net.configure("here", *(netlink.delete_link(1000 + number) for number in range(count)))
    net.configure("here", netlink.set_link(1, up=True))


def test_an_error_in_a_later_batch_is_named(net: SmallNet) -> None:
    requests = [netlink.set_link(1, up=bool(number % 2)) for number in range(300)]
    requests[290] = netlink.delete_link(77)
    with pytest.raises(NetlinkError, match="delete device 77:"):
        net.configure("here", *requests)


# --- questions ---------------------------------------------------------------------------------------------


def test_flags_of_many_devices(net: SmallNet) -> None:
    """More devices than one question asks for; a device that is not there has no flags."""
    net.configure("here", *(netlink.add_bridge(f"br{number}", number) for number in range(10, 110)))
    net.configure("here", *(netlink.set_link(number, up=False) for number in range(10, 110, 2)))
    wanted = [*range(10, 110), 999]
    flags = net.channels["here"].link_flags(wanted)
    assert [bool(each & netlink.IFF_UP) for each in flags] == [*(bool(n % 2) for n in range(10, 110)), False]
    assert flags[-1] == 0


def test_a_dump_of_many(net: SmallNet) -> None:
    neighbour = netlink.add_neighbour(3, ip_address("10.0.0.0"), MAC)
    addresses = [ip_address("10.0.0.0") + number for number in range(600)]
    net.configure("here", netlink.add_bridge("br0", 3), neighbour)
    net.configure("here", *(netlink.add_neighbour(3, address, MAC) for address in addresses))
    channel = net.channels["here"]
    seen = {body[16:20] for body in channel.dump(netlink.list_neighbours()) if body[0] == 2}
    assert seen == {address.packed for address in addresses}


def test_a_refused_dump_names_the_request(net: SmallNet) -> None:
    with pytest.raises(NetlinkError, match="list the TCP listeners"):
        list(net.channels["here"].dump(netlink.list_listeners(4)))  # on the wrong kind of socket


@pytest.mark.parametrize(("address", "expected"), [("10.0.0.9", 0), ("192.0.2.1", errno.ENETUNREACH)])
def test_refusal_of_a_single_request(net: SmallNet, address: str, expected: int) -> None:
    net.configure("here", netlink.add_bridge("br0", 3))
    net.address("here", 3, "10.0.0.1/24")
    assert net.channels["here"].refusal(netlink.find_route(ip_address(address))) == expected
