"""The contract of a network driver: how a `Network` of one kind is made, and containers put on it.

Seed document 002, section 'Network driver', has these four verbs and a name. There a driver makes the network
from a subnet and a name; here the description comes first (`Network`, `Endpoint`, with the addresses that
`IPAM` gave them) and a driver only carries it out. The kernel room has one for each `NetworkDriver`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from netverify.topology.containers import Endpoint
from netverify.topology.networks import Network


@runtime_checkable
class Driver(Protocol):
    """Makes networks of one kind, and connects containers to them.

    All of it takes parts of a resolved topology: nothing is left for the driver to choose. What the kernel
    refuses comes as a `KernelError`, what the description lacks as an `InputError`; either way what was there
    before the call is still there.
    """

    @property
    def name(self) -> str:
        """The driver's name, as in `docker network create --driver NAME`."""

    def create(self, network: Network) -> None:
        """Make what the network needs on each of its hosts: a bridge, a tunnel; or nothing."""

    def delete(self, network: Network) -> None:
        """Undo `create`. Containers that are still connected lose their way to each other."""

    def connect(self, network: Network, node: str, endpoint: Endpoint, host: str) -> None:
        """Give the container `node` on `host` a device on the network, up, with the endpoint's addresses."""

    def disconnect(self, network: Network, node: str, endpoint: Endpoint) -> None:
        """Undo `connect`: the container's device is gone. Its addresses are IPAM's to release."""
