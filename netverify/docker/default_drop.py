"""The rules of Docker 28 and of 29's iptables backend: every bridge drops what nothing has opened.

`layout.py` says where the generations differ. When all is done, DOCKER-FORWARD (in 28.0.0 FORWARD) reads:

1. `-j DOCKER-INGRESS`, on a swarm's node
2. `-j DOCKER-CT`: per network, the oldest first, `-o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j
   ACCEPT`
3. `-j DOCKER-ISOLATION-STAGE-1` (since 29.0 `-j DOCKER-INTERNAL`): internal networks' drops; until 28.5 also
   what keeps networks apart
4. `-j DOCKER-BRIDGE`: per network `-o BRIDGE -j DOCKER`
5. per network, the oldest first, `-i BRIDGE -j ACCEPT`; with icc=false `-i BRIDGE -o BRIDGE -j DROP` and
   `-i BRIDGE ! -o BRIDGE -j ACCEPT`

and the filter table's DOCKER: published ports, the newest first; then per network `! -i BRIDGE -o BRIDGE -j
DROP`. The raw table drops packets to containers' own addresses from everywhere but their bridge.

Sources: moby libnetwork/drivers/bridge/setup_ip_tables_linux.go and port_mapping_linux.go (28.0, 28.1),
libnetwork/drivers/bridge/internal/iptabler (28.2 on) and daemon/libnetwork/... of the same name (29). An
engine of 28.5.2 was compared rule by rule; the others were read.
"""

from __future__ import annotations

from collections.abc import Iterator

from netverify.docker.binding import Binding
from netverify.docker.config import Attachment, BridgeNetwork, DockerHost
from netverify.docker.layout import BRIDGE, CONNTRACK, FORWARD, INTERNAL, LAYOUTS, SET_NAMES
from netverify.docker.options import parse_mark
from netverify.docker.step import Action, Step, jump_on_top
from netverify.docker.writer import (
    DOCKER,
    ESTABLISHED,
    INGRESS,
    PAIRS,
    STAGE_1,
    STAGE_2,
    TO_LOCAL,
    RuleWriter,
    single,
    undone,
)
from netverify.ruleset import Family

_ICMP = {"ipv4": "icmp", "ipv6": "ipv6-icmp"}
_LINK_LOCAL = {"ipv4": "", "ipv6": "! -s fe80::/10 "}  # is not translated: the reply would not find its way
_OWN_CHAINS = (FORWARD, BRIDGE, DOCKER, CONNTRACK, INTERNAL, STAGE_1, STAGE_2, PAIRS)


