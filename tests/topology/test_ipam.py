"""Address pools: what they hand out, what they keep, and what they refuse."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netverify.errors import InputError
from netverify.topology.errors import (
    AddressInUse,
    AddressOutsideSubnet,
    AddressPoolError,
    DoubleRelease,
    PoolExhausted,
    PoolOverlap,
)
from netverify.topology.ipam import IPAM
from netverify.topology.values import Address
from tests.strategies.topology import small_pools

POOL = ip_network("172.18.0.0/29")


def test_hands_out_the_lowest_free_address_after_the_gateway():
    ipam = IPAM()
    assert [str(ipam.allocate(POOL)) for _ in range(3)] == ["172.18.0.2", "172.18.0.3", "172.18.0.4"]
    assert ipam.gateway(POOL) == ip_address("172.18.0.1")


def test_hands_out_a_released_address_again():
    ipam = IPAM()
    first, _second = ipam.allocate(POOL), ipam.allocate(POOL)
    ipam.release(POOL, first)
    assert ipam.allocate(POOL) == first
    assert str(ipam.allocate(POOL)) == "172.18.0.4"


def test_steps_over_a_released_address_that_was_taken_again_by_name():
    ipam = IPAM()
    first, _second = ipam.allocate(POOL), ipam.allocate(POOL)
    ipam.release(POOL, first)
    ipam.allocate(POOL, first)
    assert str(ipam.allocate(POOL)) == "172.18.0.4"


def test_steps_over_an_address_taken_by_name():
    ipam = IPAM()
    ipam.allocate(POOL, ip_address("172.18.0.2"))
    assert str(ipam.allocate(POOL)) == "172.18.0.3"


def test_steps_over_a_gateway_in_the_middle():
    ipam = IPAM()
    ipam.open(POOL, ip_address("172.18.0.2"))
    assert [str(ipam.allocate(POOL)) for _ in range(2)] == ["172.18.0.1", "172.18.0.3"]


def test_a_pool_of_29_bits_holds_five_containers():
    ipam = IPAM()
    for _ in range(5):
        ipam.allocate(POOL)
    with pytest.raises(PoolExhausted, match=r"address pool 172\.18\.0\.0/29: all 5 addresses are taken"):
        ipam.allocate(POOL)


def test_ipv6_has_no_broadcast_address():
    ipam, pool = IPAM(), ip_network("fd00:18::/126")
    assert [str(ipam.allocate(pool)) for _ in range(2)] == ["fd00:18::2", "fd00:18::3"]
    with pytest.raises(PoolExhausted):
        ipam.allocate(pool)


def test_a_large_pool_costs_nothing_until_it_is_used():
    assert str(IPAM().allocate(ip_network("fd00::/8"))) == "fd00::2"


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("172.18.0.1", AddressInUse, "is the gateway"),
        ("172.18.0.2", AddressInUse, "is taken"),
        ("172.18.0.0", AddressOutsideSubnet, "is the network address"),
        ("172.18.0.7", AddressOutsideSubnet, "is the broadcast address"),
        ("172.18.0.8", AddressOutsideSubnet, "is outside"),
        ("fd00::1", AddressOutsideSubnet, "is outside"),
    ],
)
def test_refuses_an_address_by_name(address: str, error: type[AddressPoolError], words: str):
    ipam = IPAM()
    ipam.allocate(POOL)
    before = ipam.allocated(POOL)
    with pytest.raises(error, match=words) as caught:
        ipam.allocate(POOL, ip_address(address))
    assert (caught.value.subnet, caught.value.address) == (POOL, ip_address(address))
    assert isinstance(caught.value, InputError)
    assert ipam.allocated(POOL) == before


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("172.18.0.2", DoubleRelease, "is not allocated"),
        ("172.18.0.1", DoubleRelease, "is the gateway"),
        ("172.18.0.7", AddressOutsideSubnet, "is the broadcast address"),
        ("10.0.0.1", AddressOutsideSubnet, "is outside"),
    ],
)
def test_refuses_to_release(address: str, error: type[AddressPoolError], words: str):
    ipam = IPAM()
    ipam.release(POOL, ipam.allocate(POOL))
    with pytest.raises(error, match=words):
        ipam.release(POOL, ip_address(address))


def test_refuses_to_release_what_no_pool_gave():
    with pytest.raises(DoubleRelease):
        IPAM().release(POOL, ip_address("172.18.0.2"))


@pytest.mark.parametrize("other", ["172.18.0.0/16", "172.18.0.4/30", "172.18.0.0/29"])
def test_refuses_overlapping_pools(other: str):
    ipam = IPAM()
    ipam.open(POOL)
    with pytest.raises(PoolOverlap, match=r"overlaps 172\.18\.0\.0/29"):
        ipam.open(ip_network(other))


def test_refuses_a_gateway_that_the_pool_cannot_have():
    with pytest.raises(AddressOutsideSubnet):
        IPAM().open(POOL, ip_address("172.18.0.7"))


@given(small_pools)
def test_gives_each_usable_address_once(pool: IPv4Network | IPv6Network):
    ipam = IPAM()
    reserved = {ipam.gateway(pool)}
    if pool.num_addresses > 2:
        reserved |= {pool.network_address} | ({pool.broadcast_address} if pool.version == 4 else set())
    usable = sorted(set(pool) - reserved)
    assert [ipam.allocate(pool) for _ in usable] == usable
    with pytest.raises(PoolExhausted):
        ipam.allocate(pool)


OFFSETS = st.one_of(st.integers(0, 8), st.integers(-1, 64))


class Pool(RuleBasedStateMachine):
    """Any order of calls, held against a set that cannot be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.ipam = IPAM()
        self.taken: set[Address] = set()

    @initialize(pool=small_pools, gateway=st.integers(0, 63))
    def open(self, pool: IPv4Network | IPv6Network, gateway: int) -> None:
        self.pool = pool
        self.usable = set(pool)
        if pool.num_addresses > 2:
            self.usable -= {pool.network_address} | ({pool.broadcast_address} if pool.version == 4 else set())
        choice = sorted(self.usable)[gateway % len(self.usable)]
        self.usable.remove(self.ipam.open(pool, choice))

    @rule()
    def allocate_any(self) -> None:
        free = self.usable - self.taken
        if free:
            assert self.ipam.allocate(self.pool) == min(free)
            self.taken.add(min(free))
        else:
            with pytest.raises(PoolExhausted):
                self.ipam.allocate(self.pool)

    @rule(offset=OFFSETS)
    def allocate_by_name(self, offset: int) -> None:
        address = self.pool.network_address + offset
        if address in self.usable - self.taken:
            assert self.ipam.allocate(self.pool, address) == address
            self.taken.add(address)
        else:
            with pytest.raises((AddressInUse, AddressOutsideSubnet)):
                self.ipam.allocate(self.pool, address)

    @rule(offset=OFFSETS)
    def release(self, offset: int) -> None:
        address = self.pool.network_address + offset
        if address in self.taken:
            self.ipam.release(self.pool, address)
            self.taken.remove(address)
        else:
            with pytest.raises((DoubleRelease, AddressOutsideSubnet)):
                self.ipam.release(self.pool, address)

    @invariant()
    def remembers(self) -> None:
        if hasattr(self, "pool"):
            assert self.ipam.allocated(self.pool) == self.taken


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
