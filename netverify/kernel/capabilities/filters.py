"""Packet filters: the iptables programs of both backends, nft, ip sets; each in a fresh namespace."""

from __future__ import annotations

import json
import socket

from pyroute2.ipset import IPSet
from pyroute2.netlink.exceptions import NetlinkError

from netverify.kernel.capabilities.programs import Refused, first_line, run
from netverify.kernel.firewall import Backend, default_backend

TABLES = ("filter", "nat", "mangle", "raw")
PROGRAMS = ("iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft")


def probe_iptables(program: str) -> str:
    """Load a rule into each of the four tables and see it listed."""
    rules = "".join(f"*{table}\n-A OUTPUT -j ACCEPT\nCOMMIT\n" for table in TABLES)
    run(f"{program}-restore", text=rules)
    listed = run(f"{program}-save").count("-A OUTPUT -j ACCEPT")
    if listed != len(TABLES):
        raise Refused(f"{program} lists {listed} of {len(TABLES)} rules that it loaded")
    return first_line(program, "--version")


def probe_default_backend() -> str:
    """Make a chain with `iptables` and see which backend's program lists it."""
    chain = "netverify"
    run("iptables", "-N", chain)
    seen = []
    for backend in Backend:
        try:
            if f":{chain} " in run(f"iptables-{backend.value}-save"):
                seen.append(backend)
        except Refused:
            continue  # a backend that does not work here has a row of its own, and has not got the chain
    if seen != [default_backend()]:
        found = " and ".join(backend.value for backend in seen) or "neither"
        raise Refused(
            f"`iptables` says that it is {default_backend().value}, but its rules appear in {found}"
        )
    return f"iptables is iptables-{seen[0].value}"


def probe_nft() -> str:
    """Make a table and read the ruleset back as JSON."""
    run("nft", "add", "table", "inet", "netverify")
    document = json.loads(run("nft", "-j", "list", "ruleset"))["nftables"]
    if not any(entry.get("table", {}).get("name") == "netverify" for entry in document):
        raise Refused("nft does not list a table that it made")
    return f"nft {document[0]['metainfo']['version']}, with JSON"


IP_SETS = {4: "netverify4", 6: "netverify6"}


def make_ip_sets() -> None:
    """Make an empty set for each family, under the names in `IP_SETS`. Raises Refused."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    try:
        with IPSet() as sets:
            for version, name in IP_SETS.items():
                sets.create(name, stype="hash:ip", family=families[version])
    except NetlinkError as error:
        raise Refused(f"the kernel makes no ip set: {error}") from error


def probe_ip_set() -> str:
    """Make an ip set for each family, over netlink (the program `ipset` is not needed)."""
    make_ip_sets()
    return "hash:ip sets can be made"
