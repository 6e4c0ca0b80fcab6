"""Address management: who has which address of a subnet.

An `IPAM` keeps one pool for each subnet, as the IPAM of seed document 002 does: `allocate(subnet)` hands out
the lowest free address, `release(subnet, address)` takes it back. A pool never hands out what belongs to
nobody (the network address, the broadcast address of IPv4) nor the gateway, which it reserves when it opens.

>>> from ipaddress import ip_network
>>> ipam = IPAM()
>>> ipam.allocate(ip_network("172.18.0.0/16"))
IPv4Address('172.18.0.2')
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv4Network

from netverify.topology.errors import (
    AddressInUse,
    AddressOutsideSubnet,
    DoubleRelease,
    PoolExhausted,
    PoolOverlap,
)
from netverify.topology.values import Address, Subnet, reserved_as


@dataclass
class _Pool:
    """One subnet. Every free address is in `returned`, or is `fresh` or above it and not in `taken`."""

    subnet: Subnet
    gateway: Address
    fresh: int
    taken: set[int] = field(default_factory=set)
    returned: list[int] = field(default_factory=list)  # a heap; may hold addresses taken again by name


class IPAM:
    """Allocates and releases addresses. Pools must not overlap, as with Docker's."""

    def __init__(self) -> None:
        self._pools: dict[Subnet, _Pool] = {}

    def open(self, subnet: Subnet, gateway: Address | None = None) -> Address:
        """Open a pool whose gateway is `gateway`, or the first address; return the gateway.

        Raises PoolOverlap for a subnet that shares addresses with an open pool (the same one included), and
        AddressOutsideSubnet for a gateway that the subnet cannot have.
        """
        for other in self._pools:
            if other.version == subnet.version and _overlap(other, subnet):
                raise PoolOverlap(subnet, None, f"it overlaps {other}", "choose another subnet")
        least = int(subnet.network_address) + (1 if reserved_as(subnet.network_address, subnet) else 0)
        if gateway is None:
            gateway = subnet.network_address + (least - int(subnet.network_address))
        _check_inside(subnet, gateway)
        self._pools[subnet] = _Pool(subnet, gateway, least)
        return gateway

    def gateway(self, subnet: Subnet) -> Address:
        """The gateway of `subnet`; its pool is opened if need be."""
        return self._pool(subnet).gateway

    def allocate(self, subnet: Subnet, address: Address | None = None) -> Address:
        """Take `address` out of the pool of `subnet`, or the lowest free one, and return it.

        The first call for a subnet opens its pool. Raises PoolExhausted, AddressOutsideSubnet (also for the
        network and broadcast addresses) and AddressInUse (also for the gateway).
        """
        pool = self._pool(subnet)
        if address is None:
            number = _lowest_free(pool)
            if number is None:
                raise PoolExhausted(
                    subnet,
                    None,
                    f"all {len(pool.taken)} addresses are taken",
                    "release one, or use a larger subnet",
                )
            pool.taken.add(number)
            return subnet.network_address + (number - int(subnet.network_address))
        _check_inside(subnet, address)
        if address == pool.gateway:
            raise AddressInUse(subnet, address, f"{address} is the gateway", "choose another address")
        if int(address) in pool.taken:
            raise AddressInUse(subnet, address, f"{address} is taken", "release it first, or choose another")
        pool.taken.add(int(address))
        return address

    def release(self, subnet: Subnet, address: Address) -> None:
        """Put `address` back into the pool of `subnet`.

        Raises DoubleRelease if it is not allocated, and AddressOutsideSubnet.
        """
        _check_inside(subnet, address)
        pool = self._pools.get(subnet)
        if pool is None or int(address) not in pool.taken:
            reason = "is the gateway" if pool and address == pool.gateway else "is not allocated"
            raise DoubleRelease(
                subnet, address, f"{address} {reason}", "release only what allocate() gave, once"
            )
        pool.taken.remove(int(address))
        if int(address) < pool.fresh:
            heappush(pool.returned, int(address))

    def allocated(self, subnet: Subnet) -> frozenset[Address]:
        """What is taken in `subnet`, without its gateway."""
        pool = self._pools.get(subnet)
        base = int(subnet.network_address)
        return frozenset(subnet.network_address + (number - base) for number in (pool.taken if pool else ()))

    def _pool(self, subnet: Subnet) -> _Pool:
        if subnet not in self._pools:
            self.open(subnet)
        return self._pools[subnet]


def _lowest_free(pool: _Pool) -> int | None:
    """The lowest address that is neither taken nor reserved; it leaves the pool's free ones."""
    while pool.returned:
        number = heappop(pool.returned)
        if number not in pool.taken:
            return number
    last = int(pool.subnet.broadcast_address)
    if reserved_as(pool.subnet.broadcast_address, pool.subnet):
        last -= 1
    while pool.fresh <= last:
        number = pool.fresh
        pool.fresh += 1
        if number not in pool.taken and number != int(pool.gateway):
            return number
    return None


def _check_inside(subnet: Subnet, address: Address) -> None:
    if address not in subnet:
        raise AddressOutsideSubnet(
            subnet, address, f"{address} is outside", "choose an address of the subnet"
        )
    fault = reserved_as(address, subnet)
    if fault:
        raise AddressOutsideSubnet(
            subnet, address, f"{address} is the {fault}", "choose an address that a device may have"
        )


def _overlap(one: Subnet, two: Subnet) -> bool:
    """Whether two subnets of one family share addresses."""
    if isinstance(one, IPv4Network):
        return isinstance(two, IPv4Network) and one.overlaps(two)
    return not isinstance(two, IPv4Network) and one.overlaps(two)
