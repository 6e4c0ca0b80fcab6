"""rtnetlink requests, encoded by pyroute2: devices, addresses, routes, neighbours (rtnetlink(7)).

Nothing here talks to the kernel; `kernel/channel.py` sends what these functions return, many at once.
Interface indexes are chosen by us (RTM_NEWLINK honours `ifi_index`), so that no request has to wait for the
answer to another: a whole namespace is one datagram.
"""

from __future__ import annotations

from netverify.kernel.netlink.links import (
    IFF_UP,
    RTM_GETLINK,
    RTM_NEWLINK,
    VethEnd,
    add_bridge,
    add_ipvlan,
    add_macvlan,
    add_veth,
    add_vxlan,
    delete_link,
    set_hairpin,
    set_link,
)
from netverify.kernel.netlink.neighbours import (
    NUD_PERMANENT,
    RTM_DELNEIGH,
    TCP_LISTEN,
    add_forwarding_entry,
    add_neighbour,
    list_listeners,
    list_neighbour_tables,
    list_neighbours,
    same_neighbour,
    set_neighbour_patience,
)
from netverify.kernel.netlink.request import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    Address,
    Attributes,
    Request,
)
from netverify.kernel.netlink.routes import (
    add_address,
    add_route,
    add_rule,
    delete_address,
    delete_route,
    delete_rule,
    find_route,
)

__all__ = [
    "IFF_UP",
    "NLM_F_ACK",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_EXCL",
    "NLM_F_REQUEST",
    "NUD_PERMANENT",
    "RTM_DELNEIGH",
    "RTM_GETLINK",
    "RTM_NEWLINK",
    "TCP_LISTEN",
    "Address",
    "Attributes",
    "Request",
    "VethEnd",
    "add_address",
    "add_bridge",
    "add_forwarding_entry",
    "add_ipvlan",
    "add_macvlan",
    "add_neighbour",
    "add_route",
    "add_rule",
    "add_veth",
    "add_vxlan",
    "delete_address",
    "delete_link",
    "delete_route",
    "delete_rule",
    "find_route",
    "list_listeners",
    "list_neighbour_tables",
    "list_neighbours",
    "same_neighbour",
    "set_hairpin",
    "set_link",
    "set_neighbour_patience",
]
