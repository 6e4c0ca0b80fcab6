"""What is registered at each hook of a host, as data, in the order in which the kernel calls it.

Everything that wants packets registers at a hook with a priority, and the lowest is called first: iptables'
tables and conntrack at fixed priorities (include/uapi/linux/netfilter_ipv4.h; IPv6 has the same numbers),
native nftables chains wherever they say. Tables of family inet register with IPv4 and with IPv6.

Of equal priorities the one that registered *last* is called first (nf_hook_entries_grow in
net/netfilter/core.c puts a newcomer before its equals; measured as well). A dump of nftables lists chains in
the order of registration, unless somebody added a chain to an older table later. Between nftables and
iptables, and between the backends of iptables, no dump tells; here native chains come first, then legacy. It
matters only where one of them drops, and only to the counters of the other, or where both write.

Address translation is one thing at a hook, at -100 or 100 whatever the chains of type nat say; their
priorities order them among themselves. For the packet that begins a connection they are asked one after the
other, until one gives a mapping (nf_nat_inet_fn in net/netfilter/nf_nat_core.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from netverify.dataplane.condition import Unknown
from netverify.dataplane.connections import DESTINATION, SOURCE
from netverify.dataplane.nft.compiler import compile_nft, table_key
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.view import LEGACY, HostView
from netverify.ruleset.nft import Hook, NftChain, NftTable

HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
"""The hooks of IPv4 and of IPv6."""

CONNTRACK, NAT_DESTINATION, NAT_SOURCE = -200, -100, 100

IPTABLES: Mapping[str, tuple[tuple[str, int], ...]] = MappingProxyType(
    {
        "PREROUTING": (("raw", -300), ("mangle", -150), ("nat", -100)),
        "INPUT": (("mangle", -150), ("filter", 0), ("security", 50), ("nat", 100)),
        "FORWARD": (("mangle", -150), ("filter", 0), ("security", 50)),
        "OUTPUT": (("raw", -300), ("mangle", -150), ("nat", -100), ("filter", 0), ("security", 50)),
        "POSTROUTING": (("mangle", -150), ("nat", 100)),
    }
)
"""Hook -> the tables of iptables there, with their priorities (net/ipv4/netfilter/iptable_*.c)."""

NFT_SECURITY = 150
"""Where iptables-nft puts security (iptables/nft.c): in INPUT behind nat, which legacy asks after it."""

TRANSLATED: Mapping[str, int] = MappingProxyType(
    {"PREROUTING": DESTINATION, "OUTPUT": DESTINATION, "INPUT": SOURCE, "POSTROUTING": SOURCE}
)
"""Hook -> the half of a packet that is translated there."""

_SEEN_BY: Mapping[int, frozenset[str]] = MappingProxyType(
    {4: frozenset({"ip", "inet"}), 6: frozenset({"ip6", "inet"})}
)


class StageKind(Enum):
    """What is called: connection tracking, one chain, the translation with its chains, or who knows what."""

    CONNTRACK = "conntrack"
    CHAIN = "chain"
    NAT = "nat"
    OPAQUE = "not modelled"


@dataclass(frozen=True, slots=True)
class Call:
    """A base chain in its program: `Evaluator(program, ...).run(table, chain, ...)`."""

    program: Program
    table: str
    chain: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that is called at a hook.

    `calls` is the one chain of a CHAIN; for NAT the chains that are asked for a new connection until one
    gives a mapping, none where nobody asks for any. `half` is what NAT translates, SOURCE or DESTINATION.
    `reroutes` says that a packet which it changed is routed again (OUTPUT alone). An OPAQUE stage lets
    packets pass if its `unknown` holds.
    """

    kind: StageKind
    hook: str
    priority: int
    calls: tuple[Call, ...] = ()
    half: int = 0
    reroutes: bool = False
    unknown: Unknown | None = None


