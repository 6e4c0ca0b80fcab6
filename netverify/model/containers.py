"""The containers of a snapshot as namespaces of their own, wired to the host.

What was seen inside a container is believed first; where nobody looked, what the engine says of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from netverify.dataplane.view import LOOPBACK, HostView, Link, Route
from netverify.dataplane.world import Plug, Wire
from netverify.host import HostSnapshot
from netverify.host.containers import HostContainer
from netverify.host.devices import Device
from netverify.model.facts import Book, Tables, links_of, routes_of
from netverify.model.strangers import EVERYWHERE


@dataclass(frozen=True)
class Inside:
    """A container's namespace, ports of the host for it that nobody saw, and the wires between the two."""

    view: HostView
    ports: tuple[Link, ...]
    wires: tuple[Wire, ...]


def node_of(snapshot: HostSnapshot, container: HostContainer, host: str) -> str:
    """The namespace that a container is in: its own, another container's, the host's."""
    for _ in snapshot.containers:  # no chain of containers is longer
        wanted = container.mode.removeprefix("container:")
        if wanted == container.mode:
            break
        others = (other for other in snapshot.containers if other is not container)
        found = next((o for o in others if o.identity.startswith(wanted) or o.name == wanted), None)
        if found is None:
            break
        container = found
    return host if container.mode == "host" else container.name


def inside_of(snapshot: HostSnapshot, container: HostContainer, host: HostView, book: Book) -> Inside:
    """A container that has a namespace of its own."""
    name = container.name
    ports: list[Link] = []
    wires: list[Wire] = []
    if container.devices is None:
        devices = list(_inspected(container))
        if devices:
            book.notes.append(f"{name}: devices and routes as the engine describes them, not as seen inside")
        for device, attachment in devices:
            bridge = _bridge(snapshot, attachment)
            if bridge is not None and host.has_link(bridge):
                port = f"{name}-{device.name}"
                ports.append(Link(port, master=bridge))
                wires.append(Wire(frozenset({(host.name, port), (name, device.name)})))
        links = links_of([device for device, _ in devices])
    else:
        links = links_of(container.devices)
        wires += _plugged(snapshot, container, container.devices, host.name)
    if not any(link.name == LOOPBACK for link in links):
        own = tuple(map(ip_interface, ("127.0.0.1/8", "::1/128")))
        links = (Link(LOOPBACK, own), *links)
    names = {link.name for link in links}
    given = container.routes
    routes = tuple(routes_of(name, given, names, Tables(), book)) if given is not None else ()
    view = HostView(name, links, routes, sysctls=_inherited(host.sysctls))
    if given is None:
        view = view.with_connected_routes()
        view = replace(view, routes=(*view.routes, *_default_routes(container, view)))
    return Inside(view, tuple(ports), tuple(wires))


def joined(wires: Iterable[Wire]) -> Iterator[Wire]:
    """The wires, with one for all who stand on the same device of the host: they hear each other."""
    stacked: dict[Plug, list[Wire]] = {}
    for wire in wires:
        if wire.apart:
            ((parent, _child),) = wire.apart
            stacked.setdefault(parent, []).append(wire)
        else:
            yield wire
    for standing in stacked.values():
        plugs = frozenset(plug for wire in standing for plug in wire.plugs)
        yield Wire(plugs, frozenset(pair for wire in standing for pair in wire.apart))


def cables(host: str, devices: Iterable[Device]) -> Iterator[Wire]:
    """Veth pairs with both ends on the host."""
    known = {device.name: device for device in devices}
    for device in known.values():
        if device.kind == "veth" and device.peer in known and device.name < (device.peer or ""):
            yield Wire(frozenset({(host, device.name), (host, device.peer or "")}))


def _bridge(snapshot: HostSnapshot, network: str) -> str | None:
    return next((each.bridge for each in snapshot.networks if each.name == network), None)


def _plugged(
    snapshot: HostSnapshot, container: HostContainer, devices: Iterable[Device], host: str
) -> Iterator[Wire]:
    """The wires from a container's devices to the host's: by the number of the other end."""
    by_index = {device.index: device for device in snapshot.devices}
    for device in devices:
        if device.is_loopback or device.peer_index is None:
            continue
        other = by_index.get(device.peer_index)
        # The number may be that of a third namespace: a veth's two ends name each other.
        if other is None or (
            device.kind == "veth" and (other.kind, other.peer_index) != ("veth", device.index)
        ):
            continue
        ends: tuple[Plug, Plug] = (host, other.name), (container.name, device.name)
        # What stands on a device of the host (macvlan, ipvlan) does not hear that device itself.
        yield Wire(frozenset(ends), frozenset({ends}) if device.kind != "veth" else frozenset())


def _inherited(sysctls: Mapping[str, str]) -> dict[str, str]:
    """What a new namespace takes over from the first (net.core.devconf_inherit_init_net, 0 by default)."""
    prefixes = ("net.ipv4.conf.all.", "net.ipv4.conf.default.", "net.ipv4.ip_forward")
    return {name: value for name, value in sysctls.items() if name.startswith(prefixes)}


def _inspected(container: HostContainer) -> Iterator[tuple[Device, str]]:
    """The devices of a container as `docker inspect` lets them be known, each with its network."""
    for number, attachment in enumerate(a for a in container.attachments if a.addresses):
        device = Device(f"eth{number}", 0, "veth", attachment.addresses, mac=attachment.mac)
        yield device, attachment.network


def _default_routes(container: HostContainer, view: HostView) -> Iterator[Route]:
    """The default routes by the gateways that the engine names: those of the first network that has one."""
    for version in (4, 6):
        for attachment in container.attachments:
            via = next((gateway for gateway in attachment.gateways if gateway.version == version), None)
            device = next(
                (
                    link.name
                    for link in view.links
                    for a in link.addresses
                    if via is not None and via in a.network
                ),
                None,
            )
            if via is not None and device is not None:
                yield Route(EVERYWHERE[version], via, device)
                break
