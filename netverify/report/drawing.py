"""A topology as a drawing in plain text, for people who look at a lab or at a report.

Each host is a box. Lines at the left are the wires outside of hosts: one for each segment, from its name at
the top downwards, and one for each cable between two boxes; a dot is a plug. Inside a host each network is a
double line, with the bridge's addresses above and the containers below. Who shares a namespace is named in
the box of its owner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from netverify.reachability.text import printable
from netverify.report.blocks import Block, box, flow, rack, with_wires
from netverify.topology.model import (
    Cable,
    Container,
    Host,
    Interface,
    Network,
    NetworkDriver,
    PortMapping,
    Role,
    Topology,
)

_ASCII: Final = str.maketrans("┌┐└┘├┤┬┴┼─│═╤●", "++++++++" + "+-|==*")
_FAMILIES: Final = {"ipv4": "IPv4", "ipv6": "IPv6"}


@dataclass(frozen=True)
class _Line:
    """A line in a host's box; `wire` is the name of the wire that comes in there from the left."""

    text: str
    wire: str | None = None


def draw(topology: Topology, *, plain: bool = False) -> str:
    """Draw `topology`, addresses that it leaves to IPAM included; the text ends without a newline.

    With `plain` the lines are made of ASCII characters. Raises TopologyError where the topology cannot be
    resolved.
    """
    title = f"{topology.name}: {topology.title}" if topology.title else topology.name
    if not (topology.hosts or topology.segments):
        title += ": nothing in it"
    lines = [printable(title), "", *_Drawing(topology.resolved()).lines()]
    if topology.notes:
        lines += ["", *(f"{key}: {printable(text)}" for key, text in topology.notes.items())]
    text = "\n".join(line.rstrip() for line in lines).rstrip("\n")
    return text.translate(_ASCII) if plain else text


