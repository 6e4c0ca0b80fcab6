"""Waiting until devices can send: one with carrier that the kernel has not made ready yet is waited for."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence

import pytest

from netverify.errors import KernelError
from netverify.kernel import carrier, netlink
from netverify.kernel.channel import Channel
from netverify.kernel.netlink import VethEnd
from tests.kernel.small_net import SmallNet, small_net

READY = netlink.IFF_UP | carrier.IFF_RUNNING | carrier.IFF_LOWER_UP
NOT_YET = netlink.IFF_UP | carrier.IFF_LOWER_UP
DOWN = 0


@pytest.fixture
def net() -> Iterator[SmallNet]:
    with small_net("here", "there") as made:
        yield made


def channels(net: SmallNet) -> carrier.Channels:
    return {name: (net.namespaces[name], channel) for name, channel in net.channels.items()}


class Said:
    """A channel's answers about devices, one after the other; each look after the first causes an event."""

    def __init__(self, net: SmallNet, *answers: int) -> None:
        self._net, self._answers, self.asked = net, list(answers), 0

    def link_flags(self, indexes: Sequence[int]) -> list[int]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        # A change of any device of the namespace is an event; what it changed is for the next look to see.
        if self.asked > 1:
            self._net.configure("here", netlink.set_link(1, up=self.asked % 2 == 0))
        return [answer for _ in indexes]


def settle(net: SmallNet, said: Said) -> None:
    pretended: Channel = said  # type: ignore[assignment]
    carrier.settle(net.visitor, {"here": (net.namespaces["here"], pretended)}, {"here": [1]})


def test_a_device_that_cannot_send_yet_is_waited_for(net: SmallNet) -> None:
    said = Said(net, NOT_YET, NOT_YET, NOT_YET, NOT_YET, READY)
    settle(net, said)
    assert said.asked >= 6, "it was asked until it was ready, and once more"


@pytest.mark.parametrize("flags", [READY, DOWN, netlink.IFF_UP])
def test_without_carrier_or_with_everything_nothing_is_waited_for(net: SmallNet, flags: int) -> None:
    said = Said(net, flags)
    settle(net, said)
    assert said.asked == 2, "the second look shows that nothing changes any more"


def test_what_changes_between_two_looks_is_looked_at_again(net: SmallNet) -> None:
    """A bridge follows its ports: while anything changes, nothing is settled."""
    said = Said(net, DOWN, netlink.IFF_UP, READY)
    settle(net, said)
    assert said.asked == 4


def test_a_device_that_never_gets_ready_is_an_error(net: SmallNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "PATIENCE", 0.05)

    class Silent(Said):
        def link_flags(self, indexes: Sequence[int]) -> list[int]:
            return [NOT_YET for _ in indexes]

    with pytest.raises(KernelError, match="has carrier but cannot send after 0 s, in: here"):
        settle(net, Silent(net, NOT_YET))


def test_a_device_that_is_gone_is_not_waited_for(net: SmallNet) -> None:
    carrier.settle(net.visitor, channels(net), {"here": [77], "nowhere": [1]})


def test_many_cables_can_send_at_once(net: SmallNet) -> None:
    """What the waiting is for: the first packet over a cable arrives, however short ago it was plugged in."""
    for number in range(20):
        near, far = 100 + 2 * number, 101 + 2 * number
        there = net.namespaces["there"].fd
        net.configure(
            "here", netlink.add_veth(VethEnd(f"n{number}", near), VethEnd(f"f{number}", far, namespace=there))
        )
        catcher = net.socket("there", socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        net.configure("there", netlink.set_link(far, up=True))
        sender = net.socket("here", socket.AF_PACKET, socket.SOCK_RAW)
        carrier.settle(net.visitor, channels(net), {"here": [near], "there": [far]})
        frame = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + bytes([number]) * 46
        sender.sendto(frame, (f"n{number}", 0))
        assert catcher.recv(200) == frame, f"cable {number}"


def test_who_is_here(net: SmallNet) -> None:
    net.configure("there", netlink.add_bridge("br0", 5))
    assert carrier.present(net.visitor, channels(net)) == {"here": [1], "there": [1, 5]}


def test_settling_from_inside(net: SmallNet) -> None:
    net.configure("here", netlink.add_veth(VethEnd("a", 4), VethEnd("b", 5)), netlink.set_link(5, up=True))
    net.visitor.visit(net.namespaces["here"], lambda: carrier.settle_here(net.channels["here"], [4, 5]))
    assert all(flags & READY == READY for flags in net.channels["here"].link_flags([4, 5]))
