"""Sets taken apart by devices: the quick ways give what plain intersections give."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.dataplane.bundles import Coming
from netverify.dataplane.condition import All, Named, equals
from netverify.dataplane.diagrams import Set
from netverify.dataplane.readout import by_devices
from netverify.dataplane.sets import PacketSets

DEVICES = ("a", "b", "c", "d", "e")
NAMES = st.sampled_from(DEVICES)
RULES = st.lists(st.tuples(NAMES, NAMES, st.integers(0, 3)), max_size=12)


def _sets() -> PacketSets:
    return PacketSets(4, DEVICES, capacity=1 << 16)


@settings(max_examples=40, deadline=None)
@given(RULES)
def test_pairs_are_read_as_intersections_say(rules: list[tuple[str, str, int]]) -> None:
    sets = _sets()
    packets = sets.nothing
    for one, two, to in rules:
        pair = All((Named("in_interface", one), Named("out_interface", two)))
        packets = packets | sets.satisfying(All((pair, equals("destination", to))))
    found = {(one, two): left for one, two, left in by_devices(sets, packets)}
    for one in sets.devices:
        for two in sets.devices:
            pair = sets.satisfying(All((Named("in_interface", one), Named("out_interface", two))))
            assert (found.get((one, two), sets.nothing) & pair) == packets & pair
            assert ((one, two) in found) == (packets & pair).satisfiable()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.lists(st.integers(0, 3)))
def test_what_comes_is_an_intersection(sent: list[int], asked: list[int]) -> None:
    sets = _sets()
    by_device: list[tuple[Set, Set]] = [
        (sets.satisfying(Named("out_interface", device)), sets.satisfying(equals("destination", to)))
        for device, to in zip(DEVICES, sent, strict=False)
    ]
    packets = sets.satisfying(equals("destination", *asked)) if asked else sets.true
    every = sets.union([device & addressed for device, addressed in by_device])
    assert Coming.of(sets, by_device).among(packets) == packets & every