class DefaultDropFirewaller(RuleWriter):
    """Writes generations B0, B1, B2 and C for one address family of a host."""

    def __init__(self, host: DockerHost, family: Family) -> None:
        super().__init__(host, family)
        self.layout = LAYOUTS[host.generation]

    def start(self, *, again: bool) -> Iterator[Step]:
        """The daemon starts. A policy is set only by the daemon that turns forwarding on, so not again."""
        yield Step(Action.DELETE, "filter", "FORWARD", f"-j {PAIRS}")
        yield from self.remove_nat_chain()
        for chain in _OWN_CHAINS:
            yield Step(Action.REMOVE_CHAIN, "filter", chain)
        yield from self.replay_chains()
        yield from self.forward_policy(again=again)
        yield from self.user_chain()

    def forward_policy(self, *, again: bool) -> Iterator[Step]:
        """Policy DROP, by the daemon that turns forwarding on."""
        if self.host.policy_drop(self.version) and not again:
            yield Step(Action.POLICY, "filter", "FORWARD", "DROP")

    def replay_chains(self) -> Iterator[Step]:
        """The chains and the jumps to them, in the order of a packet's way; older engines' jumps go."""
        layout = self.layout
        yield Step(Action.NEW_CHAIN, "nat", DOCKER)
        stages = (STAGE_1, STAGE_2) if layout.stages else (INTERNAL,)
        own = () if layout.by_set else (FORWARD, BRIDGE, CONNTRACK)
        for chain in (DOCKER, *own, *stages):
            yield Step(Action.NEW_CHAIN, "filter", chain)
        yield Step(Action.APPEND, "nat", "PREROUTING", f"{TO_LOCAL} {DOCKER}")
        yield Step(Action.APPEND, "nat", "OUTPUT", self.from_host_to_local)
        if layout.by_set:
            for rule in (f"{self._to_a_bridge} -j {DOCKER}", f"-j {STAGE_1}", self._replies_by_set):
                yield Step(Action.DELETE, "filter", "FORWARD", rule)
                yield Step(Action.INSERT, "filter", "FORWARD", rule)
        else:
            yield from jump_on_top("FORWARD", FORWARD)
            for chain in (BRIDGE, layout.internal, CONNTRACK):
                yield from jump_on_top(FORWARD, chain)
            for rule in (f"{self._to_a_bridge} -j {DOCKER}", f"-j {STAGE_1}", self._replies_by_set):
                yield Step(Action.DELETE, "filter", "FORWARD", rule)

    def add_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is created, or restored after a start."""
        yield from self._network_rules(network)
        yield from self.add_ingress()
        yield from self.user_chain()

    def remove_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is removed."""
        yield from undone(self._network_rules(network))

    def add_container(self, place: Attachment) -> Iterator[Step]:
        """A container starts: since 28.2 nobody but its bridge's own comes to its address directly.

        Source: moby iptabler/endpoint.go, filterDirectAccess.
        """
        network, address = self.host.network(place.network), self.address(place)
        if self.layout.drops_ports or address is None or not self._is_guarded(network):
            return
        if self.host.allow_direct_routing or not self.host.raw_rules:
            return
        for device in network.trusted:
            yield Step(Action.APPEND, "raw", "PREROUTING", f"-d {single(address)} -i {device} -j ACCEPT")
        yield Step(Action.APPEND, "raw", "PREROUTING", f"-d {single(address)} ! -i {network.bridge} -j DROP")

    def remove_container(self, place: Attachment) -> Iterator[Step]:
        """A container stops."""
        yield from undone(self.add_container(place))

    def add_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published: protect it from other ways, translate it, let it in.

        Source: moby iptabler/port.go, setPerPortIptables.
        """
        network = binding.network
        if binding.container.version != self.version:
            return
        if self.host.raw_rules:
            yield from self._protect(binding)
        if not binding.is_translated:
            return
        if binding.is_on_host:
            translation = self.translation(binding, _LINK_LOCAL[self.family])
            yield Step(Action.APPEND, "nat", DOCKER, translation)
            own_port = Action.DELETE if self.proxy else Action.APPEND
            yield Step(own_port, "nat", "POSTROUTING", self.own_port(binding))
        if network.mode(self.version) != "nat-unprotected":
            yield Step(Action.INSERT, "filter", DOCKER, self.open_port(binding))
            yield from self.sctp_checksum(binding)

    def remove_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published no longer."""
        yield from undone(self.add_binding(binding))

    def add_ingress(self) -> Iterator[Step]:
        """A swarm's ports: ahead of all that Docker decides. An older engine's jump in FORWARD goes."""
        if self.host.ingress is not None and not self.layout.by_set:
            yield Step(Action.DELETE, "filter", "FORWARD", f"-j {INGRESS}")
        yield from self.ingress_chains(self.layout.forward)
        if self.layout.by_set and self.host.ingress is not None:
            yield from self.user_chain()

    @property
    def _to_a_bridge(self) -> str:
        return f"-m set --match-set {SET_NAMES[self.family]} dst"

    @property
    def _replies_by_set(self) -> str:
        return f"{self._to_a_bridge} {ESTABLISHED}"

    def _is_guarded(self, network: BridgeNetwork) -> bool:
        """Whether the raw table protects the network: only where addresses are translated."""
        return not network.internal and network.mode(self.version) == "nat"

    def _protect(self, binding: Binding) -> Iterator[Step]:
        """In the raw table: a port on the loopback is for the host alone, a container's port for nobody."""
        host, port = binding.host_address, binding.host_port
        if binding.is_on_host and host.version == 4 and host.is_loopback:
            rule = f"-d {single(host)} ! -i lo {self.to_port(binding, port)} -j DROP"
            yield Step(Action.APPEND, "raw", "PREROUTING", rule)
        if self._is_guarded(binding.network):
            by_port = Action.APPEND if self.layout.drops_ports else Action.DELETE
            match = self.to_port(binding, binding.container_port)
            rule = f"-d {single(binding.container)} ! -i {binding.network.bridge} {match} -j DROP"
            yield Step(by_port, "raw", "PREROUTING", rule)

    def _network_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        if self.subnet(network) is not None:
            if network.internal:
                yield from self._internal_rules(network)
            else:
                yield from self._nat_rules(network)
                yield from self._forward_rules(network)
                yield from self._incoming_rules(network)
        has_family = self.subnet(network) is not None or not self.layout.by_family
        if self.layout.stages and has_family and not network.internal:
            yield from self._isolation_rules(network)

    def _nat_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        routed = self.is_routed(network)
        if self.host.accept_fwmark is not None:
            mark, mask = parse_mark(self.host.accept_fwmark)
            text = f"{mark:#x}" if mask is None else f"{mark:#x}/{mask:#x}"
            yield Step(Action.INSERT, "filter", FORWARD, f"-m mark --mark {text} -j ACCEPT")
        if network.masquerade and not routed:
            yield Step(Action.INSERT, "nat", "POSTROUTING", self.outgoing(network))
        skipped = network.masquerade and self.proxy and self.layout.skip_dnat != "none"
        if skipped or (routed and self.layout.skip_dnat == "masqueraded and routed"):
            yield Step(Action.INSERT, "nat", DOCKER, f"-i {network.bridge} -j RETURN")
        from_host = Action.DELETE if self.proxy else Action.INSERT
        yield Step(from_host, "nat", "POSTROUTING", self.from_host(network))

    def _forward_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """What leaves the bridge: everything, or with icc=false everything but what would return to it."""
        bridge, within, forward = network.bridge, self.within(network), self.layout.forward
        everything, elsewhere = f"-i {bridge} -j ACCEPT", f"-i {bridge} ! -o {bridge} -j ACCEPT"
        own = (everything,) if network.icc else (f"{within} DROP", elsewhere)
        older = (f"{within} ACCEPT", f"-o {bridge} -j {DOCKER}", f"-o {bridge} {ESTABLISHED}")
        for rule in (f"{within} DROP", elsewhere, everything, *older):
            if (forward, rule) not in [("FORWARD", mine) for mine in own]:
                yield Step(Action.DELETE, "filter", "FORWARD", rule)
        if network.icc:
            yield Step(Action.DELETE, "filter", forward, f"{within} DROP")
        if self.is_routed(network):
            yield Step(Action.APPEND, "filter", DOCKER, f"-o {bridge} -p {_ICMP[self.family]} -j ACCEPT")
        for rule in own:
            yield Step(Action.APPEND, "filter", forward, rule)

    def _incoming_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """What enters the bridge: nothing that no earlier rule of DOCKER opened."""
        bridge = network.bridge
        verdict = "ACCEPT" if network.mode(self.version) == "nat-unprotected" else "DROP"
        yield Step(Action.APPEND, "filter", DOCKER, f"! -i {bridge} -o {bridge} -j {verdict}")
        if not self.layout.by_set:
            yield Step(Action.APPEND, "filter", CONNTRACK, f"-o {bridge} {ESTABLISHED}")
            yield Step(Action.APPEND, "filter", BRIDGE, f"-o {bridge} -j {DOCKER}")

    def _internal_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """An internal network: nothing crosses its bridge but from its subnet to its subnet."""
        for rule in self.internal_drops(network, by_bridge=self.family == "ipv6"):
            yield Step(Action.INSERT, "filter", self.layout.internal, rule)
        verdict, other = ("ACCEPT", "DROP") if network.icc else ("DROP", "ACCEPT")
        within = self.within(network)
        yield Step(Action.DELETE, "filter", self.layout.forward, f"{within} {other}")
        if self.layout.forward != "FORWARD":
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} ACCEPT")
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} DROP")
        yield Step(Action.APPEND, "filter", self.layout.forward, f"{within} {verdict}")

    def _isolation_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """Apart from all other networks; a routed one may be asked by them, and answer."""
        bridge = network.bridge
        if self.is_routed(network):
            yield Step(Action.INSERT, "filter", STAGE_1, f"-o {bridge} -j RETURN")
            yield Step(Action.INSERT, "filter", STAGE_1, f"-i {bridge} {ESTABLISHED}")
        yield Step(Action.APPEND, "filter", STAGE_1, f"-i {bridge} ! -o {bridge} -j {STAGE_2}")
        yield Step(Action.INSERT, "filter", STAGE_2, f"-o {bridge} -j DROP")
