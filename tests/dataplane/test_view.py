"""A host's facts: sysctls of devices however they are written."""

from __future__ import annotations

import pytest

from netverify.dataplane.view import HostView, Link


@pytest.mark.parametrize(
    "name",
    [
        "net.ipv4.conf.eth0/100.forwarding",
        "ipv4.conf.eth0/100.forwarding",
        "net/ipv4/conf/eth0.100/forwarding",
    ],
)
def test_a_device_with_a_dot_in_its_name_forwards_or_not(name: str) -> None:
    """sysctl(8) writes the dot of eth0.100 as a slash, or all others as slashes."""
    links = (Link.of("eth0.100", "192.0.2.1/24"),)
    on = HostView("host", links, sysctls={"net.ipv4.ip_forward": "0", name: "1"})
    assert on.forwards(4, "eth0.100")
    assert not on.forwards(4, "eth0")
    off = HostView("host", links, sysctls={"net.ipv4.ip_forward": "1", name: "0"})
    assert not off.forwards(4, "eth0.100")
    assert off.forwards(4, "eth0")
