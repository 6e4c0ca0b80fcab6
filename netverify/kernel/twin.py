"""A twin: the model's hosts and wires rebuilt from real kernel parts, to be asked with real packets.

Whatever the model can speak of (`dataplane.World`: devices, addresses, routes, sysctls, rules of every
backend, wires) is built in a lab; what cannot be built here is listed and not passed over. The twin of a
host's snapshot is the model's second opinion, and never touches the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from netverify.dataplane.ipset import IpSet
from netverify.dataplane.view import DEFAULT, DEFAULT_RULES, LOCAL, LOOPBACK, HostView, Link, Route
from netverify.dataplane.world import Plug, Wire, World
from netverify.errors import InputError, KernelError
from netverify.host.snapshot import backend_of
from netverify.kernel import capabilities, netlink, twin_sysctls
from netverify.kernel.engines.engine import Relay
from netverify.kernel.firewall import Backend, run_inside
from netverify.kernel.lab import Lab
from netverify.kernel.plan import LOOPBACK as LOOPBACK_INDEX
from netverify.kernel.plan import Plan
from netverify.kernel.twin_names import nameable
from netverify.ruleset import Ruleset

VOID = "(void)"
_PROTOCOLS = {6: "tcp", 17: "udp"}
_NAMED_TABLES = 1 << 31


@dataclass(frozen=True)
class NotTwinned:
    """Something of a host that could not be rebuilt; questions that pass the host are then not twinned.

    Where it is a `device`, these are the questions that pass this device of the host.
    """

    node: str
    what: str
    why: str
    device: str = ""

    def __str__(self) -> str:
        return f"{self.node}: {self.what}: {self.why}"


def realise(lab: Lab, world: World) -> tuple[NotTwinned, ...]:
    """Build every host and wire of a world in an empty lab; returns what could not be built.

    Raises KernelError where the kernel refuses something that every kernel should have.
    """
    if lab.channels:
        raise InputError("this lab already holds something; open another lab for the twin")
    views, wires = nameable({name: stack.view for name, stack in world.stacks.items()}, world.wires)
    known = (address for view in views.values() for link in view.links for address in link.addresses)
    ipv6 = any(a.version == 6 and not (a.ip.is_loopback or a.ip.is_link_local) for a in known)
    switches = {wire: f"(switch {number})" for number, wire in enumerate(w for w in wires if _is_shared(w))}
    lab.create_namespaces([*views, *switches.values(), VOID], ipv6=ipv6)
    lab.plan = Plan({name: space for name, (space, _) in lab.channels.items()}, (4, 6) if ipv6 else (4,))
    return tuple(_Builder(lab, views, switches).build(wires))


class _Builder:
    """One construction: devices first, then everything that names them."""

    def __init__(self, lab: Lab, views: dict[str, HostView], switches: dict[Wire, str]) -> None:
        self.lab, self.plan, self.views, self.switches = lab, lab.plan, views, switches
        self.spare = count(1)

    def build(self, wires: Sequence[Wire]) -> Iterator[NotTwinned]:
        """Everything, in the order in which the parts depend on each other."""
        for view in self.views.values():
            for link in view.links:
                if link.is_bridge:
                    self.plan.bridge(view.name, link.name, mac=_mac(link))
        for switch in self.switches.values():
            self.plan.bridge(switch, "switch")
        for wire in wires:
            yield from self._wire(wire)
        for view in self.views.values():
            for link in view.links:
                if link.name != LOOPBACK and not link.is_bridge and not self._is_there(view.name, link.name):
                    self._veth((VOID, f"void{next(self.spare)}"), (view.name, link.name), None)
        for view in self.views.values():
            self._links(view)
            self._routes(view)
        self.lab.flush()
        for view in self.views.values():
            self._settings(view)
            yield from self._rules(view)
            yield from self._settings(view)  # some come with the modules that rules load
            self._relays(view)

    # --- devices --------------------------------------------------------------------------------------------

    def _is_there(self, node: str, device: str) -> bool:
        return device in self.plan.devices.get(node, {})

    def _wire(self, wire: Wire) -> Iterator[NotTwinned]:
        standing = {child: parent for parent, child in wire.apart}
        plugs = sorted(wire.plugs - standing.keys())
        if wire in self.switches:
            switch = self.switches[wire]
            for plug in plugs:
                self._veth((switch, f"port{next(self.spare)}"), plug, self.plan.device(switch, "switch"))
        elif len(plugs) == 2:
            self._veth(plugs[0], plugs[1], None)
        for child, parent in sorted(standing.items()):
            yield from self._macvlan(parent, child)

    def _veth(self, near: Plug, far: Plug, master: int | None) -> None:
        macs = [
            _mac(self.views[node].link(device)) if node in self.views else None
            for node, device in (near, far)
        ]
        self.plan.veth(near, far, master=master, near_mac=macs[0], mac=macs[1])

    def _macvlan(self, parent: Plug, child: Plug) -> Iterator[NotTwinned]:
        if not capabilities.has("macvlan"):
            yield NotTwinned(child[0], f"device {child[1]}", "this kernel has no macvlan", child[1])
            return
        if self.views[parent[0]].link(parent[1]).master is not None:
            why = f"it stands on {parent[1]}, a port of a bridge, which is nothing that can be rebuilt"
            yield NotTwinned(child[0], f"device {child[1]}", why, child[1])
            return
        if not self._is_there(*parent):
            self._veth((VOID, f"void{next(self.spare)}"), parent, None)
        index = self.plan.new_device(*child)
        request = netlink.add_macvlan(
            child[1],
            index,
            self.plan.device(*parent),
            "bridge",
            self.plan.namespaces[child[0]].fd,
            mac=_mac(self.views[child[0]].link(child[1])),
        )
        self.plan.stacked[parent[0]].append(request)

    def _links(self, view: HostView) -> None:
        for link in view.links:
            if link.name == LOOPBACK:
                if link.up:
                    self.plan.loopback(view.name)
                own = [a for a in link.addresses if not a.ip.is_loopback]
                requests = [netlink.add_address(LOOPBACK_INDEX, address) for address in own]
                self.plan.settings[view.name] += requests
                continue
            if not self._is_there(view.name, link.name):
                continue  # said before: it could not be made
            index = self.plan.device(view.name, link.name)
            settings = self.plan.settings[view.name]
            if link.master is not None:
                settings.append(netlink.set_link(index, master=self.plan.device(view.name, link.master)))
            addresses = [a for a in link.addresses if not (a.version == 6 and a.ip.is_link_local)]
            self.plan.configure(view.name, link.name, addresses, up=link.up)
            if link.hairpin:
                settings.append(netlink.set_hairpin(index))

    # --- routes ---------------------------------------------------------------------------------------------

    def _routes(self, view: HostView) -> None:
        settings = self.plan.settings[view.name]
        first: dict[object, Route] = {}  # of equal ones: the kernel holds one, and routing takes the first
        for route in view.routes:
            if not _by_kernel(view, route):
                first.setdefault((route.destination, route.table, route.metric), route)
        for route in sorted(first.values(), key=lambda route: route.via is not None):
            if route.device is not None and not self._is_there(view.name, route.device):
                continue
            device = None if route.device is None else self.plan.device(view.name, route.device)
            settings.append(
                netlink.add_route(
                    route.destination,
                    via=route.via,
                    device=device,
                    source=route.source,
                    kind=route.kind,
                    onlink=route.via is not None and not _on_link(view, route),
                    table=_table(route.table),
                    metric=route.metric,
                )
            )
        self._routing_rules(view, settings)

    def _routing_rules(self, view: HostView, settings: list[netlink.Request]) -> None:
        """What differs from the rules that every namespace begins with; and then those that are not there.

        Who does not ask the table `local` first sends to others what is for an address of its own.
        """
        settings += (
            netlink.add_rule(
                version,
                rule.priority,
                _table(rule.table),
                source=rule.source,
                destination=rule.destination,
                in_interface=rule.in_interface,
                mark=rule.mark,
                mask=rule.mark_mask,
                inverted=rule.inverted,
            )
            for rule in view.routing_rules
            if replace(rule, version=None) not in DEFAULT_RULES
            for version in filter(rule.is_for, self.plan.versions)
        )
        for version in self.plan.versions:
            own = view.rules_of(version)
            settings += (
                netlink.delete_rule(version, usual.priority, usual.table)
                for usual in DEFAULT_RULES
                if usual not in own and (version == 4 or usual.table != DEFAULT)
            )

    # --- settings and rules ---------------------------------------------------------------------------------

    def _settings(self, view: HostView) -> list[NotTwinned]:
        settings = twin_sysctls.wanted(view, self.plan.versions)
        refused = self.lab.visit(view.name, partial(twin_sysctls.write, settings))
        return [NotTwinned(view.name, f"sysctl {key} = {value}", why) for key, value, why in refused]

    def _rules(self, view: HostView) -> Iterator[NotTwinned]:
        try:
            if view.sets:
                self._ipsets(view)
            for rules in (view.ipv4, view.ipv6):
                self._restore(view.name, rules, backend_for(view, rules))
            for rules in view.legacy:
                self._restore(view.name, rules, Backend.LEGACY)
            if view.nft.tables:
                self.lab.nft_firewall(view.name).load(view.nft)
        except KernelError as error:
            yield NotTwinned(view.name, "rules", str(error))

    def _restore(self, node: str, rules: Ruleset, backend: Backend | None) -> None:
        version = 4 if rules.family == "ipv4" else 6
        if rules.tables and version in self.plan.versions:
            self.lab.firewall(node, backend).restore(rules.render(), version=version)

    def _ipsets(self, view: HostView) -> None:
        text = "".join(
            _restored(name, held if isinstance(held, IpSet) else _of_networks(held))
            for name, held in view.sets.items()
        )
        run_inside(self.lab.visitor, self.lab.namespace(view.name), ["ipset", "restore"], text)

    def _relays(self, view: HostView) -> None:
        space = self.lab.namespace(view.name)
        for service in view.services:
            protocol = _PROTOCOLS.get(service.protocol)
            if protocol is None:
                continue
            upstream, port = service.upstream or (None, 0)
            for version in (service.version,) if service.version else self.plan.versions:
                if upstream is None or upstream.version == version or service.address is not None:
                    place = (service.address, service.port, upstream, port, version)
                    relay = Relay(space, *place, service.answers_as_asked)
                    self.lab.relays.append((protocol, relay))


def backend_for(view: HostView, rules: Ruleset) -> Backend | None:
    """The backend that a host's rules are for: its own where it is known and is here, None where not."""
    if view.legacy:
        return Backend.NFT
    said = any(comment.text.startswith("Generated by") for comment in rules.comments)
    own = Backend(backend_of(rules)) if said else None
    return own if own is not None and _has(own, rules) else None


