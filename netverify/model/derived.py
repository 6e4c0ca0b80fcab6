"""The devices and addresses of a host of which only the rules are known: what the rules let one conclude.

All of it is assumed, and said so. A wrong guess shows in the list of assumptions, where a person can correct
it with --link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

from netverify.dataplane.view import LOOPBACK, InterfaceAddress, Network
from netverify.model.nft_devices import nft_devices, nft_networks
from netverify.ruleset import NftRuleset, Rule, Ruleset

OUTSIDE = "outside"
_UPLINKS = ("eth", "en", "wl", "ww", "ppp", "bond", "wan")
_UNHEARD = {4: ip_network("198.18.0.0/15"), 6: ip_network("2001:2::/48")}  # RFC 2544, RFC 5180: benchmarks
_OUTER = {4: ip_network("203.0.113.0/24"), 6: ip_network("2001:db8::/64")}  # RFC 5737, RFC 3849: documents
_USUAL_LENGTH = {4: 24, 6: 64}


@dataclass
class Derived:
    """Devices with their addresses, the one of the default route, and what was assumed for that."""

    versions: Sequence[int]
    devices: dict[str, list[InterfaceAddress]]
    notes: list[str] = field(default_factory=list)
    uplink: str = OUTSIDE

    def add(self, rulesets: Sequence[Ruleset | NftRuleset]) -> None:
        """Every device that the rules name and that is not known yet; the uplink, if need be a new one."""
        given = set(self.devices)
        networks = _networks(rulesets)
        for name in networks:
            self.devices.setdefault(name, [])
        found = next((name for name in self.devices if name.startswith(_UPLINKS)), OUTSIDE)
        if found not in self.devices:
            self.devices[found] = []
            self.notes.append(f"{found} stands for every device that no rule names")
        self.uplink = found
        own = _own_addresses(rulesets) if found not in given else {}
        for name in [name for name in self.devices if name not in given]:
            for version in self.versions:
                hints = networks.get(name, {}).get(version, [])
                self._address(name, version, hints, own.get(version, []) if name == found else [])
        self.notes.append(f"{found} has the default route")

    def _address(
        self, name: str, version: int, networks: Sequence[Network], own: Sequence[InterfaceAddress]
    ) -> None:
        inside = [address for address in own if any(address.ip in network for network in networks)]
        if own and not networks:
            chosen = [ip_interface(f"{own[0].ip}/{_USUAL_LENGTH[version]}"), *own[1:]]
            why = f"rules translate what comes there; /{_USUAL_LENGTH[version]} is a guess"
        elif inside:
            chosen, why = list(own), "rules translate what comes there"
        elif networks:
            chosen, why = [_first(networks[0])], "the first address of a network that rules connect with it"
        else:
            number = list(self.devices).index(name)
            spare = _OUTER[version] if name == OUTSIDE else _spare(version, number)
            chosen, why = [_first(spare)], "no rule says, so it is one that no rule names"
        self.devices[name] += chosen
        self.notes.append(f"{name} has {', '.join(map(str, chosen))} ({why})")


def _spare(version: int, number: int) -> Network:
    """A network that nobody's rules name."""
    base = _UNHEARD[version].network_address
    step, length = (8, 24) if version == 4 else (64, 64)
    return ip_network(f"{base + (number << step)}/{length}")


def _first(network: Network) -> InterfaceAddress:
    return ip_interface(f"{network.network_address + 1}/{network.prefixlen}")


def _networks(rulesets: Iterable[Ruleset | NftRuleset]) -> Mapping[str, Mapping[int, list[Network]]]:
    """Every device that a rule names, with the networks that rules connect with it, the surest first."""
    sure: dict[str, dict[int, list[Network]]] = {}
    likely: dict[str, dict[int, list[Network]]] = {}
    for ruleset in rulesets:
        if isinstance(ruleset, NftRuleset):
            for name in nft_devices(ruleset):
                sure.setdefault(name, {})
            for name, behind in nft_networks(ruleset):
                sure.setdefault(name, {}).setdefault(behind.version, []).append(behind)
            continue
        version = 4 if ruleset.family == "ipv4" else 6
        for _place, rule in ruleset.rules():
            for name, network, is_sure in _connected(rule):
                known = (sure if is_sure else likely).setdefault(name, {}).setdefault(version, [])
                sure.setdefault(name, {})
                if network is not None and network.version == version:
                    known.append(network)
    return {
        name: {v: [*sure[name].get(v, []), *likely.get(name, {}).get(v, [])] for v in (4, 6)} for name in sure
    }


def _connected(rule: Rule) -> Iterator[tuple[str, Network | None, bool]]:
    """The devices of one rule, each with a network that is behind it, if the rule says so, and how surely.

    `-s NET -i DEV` and `-d NET -o DEV` say so surely, and Docker's `-s NET ! -o DEV` of masquerading does as
    well. `! -s NET -o DEV -j DROP`, which keeps an internal network to itself, says it likely.
    """
    values = {match.name: match.options[0] for match in rule.matches if match.is_core}
    drops = rule.target is not None and rule.target.name == "DROP"
    for device, near, far in (
        ("in-interface", "source", "destination"),
        ("out-interface", "destination", "source"),
    ):
        option = values.get(device)
        if option is None or option.value.endswith("+") or option.value == LOOPBACK:
            continue
        close, distant = values.get(near), values.get(far)
        if option.negated:
            is_told = device == "out-interface" and distant is not None and not distant.negated
            yield option.value, _network(distant.value) if distant is not None and is_told else None, True
        elif close is not None and not close.negated:
            yield option.value, _network(close.value), True
        elif distant is not None and distant.negated and drops:
            yield option.value, _network(distant.value), False
        else:
            yield option.value, None, True


def _own_addresses(rulesets: Iterable[Ruleset | NftRuleset]) -> Mapping[int, list[InterfaceAddress]]:
    """Addresses that rules translate to others: they are likely to be the host's own."""
    found: dict[int, dict[InterfaceAddress, None]] = {4: {}, 6: {}}
    for ruleset in rulesets:
        if isinstance(ruleset, NftRuleset):
            continue
        for place, rule in ruleset.rules():
            if place.table != "nat" or rule.target is None or rule.target.name != "DNAT":
                continue
            for match in rule.matches:
                if match.name == "destination" and match.is_core and not match.options[0].negated:
                    address = _single(match.options[0].value)
                    if address is not None:
                        found[address.version][address] = None
    return {version: list(addresses) for version, addresses in found.items()}


def _single(text: str) -> InterfaceAddress | None:
    try:
        found = ip_interface(text)
    except ValueError:
        return None
    alone = found.network.prefixlen == found.max_prefixlen
    return found if alone and not found.ip.is_loopback else None


def _network(text: str) -> Network | None:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        return None
    return found if 0 < found.prefixlen < found.max_prefixlen - 1 else None
