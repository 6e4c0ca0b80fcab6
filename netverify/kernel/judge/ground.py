"""The judged host's namespaces: devices, addresses, neighbours, routes, sysctls.

Whatever the host would say or learn on its own account is turned off, so that each packet that moves belongs
to one that was sent.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping

from netverify.errors import KernelError, MissingCapability
from netverify.kernel import carrier, netlink, sysctls
from netverify.kernel.channel import Channel
from netverify.kernel.judge import site
from netverify.kernel.namespace import Namespace, Visitor
from netverify.ruleset import Ruleset

OUTSIDE = "outside"
"""The namespace of the cables' far ends."""

_SETTINGS: Mapping[str, str] = {
    # Every packet is judged, so no answer may be withheld for its rate.
    "ipv4/icmp_ratemask": "0",
    "ipv4/icmp_msgs_per_sec": "1000000",
    "ipv4/icmp_msgs_burst": "1000000",
    "ipv6/icmp/ratelimit": "0",
    # What the host says on its own account, or learns, would be one more packet, or another route.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv6/conf/all/accept_redirects": "0",
    "ipv6/conf/default/accept_redirects": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
    # The model follows the flags of TCP, not its sequence numbers.
    "netfilter/nf_conntrack_tcp_be_liberal": "1",
    "netfilter/nf_conntrack_tcp_ignore_invalid_rst": "1",
}


def furnish() -> Channel:
    """Settle a new namespace, and open its netlink channel."""
    sysctls.write_all(sysctls.beginning(ipv6=True))
    sysctls.write_all(_SETTINGS.items())
    return Channel()


def build(visitor: Visitor, channels: Mapping[str, tuple[Namespace, Channel]]) -> None:
    """Make everything in the two namespaces; on return every device can send."""
    host = channels[site.HOST][1]
    visitor.visit(channels[site.HOST][0], _prepare_filter)
    visitor.visit(channels[site.HOST][0], lambda: sysctls.write_all(site.SETTINGS.items()))
    indexes = {"lo": 1, site.BRIDGE: 10}
    bridge_mac = site.mac_text(site.card_mac(site.BRIDGE))
    host.send(site.HOST, [netlink.add_bridge(site.BRIDGE, 10, mac=bridge_mac)])
    for number, cable in enumerate(site.CABLES):
        indexes[cable] = 20 + number
        near = netlink.VethEnd(
            cable, indexes[cable], site.mac_text(site.card_mac(cable)),
            master=indexes[site.BRIDGE] if cable in site.PORTS else None,
        )  # fmt: skip
        far = netlink.VethEnd(cable, indexes[cable], namespace=channels[OUTSIDE][0].fd)
        host.send(site.HOST, [netlink.add_veth(near, far)])
        channels[OUTSIDE][1].send(OUTSIDE, [netlink.set_link(indexes[cable], up=True)])
    host.send(site.HOST, [netlink.set_link(1, up=True)])
    facts = site.view(Ruleset("ipv4"))
    for card in site.CARDS:
        addresses = [netlink.add_address(indexes[card], a) for a in facts.link(card).addresses]
        neighbours = [
            netlink.add_neighbour(
                indexes[card],
                site.neighbour(card, number, version),
                site.mac_text(site.neighbour_mac(card, number)),
            )
            for number in site.NEIGHBOURS
            for version in (4, 6)
        ]
        host.send(site.HOST, addresses + neighbours)
    host.send(
        site.HOST,
        [
            netlink.add_route(
                route.destination,
                via=route.via,
                device=None if route.device is None else indexes[route.device],
                kind=route.kind,
                table=route.table,
            )
            for version in (4, 6)
            for route in site.ROUTES[version]
        ],
    )
    by_mark = netlink.add_rule(4, 100, site.MARKED_TABLE, mark=site.MARK, mask=site.MARK_MASK)
    host.send(site.HOST, [by_mark])
    carrier.settle(
        visitor,
        channels,
        {site.HOST: list(indexes.values()), OUTSIDE: [indexes[cable] for cable in site.CABLES]},
    )


def _prepare_filter() -> None:
    """Have connection tracking on, whatever the rules are, and keep the host from speaking unasked.

    The kernel tracks connections only while some rule needs it (`nf_ct_netns_get`,
    net/netfilter/nf_conntrack_proto.c); a rule of a chain that nothing calls is enough. And it tells the
    multicast groups that it joined at times of its own (net/ipv6/mcast.c), which rules would count.
    """
    if shutil.which("nft") is None:
        raise MissingCapability("nft", "the program is not installed", "Install it: apt-get install nftables")
    done = subprocess.run(["nft", "-f", "-"], input=_OWN_RULES, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelError(f"{site.HOST}: nft refused the judge's own rules: {done.stderr.strip()}")


_OWN_RULES = """
table inet judge {
    chain uncalled {
        ct state new
    }
    chain before_all {
        type filter hook output priority -1000
        icmpv6 type { 131, 132, 143 } drop
    }
}
"""
