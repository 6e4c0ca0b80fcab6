"""From a topology to netlink requests: who gets which device, in which namespace, in which order.

A `Plan` numbers every device of every namespace by itself, so that all requests of a namespace are known
before the first one is sent. It has three phases: `links` (bridges and cables, whose far ends appear in other
namespaces), `stacked` (devices that need another device below them, such as macvlan), and `settings` (devices
up, addresses, routes: each namespace for itself). The network drivers (`kernel/drivers.py`) add to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from netverify.errors import InputError
from netverify.kernel import netlink
from netverify.kernel.namespace import Namespace
from netverify.kernel.netlink import Request, VethEnd
from netverify.topology.model import Interface, InterfaceAddress, Route

LOOPBACK = 1
NEIGHBOUR_PATIENCE = 100  # milliseconds between two questions for a neighbour; the kernel's default is 1,000


@dataclass
class Plan:
    """Requests for each namespace, in the order in which they must be sent."""

    namespaces: dict[str, Namespace]
    versions: tuple[int, ...] = (4,)
    links: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    stacked: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    settings: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    devices: dict[str, dict[str, int]] = field(default_factory=dict)
    _spare: int = 0

    def adopt(self, namespace: Namespace, devices: dict[str, int]) -> None:
        """Plan for a namespace that somebody else made, and which has `devices` (by name) already."""
        self.namespaces[namespace.name] = namespace
        self.devices[namespace.name] = devices

    def new_device(self, node: str, device: str) -> int:
        """Number a device that is about to be made in `node`."""
        known = self._without(node, device)
        known[device] = max(known.values()) + 1
        return known[device]

    def _without(self, node: str, device: str) -> dict[str, int]:
        """The devices of `node`, if none of them is called `device`."""
        known = self.devices.setdefault(node, {"lo": LOOPBACK})
        if device in known:
            raise InputError(f"{node}: there would be two devices named {device!r}")
        return known

    def device(self, node: str, device: str) -> int:
        """The number of a device that is there already."""
        try:
            return self.devices.setdefault(node, {"lo": LOOPBACK})[device]
        except KeyError:
            there = ", ".join(sorted(self.devices[node]))
            raise InputError(f"{node}: no device named {device!r} (there are: {there})") from None

    def spare_name(self, prefix: str) -> str:
        """A device name that nobody chose, for the end that nobody looks at."""
        self._spare += 1
        return f"{prefix}{self._spare}"

    def bridge(self, node: str, device: str, *, mac: str | None = None, mtu: int | None = None) -> int:
        """A bridge, up."""
        index = self.new_device(node, device)
        self.links[node].append(netlink.add_bridge(device, index, mac=mac, mtu=mtu))
        return index

    def veth(
        self,
        near: tuple[str, str],
        far: tuple[str, str],
        *,
        master: int | None = None,
        mac: str | None = None,
        near_mac: str | None = None,
        mtu: int | None = None,
    ) -> tuple[int, int]:
        """A veth pair: `near` and `far` are (node, device); `mac` is the far end's, `master` the near end's.

        The near end is up, the far one down until its namespace's settings bring it up.
        """
        self._without(*far)  # before the near end is numbered: both are new, or nothing is planned
        near_index, far_index = self.new_device(*near), self.new_device(*far)
        self.links[near[0]].append(
            netlink.add_veth(
                VethEnd(near[1], near_index, mac=near_mac, mtu=mtu, master=master),
                VethEnd(far[1], far_index, mac=mac, mtu=mtu, namespace=self.namespaces[far[0]].fd),
            )
        )
        return near_index, far_index

    def configure(
        self, node: str, device: str, addresses: Iterable[InterfaceAddress], *, up: bool = True
    ) -> None:
        """Bring a device up and give it addresses."""
        index = self.device(node, device)
        settings = self.settings[node]
        settings += self.patience([index])
        if up:
            settings.append(netlink.set_link(index, up=True))
        settings += [netlink.add_address(index, address) for address in addresses]

    def patience(self, devices: Iterable[int]) -> list[Request]:
        """Requests that make devices give up on a silent neighbour sooner than the kernel's 3 seconds."""
        return [
            netlink.set_neighbour_patience(index, version, NEIGHBOUR_PATIENCE)
            for index in devices
            for version in self.versions
        ]

    def loopback(self, node: str) -> None:
        """Bring lo up; the kernel gives it 127.0.0.1 and ::1 by itself."""
        self.settings[node].append(netlink.set_link(LOOPBACK, up=True))

    def attach(self, node: str, interface: Interface) -> None:
        """Enslave a device where it says so, bring it up, and give it its addresses."""
        index = self.device(node, interface.device)
        if interface.master is not None:
            master = self.device(node, interface.master)
            self.settings[node].append(netlink.set_link(index, master=master))
        self.configure(node, interface.device, interface.addresses, up=interface.up)

    def route(self, node: str, route: Route) -> None:
        """A route of the main table."""
        self.settings[node].append(
            netlink.add_route(
                route.destination,
                via=route.via,
                device=None if route.device is None else self.device(node, route.device),
                source=route.source,
                kind=route.kind,
                onlink=route.onlink,
            )
        )
