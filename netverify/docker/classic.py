"""The rules of Docker 17.06 to 27: an isolation chain, and per-bridge rules in FORWARD.

Top to bottom, when all is done, FORWARD reads:

1. `-j DOCKER-USER`
2. `-j DOCKER-INGRESS`, on a swarm's node
3. `-j DOCKER-ISOLATION-STAGE-1` (before 18.05 `-j DOCKER-ISOLATION`)
4. per network, the newest first:

       -o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
       -o BRIDGE -j DOCKER
       -i BRIDGE ! -o BRIDGE -j ACCEPT
       -i BRIDGE -o BRIDGE -j ACCEPT

5. per network with icc=false, the oldest first, instead of that last ACCEPT: `-i BRIDGE -o BRIDGE -j DROP`

STAGE-1 sends what leaves a bridge for any other device to STAGE-2, and STAGE-2 drops what enters a bridge:
together they cut every pair of networks. Before 18.05 the one chain DOCKER-ISOLATION holds two drops for
every pair. An internal network has no such rules but two drops in the same (first) chain, by its subnet.

Most rules are inserted at the head of their chain, so the methods read bottom up; ports are appended. Sources
(moby; until 20.10 the same files in libnetwork): libnetwork/drivers/bridge/setup_ip_tables_linux.go
(setupIPTablesInternal, setupInternalNetworkRules, setIcc, setINC, removeIPChains), bridge_linux.go
(isolateNetwork), libnetwork/iptables/iptables.go (ProgramChain, Forward, Remove). Read at 20.10.24 and
26.1.5, and compared rule by rule with what engines of these two versions write; DOCKER-ISOLATION was read
at libnetwork 943c4c3a4c. Engines of 17.06 to 19.03 and 27 were not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from netverify.docker.binding import Binding
from netverify.docker.config import Attachment, BridgeNetwork
from netverify.docker.step import Action, Step, jump_on_top
from netverify.docker.version import HAIRPIN_RULE_REMOVED, INTERNAL_IPV6_BY_BRIDGE, PAIRWISE
from netverify.docker.writer import (
    DOCKER,
    ESTABLISHED,
    PAIRS,
    STAGE_1,
    STAGE_2,
    TO_LOCAL,
    RuleWriter,
    undone,
)

_ISOLATION = {True: (PAIRS,), False: (STAGE_1, STAGE_2)}  # by pairs, or in two stages


class ClassicFirewaller(RuleWriter):
    """Writes generations A0 and A for one address family of a host."""

    @property
    def isolation(self) -> tuple[str, ...]:
        """The chains that keep networks apart; FORWARD jumps to the first."""
        return _ISOLATION[self.host.generation is PAIRWISE]

    def start(self, *, again: bool) -> Iterator[Step]:
        """The daemon starts.

        It sets the IPv4 policy only when it turns forwarding on, so not when it starts again. The IPv6 policy
        it sets every time.
        """
        yield from self._remove_old_chains()
        yield from self.replay_chains()
        yield from self.forward_policy(again=again)
        yield from self.user_chain()

    def forward_policy(self, *, again: bool) -> Iterator[Step]:
        """Policy DROP, in IPv6 at every start."""
        if self.host.policy_drop(self.version) and not (again and self.family == "ipv4"):
            yield Step(Action.POLICY, "filter", "FORWARD", "DROP")

    def replay_chains(self) -> Iterator[Step]:
        """The chains, empty but for their ends."""
        yield Step(Action.NEW_CHAIN, "nat", DOCKER)
        for chain in (DOCKER, *self.isolation):
            yield Step(Action.NEW_CHAIN, "filter", chain)
        for chain in self.isolation:
            yield Step(Action.APPEND, "filter", chain, "-j RETURN")

    def add_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is created: its own rules, and on top of them the jumps that all networks share."""
        yield from self._network_rules(network)
        if self.subnet(network) is not None:
            if not network.internal:
                yield Step(Action.APPEND, "nat", "PREROUTING", f"{TO_LOCAL} {DOCKER}")
                yield Step(Action.APPEND, "nat", "OUTPUT", self.from_host_to_local)
            yield from jump_on_top("FORWARD", self.isolation[0])
        yield from self.add_ingress()
        yield from self.user_chain()

    def remove_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is removed: its own rules go, the chains and the jumps to them stay."""
        yield from undone(self._network_rules(network))

    def add_container(self, place: Attachment) -> Iterator[Step]:
        """A container starts: nothing, as long as it publishes nothing."""
        del place
        yield from ()

    def remove_container(self, place: Attachment) -> Iterator[Step]:
        """A container stops."""
        del place
        yield from ()

    def add_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published: translate it, let it in, and let the container reach itself through it."""
        for table, chain, rule in self._port_rules(binding):
            yield Step(Action.APPEND, table, chain, rule)
        if self.is_carried(binding):
            yield from self.sctp_checksum(binding)

    def remove_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published no longer."""
        yield from undone(self.add_binding(binding))

    def add_ingress(self) -> Iterator[Step]:
        """A swarm's ports: ahead of the isolation."""
        if self.host.ingress is not None:
            yield from self.ingress_chains("FORWARD")
            yield from self.user_chain()

    def _remove_old_chains(self) -> Iterator[Step]:
        """What an earlier run of the daemon left. Rules in POSTROUTING and FORWARD are not looked for."""
        by_pairs = self.host.generation is PAIRWISE
        if not by_pairs:
            yield Step(Action.DELETE, "filter", "FORWARD", f"-j {PAIRS}")
        yield from self.remove_nat_chain()
        for chain in (DOCKER, PAIRS) if by_pairs else (DOCKER, STAGE_1, STAGE_2, PAIRS):
            yield Step(Action.REMOVE_CHAIN, "filter", chain)

    def _network_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        if self.subnet(network) is not None:
            if network.internal:
                yield from self._internal_rules(network)
            else:
                yield from self._nat_rules(network)
            yield from self._icc_rule(network)
            if not network.internal:
                yield from self._forward_rules(network)
        if not network.internal:
            yield from self._isolation_rules(network)

    def _nat_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        if network.masquerade and not self.is_routed(network):
            yield Step(Action.INSERT, "nat", "POSTROUTING", self.outgoing(network))
            if self.proxy:
                yield Step(Action.INSERT, "nat", DOCKER, f"-i {network.bridge} -j RETURN")
        if not self.proxy:
            yield Step(Action.INSERT, "nat", "POSTROUTING", self.from_host(network))
        elif self.engine.has(HAIRPIN_RULE_REMOVED):
            yield Step(Action.DELETE, "nat", "POSTROUTING", self.from_host(network))

    def _forward_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """Replies in, published ports in, everything out; above the network's rule for its own containers."""
        bridge = network.bridge
        for rule in (
            f"-i {bridge} ! -o {bridge} -j ACCEPT",
            f"-o {bridge} -j {DOCKER}",
            f"-o {bridge} {ESTABLISHED}",
        ):
            yield Step(Action.INSERT, "filter", "FORWARD", rule)

    def _icc_rule(self, network: BridgeNetwork) -> Iterator[Step]:
        """Between containers of one network: an ACCEPT at the head, or a DROP at the very end."""
        within = self.within(network)
        if network.icc:
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} DROP")
            yield Step(Action.INSERT, "filter", "FORWARD", f"{within} ACCEPT")
        else:
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} ACCEPT")
            yield Step(Action.APPEND, "filter", "FORWARD", f"{within} DROP")

    def _internal_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """An internal network: nothing crosses its bridge but from its subnet to its subnet."""
        by_bridge = self.family == "ipv6" and self.engine.has(INTERNAL_IPV6_BY_BRIDGE)
        for rule in self.internal_drops(network, by_bridge=by_bridge):
            yield Step(Action.INSERT, "filter", self.isolation[0], rule)

    def _isolation_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """Apart from all other networks. In ip6tables too, even if this network has no IPv6."""
        bridge = network.bridge
        if self.host.generation is PAIRWISE:
            for other in takewhile(lambda other: other.bridge != bridge, self.host.networks):
                if not other.internal:
                    yield Step(Action.INSERT, "filter", PAIRS, f"-i {bridge} -o {other.bridge} -j DROP")
                    yield Step(Action.INSERT, "filter", PAIRS, f"-i {other.bridge} -o {bridge} -j DROP")
        else:
            yield Step(Action.INSERT, "filter", STAGE_1, f"-i {bridge} ! -o {bridge} -j {STAGE_2}")
            yield Step(Action.INSERT, "filter", STAGE_2, f"-o {bridge} -j DROP")

    def _port_rules(self, binding: Binding) -> Iterator[tuple[str, str, str]]:
        """Table, chain and text of each rule of a published port."""
        if not self.is_carried(binding):
            return
        if binding.is_on_host:
            yield "nat", DOCKER, self.translation(binding)
        yield "filter", DOCKER, self.open_port(binding)
        if binding.is_on_host:
            yield "nat", "POSTROUTING", self.own_port(binding)