def other_backends(world: World) -> tuple[str, ...]:
    """What is loaded by another backend than on the host, for want of its own here."""
    notes = []
    for name, stack in world.stacks.items():
        for rules in (stack.view.ipv4, stack.view.ipv6):
            said = any(comment.text.startswith("Generated by") for comment in rules.comments)
            if said and rules.tables and not _has(Backend(backend_of(rules)), rules):
                there = f"iptables-{backend_of(rules)}"
                notes.append(f"{name}: {rules.family} rules of {there} are loaded by the machine's iptables")
    return tuple(notes)


def _has(backend: Backend, rules: Ruleset) -> bool:
    return capabilities.has(f"{'ip' if rules.family == 'ipv4' else 'ip6'}tables-{backend.value}")


def _table(number: int) -> int:
    """A routing table's number; those that only a name was known of get one that nobody else has."""
    return number if number < 1 << 32 else _NAMED_TABLES + (number & 0xFFFF_FFFF)


def _is_shared(wire: Wire) -> bool:
    """Whether more than two devices are on it, those that stand on others not counted."""
    return len(wire.plugs) - len(wire.apart) > 2


def _mac(link: Link) -> str | None:
    return None if link.mac is None else ":".join(f"{byte:02x}" for byte in link.mac.to_bytes(6, "big"))