@dataclass(frozen=True)
class Filters:
    """Every rule of one host for one IP version, ready to run.

    `main` and `legacy` are iptables', `nft` holds the native chains. Made by `Filters.of`.
    """

    version: int
    view: HostView
    main: Program
    nft: Program
    legacy: Program | None = None

    def __post_init__(self) -> None:
        made = {hook: tuple(sorted(self._at(hook), key=lambda stage: stage.priority)) for hook in HOOKS}
        object.__setattr__(self, "_stages", MappingProxyType(made))

    @classmethod
    def of(cls, view: HostView, version: int, main: Program | None = None) -> Filters:
        """Compile what a host has; `main` where its iptables rules are compiled already."""
        family = "ipv4" if version == 4 else "ipv6"
        old = [ruleset for ruleset in view.legacy if ruleset.family == family]
        return cls(
            version,
            view,
            main or compile_rules(view.ruleset(version), view),
            compile_nft(view.nft, view, version),
            compile_rules(old[0], view, prefix=LEGACY) if old else None,
        )

    @property
    def programs(self) -> tuple[Program, ...]:
        """All of them."""
        return (self.main, self.nft) if self.legacy is None else (self.main, self.nft, self.legacy)

    def stages(self, hook: str) -> tuple[Stage, ...]:
        """What is called at a hook, in order."""
        known: Mapping[str, tuple[Stage, ...]] = self._stages  # type: ignore[attr-defined]
        return known[hook]

    def _at(self, hook: str) -> Iterator[Stage]:
        """What is registered at a hook; equal priorities in the order in which they are called."""
        if hook in ("PREROUTING", "OUTPUT"):
            yield Stage(StageKind.CONNTRACK, hook, CONNTRACK)
        mappings: list[tuple[int, Call]] = []
        for priority, kind, call in self._native(hook):
            if kind == "nat":
                mappings.append((priority, call))
            else:
                yield Stage(StageKind.CHAIN, hook, priority, (call,), reroutes=kind == "route")
        for table, priority, call in self._iptables(hook):
            if table == "nat":
                mappings.append((priority, call))
            else:
                routes = (table, hook) == ("mangle", "OUTPUT")
                yield Stage(StageKind.CHAIN, hook, priority, (call,), reroutes=routes)
        if hook in TRANSLATED:
            half = TRANSLATED[hook]
            mappings.sort(key=lambda mapping: mapping[0])
            yield Stage(
                StageKind.NAT,
                hook,
                NAT_DESTINATION if half == DESTINATION else NAT_SOURCE,
                tuple(call for _priority, call in mappings),
                half,
                reroutes=hook == "OUTPUT",
            )

    def _native(self, hook: str) -> Iterator[tuple[int, str, Call]]:
        for table, chain, registered in reversed(tuple(base_chains(self.view, self.version))):
            if registered.hook == hook.lower():
                yield registered.priority, registered.type, Call(self.nft, table_key(table), chain.name)

    def _iptables(self, hook: str) -> Iterator[tuple[str, int, Call]]:
        for table, priority in IPTABLES[hook]:
            for program, prefix in ((self.legacy, LEGACY), (self.main, "")):
                if program is not None and program.chain(prefix + table, hook) is not None:
                    late = program is self.main and table == "security"
                    yield table, NFT_SECURITY if late else priority, Call(program, prefix + table, hook)


def stages(filters: Mapping[int, Filters], version: int, hook: str) -> tuple[Stage, ...]:
    """What is called at a hook for one IP version, in order."""
    return filters[version].stages(hook)


def base_chains(view: HostView, version: int) -> Iterator[tuple[NftTable, NftChain, Hook]]:
    """The native chains that the kernel calls for an IP version, in the order of the dump."""
    for table in view.nft.tables:
        if table.family in _SEEN_BY[version] and not table.is_dormant:
            for chain in table.chains:
                if chain.hook is not None and chain.hook.hook.upper() in HOOKS:
                    yield table, chain, chain.hook


def opaque(view: HostView, family: str, hook: str, device: str = "") -> tuple[Stage, ...]:
    """Chains of the families bridge, netdev and arp, which are not modelled: each may do anything.

    The usual reading is that they let packets pass. Chains without rules and with policy accept are left out.
    A netdev chain whose devices nobody printed (nft 1.0.6 does not) may be on any device.
    """
    found = []
    for table in view.nft.tables:
        if table.family != family or table.is_dormant:
            continue
        for chain in table.chains:
            registered = chain.hook
            if (
                registered is None
                or registered.hook != hook
                or not (chain.rules or registered.policy == "drop")
            ):
                continue
            if registered.devices and device and device not in registered.devices:
                continue
            words = f"chain {table.family} {table.name} {chain.name} of host {view.name} lets it pass"
            found.append(
                Stage(StageKind.OPAQUE, hook, registered.priority, unknown=Unknown(words, usual=True))
            )
    return tuple(sorted(found, key=lambda stage: stage.priority))


def not_modelled(view: HostView) -> tuple[str, ...]:
    """The native chains that a host has and that nothing here runs, in words."""
    return tuple(
        f"{table.family} {table.name} {chain.name} (hook {chain.hook.hook}, priority {chain.hook.priority})"
        for table in view.nft.tables
        if table.family in ("bridge", "netdev", "arp") and not table.is_dormant
        for chain in table.chains
        if chain.hook is not None and not _is_idle(chain)
    )


def _is_idle(chain: NftChain) -> bool:
    return not chain.rules and (chain.hook is None or chain.hook.policy != "drop")
