"""A snapshot of a host as a subject: the host, its containers, who is around it, and what nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from netverify.dataplane.packet import Address
from netverify.dataplane.view import LOOPBACK, HostView
from netverify.errors import Place
from netverify.host import HostSnapshot
from netverify.model.containers import cables, inside_of, joined, node_of
from netverify.model.errors import NotCollected
from netverify.model.facts import Book, host_view, services_of
from netverify.model.subject import Endpoint, Subject
from netverify.model.surroundings import around, free, outer_links

HOST = "host"
CONTAINERS = "docker-containers.json"


def subject_of_snapshot(snapshot: HostSnapshot, source: str) -> Subject:
    """The host of a snapshot with everybody around it. Raises NotCollected without its devices."""
    if "addr.json" in snapshot.missing:
        raise NotCollected(Place(source), "addr.json", snapshot.missing["addr.json"])
    book = Book()
    names = {container.name for container in snapshot.containers}
    host = free(HOST, names)
    bare = host_view(snapshot, host, book)
    nodes = {container.name: node_of(snapshot, container, host) for container in snapshot.containers}
    insides = {
        container.name: inside_of(snapshot, container, bare, book)
        for container in snapshot.containers
        if nodes[container.name] == container.name
    }
    if snapshot.engine is not None and snapshot.engine.rootless:
        reason = "the engine is rootless: its bridges and rules are in a namespace that nobody looked into"
        for name in insides:
            book.lack(name, "docker-networks.json", reason)
    ports = [port for inside in insides.values() for port in inside.ports]
    view = replace(bare, links=(*bare.links, *ports), services=services_of(snapshot))
    views = {host: view} | {name: inside.view for name, inside in insides.items()}
    endpoints = [Endpoint(name, node, _addresses(views[node])) for name, node in nodes.items()]
    endpoints.append(Endpoint(host, host, _addresses(view)))
    strangers, outer = around(snapshot, view, names)
    open_links = {link.name for link in outer_links(snapshot, view)}
    # Whoever is behind a bridge that is not the engine's, nobody asked.
    engines = {network.bridge for network in snapshot.networks}
    open_links |= {link.name for link in view.links if link.is_bridge and link.name not in engines}
    if CONTAINERS in snapshot.missing and any(link.is_bridge for link in view.links):
        book.notes.append(f"who is addressed behind a bridge is taken to be there ({CONTAINERS} is missing)")
        open_links |= {link.name for link in view.links if link.is_bridge}
    wires = [wire for inside in insides.values() for wire in inside.wires]
    return Subject(
        f"snapshot of {snapshot.name}",
        tuple(views.values()),
        (*cables(host, snapshot.devices), *joined(wires)),
        (*endpoints, *outer),
        host,
        tuple(strangers),
        frozenset(open_links),
        {node: tuple(lacks) for node, lacks in book.lacks.items()},
        tuple(dict.fromkeys(book.notes)),
        kinds=_kinds(snapshot, host, nodes),
        offers=tuple(dict.fromkeys(_offers(snapshot, host, nodes))),
    )


def _kinds(snapshot: HostSnapshot, host: str, nodes: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """What kind each device is that somebody saw, by namespace and name."""
    seen = [(host, device) for device in snapshot.devices]
    for container in snapshot.containers:
        if nodes[container.name] == container.name:
            seen += ((container.name, device) for device in container.devices or ())
    return {(node, device.name): device.kind for node, device in seen}


def _offers(snapshot: HostSnapshot, host: str, nodes: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """The ports that containers expose or publish, and those that programs of the host listen on.

    Userland proxies are left out: they stand among the host's services.
    """
    for container in snapshot.containers:
        for protocol, port in container.exposed:
            yield nodes[container.name], protocol, port
        for publication in container.publications:
            yield nodes[container.name], publication.protocol, publication.container_port
    for listener in snapshot.listeners:
        if not listener.program.startswith("docker-proxy"):
            yield host, listener.protocol, listener.port


def _addresses(view: HostView) -> tuple[Address, ...]:
    """A namespace's addresses, those of the device with the default route first."""
    uplink = next((r.device for r in view.routes if r.destination.prefixlen == 0 and r.device), None)
    links = [link for link in view.links if link.name != LOOPBACK and link.up]
    links.sort(key=lambda link: link.name != uplink)
    return tuple(a.ip for link in links for a in link.addresses if not a.ip.is_link_local)
