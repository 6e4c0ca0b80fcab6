"""The rules of Docker 18.05 to 27: DOCKER-ISOLATION-STAGE-1/2 and per-bridge rules in FORWARD.

Top to bottom, when all is done, FORWARD reads:

1. `-j DOCKER-USER`
2. `-j DOCKER-ISOLATION-STAGE-1`
3. per network, the newest first:

       -o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
       -o BRIDGE -j DOCKER
       -i BRIDGE ! -o BRIDGE -j ACCEPT
       -i BRIDGE -o BRIDGE -j ACCEPT

4. per network with icc=false, the oldest first, instead of that last ACCEPT: `-i BRIDGE -o BRIDGE -j DROP`

STAGE-1 sends what leaves a bridge for any other device to STAGE-2, and STAGE-2 drops what enters a bridge:
together they cut every pair of networks. An internal network has no such pair of rules but two drops in
STAGE-1, by its subnet.

Every rule below is written as iptables-save shows it. Most are inserted at the head of their chain, so the
methods read bottom up; ports are appended. Sources (moby; until 20.10 the same files in libnetwork):
libnetwork/drivers/bridge/setup_ip_tables_linux.go (setupIPTablesInternal, setupInternalNetworkRules, setIcc,
setINC, removeIPChains), libnetwork/iptables/iptables.go (ProgramChain, Forward, Remove),
libnetwork/firewall_linux.go (DOCKER-USER), setup_ip_forwarding.go (policy). Read at 20.10.24 and 26.1.5, and
compared rule by rule with what engines of these two versions wrote; 18.05 to 19.03 and 27 were not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from netverify.docker.binding import Binding
from netverify.docker.config import BridgeNetwork, DockerHost
from netverify.docker.step import Action, Step, jump_on_top
from netverify.docker.version import HAIRPIN_RULE_REMOVED, INTERNAL_IPV6_BY_BRIDGE, USER_CHAIN_IPV6
from netverify.ruleset import Family

DOCKER = "DOCKER"
STAGE_1 = "DOCKER-ISOLATION-STAGE-1"
STAGE_2 = "DOCKER-ISOLATION-STAGE-2"
USER = "DOCKER-USER"
OLD_ISOLATION = "DOCKER-ISOLATION"  # of the versions before 18.05

TO_LOCAL = "-m addrtype --dst-type LOCAL -j DOCKER"
LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}


class ClassicFirewaller:
    """Writes generation A for one address family of a host."""

    def __init__(self, host: DockerHost, family: Family) -> None:
        self.host = host
        self.family = family
        self.engine = host.engine
        self.proxy = host.userland_proxy

    def start(self, *, again: bool) -> Iterator[Step]:
        """The daemon starts.

        It sets the IPv4 policy only when it turns forwarding on, so not when it starts again. The IPv6 policy
        it sets every time.
        """
        yield from self._remove_old_chains()
        yield Step(Action.NEW_CHAIN, "nat", DOCKER)
        for chain in (DOCKER, STAGE_1, STAGE_2):
            yield Step(Action.NEW_CHAIN, "filter", chain)
        for chain in (STAGE_1, STAGE_2):
            yield Step(Action.APPEND, "filter", chain, "-j RETURN")
        if self.family == "ipv6" or (self.host.forward_policy == "DROP" and not again):
            yield Step(Action.POLICY, "filter", "FORWARD", "DROP")
        yield from self._user_chain()

    def add_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is created: its own rules, and on top of them the jumps that all networks share."""
        yield from self._network_rules(network)
        if self._subnet(network) is not None:
            if not network.internal:
                yield Step(Action.APPEND, "nat", "PREROUTING", TO_LOCAL)
                yield Step(Action.APPEND, "nat", "OUTPUT", self._to_local_from_host)
            yield from jump_on_top("FORWARD", STAGE_1)
        yield from self._user_chain()

    def remove_network(self, network: BridgeNetwork) -> Iterator[Step]:
        """A network is removed: its own rules go, the chains and the jumps to them stay."""
        for step in self._network_rules(network):
            if step.action is not Action.DELETE:
                yield Step(Action.DELETE, step.table, step.chain, step.rule)

    def add_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published: translate it, let it in, and let the container reach itself through it."""
        for table, chain, rule in self._port_rules(binding):
            yield Step(Action.APPEND, table, chain, rule)

    def remove_binding(self, binding: Binding) -> Iterator[Step]:
        """A port is published no longer."""
        for table, chain, rule in self._port_rules(binding):
            yield Step(Action.DELETE, table, chain, rule)

    def _subnet(self, network: BridgeNetwork) -> IPv4Network | IPv6Network | None:
        return network.subnet if self.family == "ipv4" else network.subnet6

    def _host_address(self, network: BridgeNetwork) -> IPv4Address | IPv6Address | None:
        return network.host_ipv4 if self.family == "ipv4" else network.host_ipv6

    @property
    def _to_local_from_host(self) -> str:
        """OUTPUT's jump to DOCKER: with the proxy, loopback addresses are left to its listeners."""
        return f"! -d {LOOPBACK[self.family]} {TO_LOCAL}" if self.proxy else TO_LOCAL

    def _remove_old_chains(self) -> Iterator[Step]:
        """What an earlier run of the daemon left. Rules in POSTROUTING and FORWARD are not looked for."""
        yield Step(Action.DELETE, "filter", "FORWARD", f"-j {OLD_ISOLATION}")
        yield Step(Action.DELETE, "nat", "PREROUTING", TO_LOCAL)
        yield Step(Action.DELETE, "nat", "OUTPUT", f"! -d {LOOPBACK[self.family]} {TO_LOCAL}")
        yield Step(Action.DELETE, "nat", "OUTPUT", TO_LOCAL)
        yield Step(Action.REMOVE_CHAIN, "nat", DOCKER)
        for chain in (DOCKER, STAGE_1, STAGE_2, OLD_ISOLATION):
            yield Step(Action.REMOVE_CHAIN, "filter", chain)

    def _user_chain(self) -> Iterator[Step]:
        """DOCKER-USER, with whatever a person put there before its RETURN."""
        if self.family == "ipv6" and not self.engine.has(USER_CHAIN_IPV6):
            return
        yield Step(Action.NEW_CHAIN, "filter", USER)
        yield Step(Action.APPEND, "filter", USER, "-j RETURN")
        yield from jump_on_top("FORWARD", USER)

    def _network_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        if self._subnet(network) is not None:
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
        bridge, source = network.bridge, self._host_address(network)
        translate = "MASQUERADE" if source is None else f"SNAT --to-source {source}"
        if network.masquerade:
            outgoing = f"-s {self._subnet(network)} ! -o {bridge} -j {translate}"
            yield Step(Action.INSERT, "nat", "POSTROUTING", outgoing)
            if self.proxy:
                yield Step(Action.INSERT, "nat", DOCKER, f"-i {bridge} -j RETURN")
        from_host = f"-o {bridge} -m addrtype --src-type LOCAL -j {translate}"
        if not self.proxy:
            yield Step(Action.INSERT, "nat", "POSTROUTING", from_host)
        elif self.engine.has(HAIRPIN_RULE_REMOVED):
            yield Step(Action.DELETE, "nat", "POSTROUTING", from_host)

    def _forward_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """Replies in, published ports in, everything out; above the network's rule for its own containers."""
        bridge = network.bridge
        for rule in (
            f"-i {bridge} ! -o {bridge} -j ACCEPT",
            f"-o {bridge} -j {DOCKER}",
            f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ):
            yield Step(Action.INSERT, "filter", "FORWARD", rule)

    def _icc_rule(self, network: BridgeNetwork) -> Iterator[Step]:
        """Between containers of one network: an ACCEPT at the head, or a DROP at the very end."""
        within = f"-i {network.bridge} -o {network.bridge}"
        if network.icc:
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} -j DROP")
            yield Step(Action.INSERT, "filter", "FORWARD", f"{within} -j ACCEPT")
        else:
            yield Step(Action.DELETE, "filter", "FORWARD", f"{within} -j ACCEPT")
            yield Step(Action.APPEND, "filter", "FORWARD", f"{within} -j DROP")

    def _internal_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """An internal network: nothing crosses its bridge but from its subnet to its subnet."""
        bridge, subnet = network.bridge, self._subnet(network)
        by_bridge = self.family == "ipv6" and self.engine.has(INTERNAL_IPV6_BY_BRIDGE)
        leaving, entering = (f" ! -o {bridge}", f"! -i {bridge} ") if by_bridge else ("", "")
        for rule in (
            f"! -d {subnet} -i {bridge}{leaving} -j DROP",
            f"! -s {subnet} {entering}-o {bridge} -j DROP",
        ):
            yield Step(Action.INSERT, "filter", STAGE_1, rule)

    def _isolation_rules(self, network: BridgeNetwork) -> Iterator[Step]:
        """Apart from all other networks. In ip6tables too, even if this network has no IPv6."""
        bridge = network.bridge
        yield Step(Action.INSERT, "filter", STAGE_1, f"-i {bridge} ! -o {bridge} -j {STAGE_2}")
        yield Step(Action.INSERT, "filter", STAGE_2, f"-o {bridge} -j DROP")

    def _port_rules(self, binding: Binding) -> Iterator[tuple[str, str, str]]:
        """Table, chain and text of each rule of a published port."""
        if not binding.is_translated or binding.container.version != {"ipv4": 4, "ipv6": 6}[self.family]:
            return
        bridge, protocol, port = binding.network.bridge, binding.protocol, binding.container_port
        container = f"{binding.container}/{binding.container.max_prefixlen}"
        match = f"-p {protocol} -m {protocol}"

        to_host = (
            ""
            if binding.host_address.is_unspecified
            else (f"-d {binding.host_address}/{binding.host_address.max_prefixlen} ")
        )
        not_from_bridge = f"! -i {bridge} " if self.proxy else ""
        destination = f"{binding.container}" if self.family == "ipv4" else f"[{binding.container}]"
        yield (
            "nat",
            DOCKER,
            (
                f"{to_host}{not_from_bridge}{match} --dport {binding.host_port} "
                f"-j DNAT --to-destination {destination}:{port}"
            ),
        )
        yield "filter", DOCKER, (f"-d {container} ! -i {bridge} -o {bridge} {match} --dport {port} -j ACCEPT")
        yield "nat", "POSTROUTING", f"-s {container} -d {container} {match} --dport {port} -j MASQUERADE"
        if protocol == "sctp":
            yield "mangle", "POSTROUTING", f"{match} --sport {port} -j CHECKSUM --checksum-fill"
