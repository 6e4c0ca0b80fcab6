"""Strategies for the judged host (netverify/kernel/judge/site.py): rulesets of all tables, both families.

A rule is put together from words that the kernel accepts where the rule stands: what a match may ask depends
on the hooks that its chain can be reached from. Words that the model does not know are left out here, by
asking it, so that a match enters these rulesets as soon as it is modelled.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from netverify.dataplane.condition import unknowns
from netverify.dataplane.matches import Context, compile_match
from netverify.dataplane.targets import compile_target
from netverify.kernel.judge import site
from netverify.ruleset import Chain, Rule, Ruleset, Table
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from tests.strategies import judged_words as words

USER_CHAINS = ("A", "B", "C")
_IN, _OUT = {"PREROUTING", "INPUT", "FORWARD"}, {"FORWARD", "OUTPUT", "POSTROUTING"}
_SIZES = {"FORWARD": 8, "PREROUTING": 4, "INPUT": 5, "OUTPUT": 5, "POSTROUTING": 4}


@cache
def modelled(version: int, text: str) -> bool:
    """Whether the model knows every word of a rule."""
    rule = Rule.parse(text or "-j ACCEPT", chain="A")
    context = Context(version, site.view(Ruleset("ipv4" if version == 4 else "ipv6")))
    if any(unknowns(compile_match(match, context)) for match in rule.matches):
        return False
    if rule.target is None or rule.target.name in USER_CHAINS:
        return True
    effect = compile_target(rule.target, version)
    return not effect.not_modelled


@cache
def matches(version: int, hooks: frozenset[str], builtin: bool) -> tuple[str, ...]:
    """Every match that may stand in a chain that these hooks reach, protocol or not."""
    found = [*words.ANYWHERE, *words.OF_FAMILY[version]]
    found += [
        f"{no}-{side} {network}"
        for network in words.NETWORKS[version]
        for side in "sd"
        for no in words.NEGATIONS
    ]
    found += [
        f"-m iprange {no}--{side}-range {r}"
        for r in words.RANGES[version]
        for side in ("src", "dst")
        for no in words.NEGATIONS
    ]
    # iptables loses a mask with holes in these (libxt_conntrack reads the address alone).
    whole = [each for each in words.NETWORKS[version][::3] if not set(each.partition("/")[2]) & set(".:")]
    found += [
        f"-m conntrack {no}--{which} {network}"
        for which in words.CONNECTION
        for no in ("", "! ")
        for network in whole
    ]
    found += [
        f"-m conntrack {no}--{which}port {port}"
        for which in words.CONNECTION
        for no in ("", "! ")
        for port in ("80", "5000:5002")
    ]
    if not builtin or hooks & _IN:
        found += [f"{no}-i {device}" for device in words.DEVICES for no in words.NEGATIONS]
    if not builtin or hooks & _OUT:
        found += [f"{no}-o {device}" for device in words.DEVICES for no in words.NEGATIONS]
    if hooks <= _IN:
        found += ["-m policy --dir in --pol none"]
        found += [f"-m mac {no}--mac-source 02:00:00:01:01:03" for no in words.NEGATIONS]
        found += [
            f"-m physdev {no}--physdev-{test}"
            for test in ("in p1", "in p+", "is-in", "is-bridged")
            for no in words.NEGATIONS
        ]
    if hooks <= {"FORWARD"}:
        found += [
            f"-m physdev {no}--physdev-{test}"
            for test in ("out p2", "out p1", "is-out")
            for no in words.NEGATIONS
        ]
    if hooks <= {"OUTPUT", "POSTROUTING"}:
        found += [
            f"-m owner {no}--uid-owner {who}" for who in ("0", "0-999", "1000") for no in words.NEGATIONS
        ]
        found += [f"-m owner {no}--gid-owner {who}" for who in ("0", "1000") for no in words.NEGATIONS]
    return tuple(word for word in found if modelled(version, word))


@cache
def protocol_matches(version: int) -> tuple[str, ...]:
    """Every match that asks for a protocol; several words each."""
    wanted = [word.replace("ICMP", "icmp" if version == 4 else "ipv6-icmp") for word in words.PROTOCOLS]
    return tuple(word for word in (*wanted, *words.ICMP[version] * 2) if modelled(version, word))


def _translations(version: int, chain: str) -> list[tuple[str, str]]:
    """Targets of the nat table, each with a protocol that it needs or nothing."""

    def at(address: str, port: str) -> str:
        return f"{address}:{port}" if version == 4 else f"[{address}]:{port}"

    targets = words.TRANSLATED_TO[version]
    sources = words.TRANSLATED_FROM[version]
    networks = {4: ["10.2.0.16/28", "10.12.0.0/24"], 6: ["fd00:2::10/124", "fd00:12:1::/64"]}[version]
    found: list[tuple[str, str]] = [("", f"-j NETMAP --to {network}") for network in networks]
    if chain in ("PREROUTING", "OUTPUT"):
        found += [("", f"-j DNAT --to-destination {target}") for target in targets]
        found += [
            (p, f"-j DNAT --to-destination {at(target, '5001')}")
            for target in targets
            for p in ("tcp", "udp")
        ]
        found += [(p, "-j DNAT --to-destination :81") for p in ("tcp",)]
        found += [
            ("", "-j REDIRECT"),
            ("tcp", "-j REDIRECT --to-ports 5001"),
            ("udp", "-j REDIRECT --to-ports 5001"),
        ]
    else:
        found += [("", f"-j SNAT --to-source {source}") for source in sources]
        found += [
            (p, f"-j SNAT --to-source {at(source, '40000')}")
            for source in sources[:2]
            for p in ("tcp", "udp")
        ]
    if chain == "POSTROUTING":
        found += [("", "-j MASQUERADE")] * 4 + [(p, "-j MASQUERADE --to-ports 40001") for p in ("tcp", "udp")]
    return found


@cache
def targets(version: int, table: str, chain: str) -> tuple[tuple[str, str], ...]:
    """What may follow: (a protocol that the rule must ask for or nothing, the target)."""
    if table == "nat":
        free = [*words.MARKS[:3], "-j ACCEPT", "-j RETURN", ""]
        found = [
            *(("", word) for word in free),
            *(_translations(version, chain) * 2 if chain not in USER_CHAINS else ()),
        ]
    else:
        found = [("", word) for word in (*words.FILTERING, *words.MARKS, *words.TARGETS_OF_TABLE[table] * 3)]
        if table == "mangle":
            name, field = ("TTL", "ttl") if version == 4 else ("HL", "hl")
            found += [("", f"-j {name} --{field}-set {value}") for value in (64, 2, 1)]
            found += [("", f"-j {name} --{field}-dec 1"), ("", f"-j {name} --{field}-inc 1")]
        if table == "filter":
            found += [("", f"-j REJECT{how}") for how in words.REJECTS[version]]
            found += [("tcp", "-j REJECT --reject-with tcp-reset")] * 2
    return tuple(pair for pair in found if modelled(version, pair[1]))


@st.composite
def _rules(draw: st.DrawFn, version: int, table: str, chain: str, callees: tuple[str, ...]) -> Rule:
    builtin = chain in BUILTIN_CHAINS[table]
    hooks = frozenset({chain}) if builtin else frozenset(BUILTIN_CHAINS[table])
    jumps = [("", f"{how} {callee}") for callee in callees for how in ("-j", "-g")]
    needed, target = draw(st.sampled_from([*targets(version, table, chain), *jumps * 3]))
    protocol = f"-p {needed}" if needed else ""
    if not needed and draw(st.booleans()):
        protocol = draw(st.sampled_from(protocol_matches(version)))
    asked = draw(st.lists(st.sampled_from(matches(version, hooks, builtin)), max_size=2))
    if len(asked) == 2 and _subject(asked[0]) == _subject(asked[1]):
        asked.pop()
    return Rule.parse(" ".join((protocol, *asked, target)), chain=chain)


def _subject(word: str) -> str:
    """The option of the core that a word sets, which a rule can have once."""
    first = word.removeprefix("! ").split()
    return first[0] if first and first[0] != "-m" else word


@st.composite
def judged_rulesets(draw: st.DrawFn, version: int) -> Ruleset:
    """Rules for the judged host: some of the five tables, with chains of their own."""
    tables = []
    for table, builtin in BUILTIN_CHAINS.items():
        if table != "filter" and not draw(st.integers(0, 2)):
            continue
        called = USER_CHAINS[: draw(st.integers(0, 3 if table == "filter" else 1))]
        chains = []
        for name in (*builtin, *called):
            later = called[called.index(name) + 1 :] if name in called else called
            size = _SIZES.get(name, 4) if table == "filter" or name in called else 3
            held = draw(st.lists(_rules(version, table, name, later), max_size=size))
            policy = None
            if name in builtin:
                rarely = {"filter": 4, "mangle": 15, "security": 15}.get(table)
                drops = rarely is not None and draw(st.integers(1, rarely)) == rarely
                policy = "DROP" if drops else "ACCEPT"
            chains.append(Chain(name, policy, tuple(held)))
        tables.append(Table(table, tuple(chains)))
    return Ruleset("ipv4" if version == 4 else "ipv6", tuple(tables))


@st.composite
def judged_settings(draw: st.DrawFn, version: int) -> dict[str, str]:
    """Sysctls of the judged host that are unlike the usual ones; mostly none."""
    options = [
        {},
        {},
        {},
        {},
        {"net.bridge.bridge-nf-call-iptables": "0", "net.bridge.bridge-nf-call-ip6tables": "0"},
    ]
    if version == 4:
        options += [
            {"net.ipv4.conf.all.rp_filter": "1"},
            {"net.ipv4.conf.all.rp_filter": "2"},
            {"net.ipv4.conf.all.route_localnet": "1"},
            {"net.ipv4.conf.all.accept_local": "1"},
            {"net.ipv4.ip_forward": "0"},
        ]
    else:
        options.append({"net.ipv6.conf.all.forwarding": "0"})
    return draw(st.sampled_from(options))