def _by_kernel(view: HostView, route: Route) -> bool:
    """Whether the kernel makes the route by itself, of an address or of a device."""
    if route.table == LOCAL or route.kind == "broadcast":
        return True
    if route.via is not None or route.device is None or not view.has_link(route.device):
        return False
    if route.destination.version == 6 and route.destination.is_link_local:
        return True
    own = view.link(route.device).addresses
    return any(address.network == route.destination for address in own)


def _on_link(view: HostView, route: Route) -> bool:
    """Whether a route's gateway is a neighbour by some other route of the same device."""
    direct = (other for other in view.routes if other.via is None and other.device == route.device)
    return any(route.via in other.destination for other in direct if route.via is not None)


def _of_networks(networks: Iterable[object]) -> IpSet:
    texts = [str(network) for network in networks]
    return IpSet.of("hash:net", *texts, version=6 if any(":" in text for text in texts) else 4)


def _restored(name: str, held: IpSet) -> str:
    """A set as `ipset restore` reads it."""
    words = [f"create {name} {held.kind}"]
    if held.kind.startswith("hash:") and held.version is not None:
        words.append(f"family inet{'6' if held.version == 6 else ''}")
    if held.kind == "bitmap:port":
        words.append("range 0-65535")
    if held.netmask is not None:
        words.append(f"netmask {held.netmask}")
    if any(entry.timeout for entry in held.entries):
        words.append("timeout 0")
    lines = [" ".join(words)]
    for entry in held.entries:
        timeout = f" timeout {entry.timeout}" if entry.timeout else ""
        lines.append(f"add {name} {','.join(entry.values)}{timeout}" + (" nomatch" if entry.nomatch else ""))
    return "\n".join(lines) + "\n"