class _Drawing:
    """One resolved topology, and which of its cables are drawn how."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.hanging = dict(self._hanging())
        self.wires: dict[str, list[int]] = {
            segment.name: [] for segment in topology.segments
        }  # rows of plugs
        self.plugs: dict[tuple[str, str], str] = {}  # (node, device) -> the wire that is plugged in
        self.remarks: dict[
            tuple[str, str], str
        ] = {}  # (node, device) -> the other end, where no wire is drawn
        for number, cable in enumerate(topology.cables):
            self._route(f"#{number}", cable)

    def lines(self) -> Block:
        """The whole drawing: first the boxes, then the wires left of them."""
        boxes: Block = []
        for host in self.topology.hosts:
            if host.name in self.hanging:
                continue
            if boxes:
                boxes.append("")
            start = len(boxes) + 1
            inside = self._inside(host)
            for row, line in enumerate(inside, start):
                if line.wire is not None:
                    self.wires[line.wire].append(row)
            boxes += box(self._host_title(host), [line.text for line in inside])
        return with_wires(boxes, self.wires, self._headings())

    def _headings(self) -> dict[str, str]:
        return {
            segment.name: " ".join([segment.name, *map(str, segment.subnets)])
            for segment in self.topology.segments
        }

    # Which cable is drawn how.

    def _hanging(self) -> Iterator[tuple[str, tuple[str, str, str]]]:
        """Bare namespaces with one cable, to a bridge: (host, bridge, device) that each hangs on."""
        for cable in self.topology.cables:
            for near, far in (cable.ends, cable.ends[::-1]):
                node = self.topology.node(far.node)
                if (
                    near.interface.master is not None
                    and isinstance(node, Host)
                    and node.role is Role.NETNS
                    and not (node.interfaces or node.bridges)
                    and not (self.topology.networks_on(node.name) or self.topology.containers_on(node.name))
                    and len(self.topology.cable_ends(node.name)) == 1
                ):
                    yield node.name, (near.node, near.interface.master, near.interface.device)

    def _route(self, wire: str, cable: Cable) -> None:
        """Draw a cable between two boxes as a wire, name its other end elsewhere, and not one that hangs."""
        one, two = cable.ends
        if one.node in self.hanging or two.node in self.hanging:
            return
        boxes = [isinstance(self.topology.node(end.node), Host) for end in cable.ends]
        if all(boxes) and one.node != two.node:
            self.wires[wire] = []
            for end in cable.ends:
                self.plugs[end.node, end.interface.device] = wire
        else:
            for end, other in ((one, two), (two, one)):
                self.remarks[end.node, end.interface.device] = f"<-> {other}"

    # Hosts.

    def _host_title(self, host: Host) -> str:
        facts = []
        if host.role not in (Role.HOST, Role.NETNS) and host.role.value not in host.name:
            facts.append(host.role.value)
        if host.forwarding:
            facts.append("forwards " + " and ".join(_FAMILIES[family] for family in sorted(host.forwarding)))
        if host.docker is not None:
            facts.append(f"Docker {host.docker.version}, FORWARD policy {host.docker.forward_policy}")
        if not host.loopback:
            facts.append("lo is down")
        return f"{host.name} ({'; '.join(facts)})" if facts else host.name

    def _inside(self, host: Host) -> list[_Line]:
        facts = list(self._host_lines(host))
        blocks = flow([*self._bridges(host), *self._networks(host), *self._sealed(host)])
        if facts and blocks:
            facts.append(_Line(""))
        return [*facts, *map(_Line, blocks)] or [_Line("no device but lo")]

    def _host_lines(self, host: Host) -> Iterator[_Line]:
        hung = {device for owner, _, device in self.hanging.values() if owner == host.name}
        for interface in (*host.interfaces, *self.topology.cable_ends(host.name)):
            if interface.device not in hung:
                wire = interface.segment or self.plugs.get((host.name, interface.device))
                yield _Line(self._device(host.name, interface), wire)
        yield from map(_Line, self._node_facts(host))
        for name in self.topology.inhabitants(host.name)[1:]:
            yield _Line(_guest(self.topology.container(name)))

    def _device(self, node: str, interface: Interface) -> str:
        words = [interface.device, ", ".join(map(str, interface.addresses))]
        if interface.master is not None:
            words.append(f"port of {interface.master}")
        if not interface.up:
            words.append("(down)")
        words.append(self.remarks.get((node, interface.device), ""))
        return "  ".join(filter(None, words))

    def _node_facts(self, node: Host | Container) -> Iterator[str]:
        for route in node.routes:
            yield f"route  {route}"
        if node.listens:
            yield "listens " + _services(node.listens)
        for key, value in node.sysctls.items():
            yield printable(f"{key} = {value}")
        if isinstance(node, Host):
            for rules, tool in ((node.rules, "iptables"), (node.rules6, "ip6tables")):
                if rules is not None:
                    count = sum(line.startswith("-") for line in rules.splitlines())
                    yield f"{tool} rules of its own: {count}"

    # What is inside a host.

    def _bridges(self, host: Host) -> Iterator[Block]:
        """Bare bridges, with the namespaces that hang on them."""
        for bridge in host.bridges:
            yield rack(self._device(host.name, bridge), self._hung(host, bridge.device))

    def _hung(self, host: Host, bridge: str) -> list[tuple[str, Block]]:
        return [
            (port, self._namespace(self.topology.host(name)))
            for name, (owner, device, port) in self.hanging.items()
            if (owner, device) == (host.name, bridge)
        ]

    def _namespace(self, host: Host) -> Block:
        devices = (self._device(host.name, interface) for interface in self.topology.cable_ends(host.name))
        return box(self._host_title(host), [*devices, *self._node_facts(host)], joint=True)

    def _networks(self, host: Host) -> Iterator[Block]:
        """Networks, with the containers that hang on them. Who is on several is drawn under his first."""
        for network in self.topology.networks_on(host.name):
            hung: list[tuple[str, Block]] = []
            elsewhere: list[str] = []
            for container, endpoint in self.topology.endpoints_on(network.name):
                if container.host != host.name:
                    continue
                if container.endpoints[0] is endpoint:
                    hung.append((endpoint.host_device or "", self._container(container)))
                else:
                    elsewhere.append(f"{container.name} ({', '.join(map(str, endpoint.addresses))})")
            label = self._network_label(network, host)
            if elsewhere:
                label += "\nalso " + ", ".join(elsewhere)
            if network.has_bridge:
                hung += self._hung(host, network.host_device)
            yield rack(label, hung)

    def _network_label(self, network: Network, host: Host) -> str:
        addresses = ", ".join(map(str, network.bridge_addresses or network.subnets))
        facts = [network.name] if network.name != network.host_device else []
        if network.driver is NetworkDriver.OVERLAY:
            tunnel = self.topology.tunnel_addresses(network.name)[host.name]
            facts.append(f"overlay, VXLAN {network.vni} from {tunnel}")
        elif not network.has_bridge:
            facts.append(f"{network.driver.value}, mode {network.mode}")
        options = (
            ("internal", network.internal),
            ("icc off", not network.icc),
            ("no masquerade", not network.masquerade),
            ("no default route", not network.default_route),
        )
        facts += [text for text, holds in options if holds]
        return f"{network.host_device}  {addresses}" + (f"  ({', '.join(facts)})" if facts else "")

    def _sealed(self, host: Host) -> Iterator[Block]:
        """Containers without any network."""
        for container in self.topology.containers_on(host.name):
            if container.mode == "none":
                yield self._container(container, joint=False)

    def _container(self, container: Container, *, joint: bool = True) -> Block:
        lines = ["no network"] if container.mode == "none" else []
        for number, attachment in enumerate(self.topology.attachments(container.name)):
            first, *others = (str(address.ip) for address in attachment.addresses)
            lines.append(
                f"{attachment.device}  {first}" + (f"  on {attachment.network.name}" if number else "")
            )
            lines += [" " * len(attachment.device) + f"  {address}" for address in others]
        lines += [self._device(container.name, end) for end in self.topology.cable_ends(container.name)]
        lines += map(_published, container.publish)
        lines += self._node_facts(container)
        lines += [
            _guest(self.topology.container(name)) for name in self.topology.inhabitants(container.name)[1:]
        ]
        return box(container.name, lines, joint=joint)


def _published(mapping: PortMapping) -> str:
    address = "*" if mapping.host_address is None else str(mapping.host_address)
    address = f"[{address}]" if ":" in address else address
    return f"published  {address}:{mapping.host_port} -> {mapping.container_port}/{mapping.protocol}"


def _services(listens: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{protocol}/{port}" for protocol, port in listens)


def _guest(container: Container) -> str:
    listens = f", listens {_services(container.listens)}" if container.listens else ""
    return f"shared by {container.name}{listens}"
