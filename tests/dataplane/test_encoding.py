"""The room for packet sets: more is taken where it is too little, and an error says when there is no more."""

from __future__ import annotations

import pytest

from netverify.dataplane.condition import Within
from netverify.dataplane.encoding import with_room
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.packet import Packet
from netverify.dataplane.sets import PacketSets

LARGE = Within("destination", tuple((number * 977, number * 977 + 300) for number in range(300)))


def _hits(room: int) -> bool:
    sets = PacketSets(4, ["eth0"], capacity=room)
    return sets.contains(sets.satisfying(LARGE), Packet.of("10.0.0.1", "0.0.3.209", "tcp"))


def test_work_begins_anew_with_more_room() -> None:
    tried: list[int] = []

    def work(room: int) -> bool:
        tried.append(room)
        return _hits(room)

    assert with_room(work, capacity=1 << 9)
    assert len(tried) > 1
    assert tried == [(1 << 9) * 8**power for power in range(len(tried))]


def test_the_end_of_the_room_is_said() -> None:
    with pytest.raises(DataplaneError, match="512 nodes of decision diagrams are not enough"):
        with_room(_hits, capacity=1 << 8, largest=1 << 9)


@pytest.mark.parametrize("value", ["eth0", "", "elsewhere"])
def test_devices_are_numbers_and_back(value: str) -> None:
    sets = PacketSets(4, ["eth0"])
    known = value if value in sets.devices else "(another device)"
    assert sets.value("in_interface", sets.number("in_interface", value)) == known


@pytest.mark.parametrize(("field", "value"), [("mac", None), ("uid", -1), ("mac", 7), ("dport", 80)])
def test_what_a_packet_does_not_have_is_a_number_of_its_own(field: str, value: int | None) -> None:
    sets = PacketSets(4, ["eth0"])
    assert sets.value(field, sets.number(field, value)) == value
