"""A ruleset without the host that it is for: devices and addresses are given, or derived and said so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from netverify.dataplane.view import LOOPBACK, HostView, InterfaceAddress, Link, Route
from netverify.model.derived import Derived
from netverify.model.errors import QuestionError
from netverify.model.strangers import EVERYWHERE, Stranger, behind, everything_by, some_address
from netverify.model.subject import Endpoint, Subject
from netverify.reachability.text import printable
from netverify.ruleset import NftRuleset, Ruleset

HOST = "host"
_BRIDGES = ("docker", "br", "virbr", "cni", "podman", "lxcbr")


@dataclass(frozen=True)
class GivenLink:
    """A device that a person describes: `br0=172.17.0.1/16`, with several addresses `br0=ADDRESS,ADDRESS`."""

    name: str
    addresses: tuple[InterfaceAddress, ...]

    @classmethod
    def parse(cls, text: str) -> GivenLink:
        """Read `NAME=ADDRESS/LENGTH,...`. Raises QuestionError."""
        name, equals, rest = text.partition("=")
        try:
            addresses = tuple(ip_interface(part.strip()) for part in rest.split(",")) if rest else ()
        except ValueError as error:
            raise QuestionError(f"--link {printable(text)}: {printable(str(error))}") from None
        if not equals or not name or any(c.isspace() or c == "/" for c in name):
            expected = "expected DEVICE=ADDRESS/LENGTH, as br0=172.17.0.1/16"
            raise QuestionError(f"--link {printable(text)}: {expected}")
        return cls(name, addresses)


def subject_of_rules(
    title: str,
    rulesets: Sequence[Ruleset],
    given: Sequence[GivenLink] = (),
    others: Sequence[Ruleset | NftRuleset] = (),
    nft: NftRuleset | None = None,
) -> Subject:
    """A host that has these rules. `rulesets` holds at most one for each IP version, `nft` native nftables.

    `others` are rules of the same host at another time: devices are derived from both.
    """
    nft = nft or NftRuleset()
    rules = {4 if ruleset.family == "ipv4" else 6: ruleset for ruleset in rulesets}
    versions = tuple(sorted(rules)) or (4, 6)
    derived = Derived(versions, {link.name: list(link.addresses) for link in given})
    if len(derived.devices) < len(given):
        raise QuestionError("--link names a device twice; write its addresses with commas")
    derived.add((*rulesets, nft, *others))
    uplink, notes = derived.uplink, derived.notes
    links = [Link.of(LOOPBACK, "127.0.0.1/8", "::1/128")]
    links += (Link(name, tuple(own), is_bridge=_is_bridge(name)) for name, own in derived.devices.items())
    bridges = [link.name for link in links if link.is_bridge]
    if bridges:
        notes.append(f"{', '.join(bridges)}: bridges, whose own traffic the rules see (br_netfilter)")
    notes.append("the host forwards, and does not ask where a source should come from (rp_filter 0)")
    own = {address.ip for link in links[1:] for address in link.addresses}
    strangers = []
    for link in links[1:]:
        found = [some_address(address, own) for address in link.addresses]
        gateways = tuple(address.ip for address in link.addresses)
        addresses = tuple(address for address in found if address is not None)
        strangers.append(Stranger(behind(link.name), link.name, addresses, everything_by(gateways)))
    view = HostView(
        HOST,
        tuple(links),
        tuple(_default_routes(uplink, strangers)),
        sysctls=_FORWARDING | (_BRIDGED if bridges else {}),
        ipv4=rules.get(4, Ruleset("ipv4")),
        ipv6=rules.get(6, Ruleset("ipv6")),
        nft=nft,
    ).with_connected_routes()
    endpoints = [Endpoint(printable(s.device), s.name, tuple(a.ip for a in s.addresses)) for s in strangers]
    links.sort(key=lambda link: link.name != uplink)
    own_ones = (address.ip for link in links if link.name != LOOPBACK for address in link.addresses)
    name = HOST if HOST not in derived.devices else f"({HOST})"  # a device may be called that, too
    endpoints.append(Endpoint(name, HOST, tuple(own_ones)))
    return Subject(
        title,
        (view,),
        (),
        tuple(endpoints),
        HOST,
        tuple(strangers),
        frozenset(derived.devices),
        notes=tuple(notes),
        is_bare=True,
    )


_FORWARDING = {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
_BRIDGED = {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}


def _is_bridge(name: str) -> bool:
    return name.startswith(_BRIDGES)


def _default_routes(uplink: str, strangers: Sequence[Stranger]) -> Iterator[Route]:
    for stranger in strangers:
        if stranger.device == uplink:
            for address in stranger.addresses:
                yield Route(EVERYWHERE[address.version], address.ip, uplink)
