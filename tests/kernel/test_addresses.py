"""Waiting until IPv6 addresses can be used: the kernel looks for duplicates before it uses one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from netverify.errors import KernelError
from netverify.kernel import addresses
from netverify.kernel.carrier import Channels
from tests.kernel.small_net import SmallNet, small_net

pytestmark = pytest.mark.needs("veth", "IPv6")
OWN = IPv6Address("fd00::1")


@pytest.fixture
def net() -> Iterator[SmallNet]:
    """Two ends of a cable, where addresses are looked for as on any host."""
    with small_net("here", "there") as made:
        made.cable("here", "eth0", "there", "eth0")
        for name in made.namespaces:
            made.sysctl(name, "ipv6.conf.eth0.accept_dad", 1)
            made.sysctl(name, "ipv6.conf.eth0.dad_transmits", 1)
        yield made


def add(net: SmallNet, name: str, *options: str) -> None:
    command = ["ip", "address", "add", f"{OWN}/64", "dev", "eth0", *options]
    net.visitor.visit(net.namespaces[name], lambda: subprocess.run(command, check=True))


def channels(net: SmallNet) -> Channels:
    return {name: (net.namespaces[name], channel) for name, channel in net.channels.items()}


def tentative(net: SmallNet, name: str) -> list[IPv6Address]:
    channel = net.channels[name]
    devices = net.visitor.visit(net.namespaces[name], addresses.carrier.devices_here)
    return addresses.tentative(channel, list(devices.values()))


def test_an_address_is_waited_for(net: SmallNet) -> None:
    add(net, "here")
    assert OWN in tentative(net, "here")
    addresses.settle(net.visitor, channels(net))
    assert tentative(net, "here") == []


def test_one_that_is_not_looked_for_can_be_used_at_once(net: SmallNet) -> None:
    add(net, "here", "nodad")
    assert OWN not in tentative(net, "here")


def test_a_device_without_carrier_is_not_waited_for(net: SmallNet) -> None:
    addresses.settle(net.visitor, channels(net))  # the link-local ones
    command = ["ip", "link", "set", "eth0", "down"]
    net.visitor.visit(net.namespaces["there"], lambda: subprocess.run(command, check=True))
    add(net, "here")
    assert tentative(net, "here") == []


def test_an_address_that_somebody_else_has_is_an_error(net: SmallNet) -> None:
    add(net, "there", "nodad")
    add(net, "here")
    with pytest.raises(KernelError, match="fd00::1 is somebody else's too"):
        addresses.settle(net.visitor, channels(net))
