"""Strategies for the ruleset room.

`rules`, `rulesets`: everything that the model allows, sensible or not. `respelled`: the same rule written in
other words. `loadable_rulesets`: only what a kernel accepts and iptables-save prints back in the same words.
"""

from __future__ import annotations

import ipaddress
from functools import cache

from hypothesis import strategies as st

from netverify.ruleset import Chain, Counters, Match, Option, Rule, Ruleset, Table, Target
from netverify.ruleset.vocabulary import (
    BUILTIN_CHAINS,
    CORE_FIELDS,
    CORE_FLAGS,
    MATCHES,
    TARGETS,
    VERDICTS,
    OptionSpec,
)
from netverify.ruleset.words import quote

_USUAL = [
    "10.0.0.0/8", "10.0.0.0/255.0.255.0", "fe80::/10", "br-9559b3f84d38", "eth+", "tcp", "6", "all", "80",
    "80:90", "80,443", "0x1/0xff", "NEW,ESTABLISHED", "5/min", "[2001:db8::1]:80", "1.2.3.4-1.2.3.9:80-90",
    "-1", "-", "!", "-j", "-4", "--dport", "it's", 'say "yes"', "back\\slash", "two words", " ", "", "\t",
    "\r", "ö", "\u00a0", "\u2028",
]  # fmt: skip
_ANY_TEXT = st.text(st.characters(exclude_characters="\n\0", exclude_categories=()), max_size=8)
_NAME_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/+*=@,"

COUNTERS = st.builds(Counters, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
FAMILIES = st.sampled_from(["ipv4", "ipv6"])


@cache
def values() -> st.SearchStrategy[str]:
    """Values of options: usual ones, and any text that one line can hold."""
    return st.sampled_from(_USUAL) | _ANY_TEXT


@cache
def chain_names() -> st.SearchStrategy[str]:
    """Names of users' chains."""
    usual = st.sampled_from(
        ["DOCKER", "DOCKER-ISOLATION-STAGE-1", "f2b-sshd", "KUBE-SVC-ABCDEFGHIJKLMNOP", "ö"]
    )
    letters = st.text(_NAME_LETTERS, min_size=1, max_size=28).filter(lambda name: name[0] != "-")
    return (usual | letters).filter(
        lambda name: all(name not in chains for chains in BUILTIN_CHAINS.values())
    )


def _known_options(spec: OptionSpec) -> st.SearchStrategy[Option]:
    taken = st.tuples(*[values()] * spec.arity)
    return st.builds(Option, st.just(spec.name), taken, st.booleans())


def _strange_options(prefix: str = "") -> st.SearchStrategy[Option]:
    """An option of an extension that nobody knows or, with a prefix that no option has, that nobody knows."""
    names = st.sampled_from(
        [prefix + name for name in ("level", "x", "a-b", "a.b", "7", "dport", "set", "proto")]
    )
    return st.builds(Option, names, st.lists(values(), max_size=3).map(tuple), st.booleans())


@cache
def _extensions(kind: type[Match] | type[Target]) -> st.SearchStrategy[Match] | st.SearchStrategy[Target]:
    """Known extensions with any of their options, and now and then one that nobody knows."""
    made: list[st.SearchStrategy[Match | Target]] = []
    for name, known in (MATCHES if kind is Match else TARGETS).items():
        specs = {spec.name: spec for spec in known.values()}
        options = [_known_options(spec) for spec in specs.values()]
        drawn = st.lists(st.one_of(*options, _strange_options("zz-")), max_size=3).map(tuple)
        made.append(st.builds(kind, st.just(name), drawn))
    names = st.sampled_from(["rateest", "layer7", "x.y", "ö"] if kind is Match else ["XTARGET", "ö"])
    strange = st.builds(kind, names, st.lists(_strange_options(), max_size=3).map(tuple))
    return st.one_of(*made, strange, strange, strange)


@cache
def core_matches() -> st.SearchStrategy[Match]:
    """Tests of fields of the core, each at most once."""
    value = values().filter(lambda value: "," not in value)
    return st.one_of(
        *(
            st.builds(Match.core, st.just(name), *[value] * (name not in CORE_FLAGS), negated=st.booleans())
            for name in CORE_FIELDS
        )
    )


@cache
def extension_matches() -> st.SearchStrategy[Match]:
    """Tests through extensions, known or not."""
    return _extensions(Match)


def targets(chains: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Target]:
    """Verdicts, extensions known or not, jumps and gotos."""
    jumps = st.builds(Target, chain_names() if chains is None else chains, goto=st.booleans())
    return st.sampled_from(sorted(VERDICTS)).map(Target) | _extensions(Target) | jumps


_CORE = st.lists(core_matches(), max_size=3, unique_by=lambda match: match.name)
_EXTENSIONS = st.lists(extension_matches(), max_size=2)


@st.composite
def rules(draw: st.DrawFn, chain: str | None = None, chains: st.SearchStrategy[str] | None = None) -> Rule:
    """Any rule, with counters or without."""
    matches = draw(_CORE) + draw(_EXTENSIONS)
    if len(matches) > 1:
        first = draw(st.integers(0, len(matches) - 1))
        matches = matches[first:] + matches[:first]
    name = draw(chain_names()) if chain is None else chain
    return Rule(name, tuple(matches), draw(st.none() | targets(chains)), draw(st.none() | COUNTERS))


@st.composite
def tables(draw: st.DrawFn, name: str) -> Table:
    """A table with some of its own chains and some of the user's."""
    builtin = draw(st.lists(st.sampled_from(BUILTIN_CHAINS[name]), unique=True, max_size=2))
    users = draw(st.lists(chain_names(), max_size=2, unique=True))
    callable_chains = st.sampled_from(users) if users else None
    chains = []
    for chain in builtin + users if draw(st.booleans()) else users + builtin:
        policy = draw(st.sampled_from(["ACCEPT", "DROP", None])) if chain in builtin else None
        held = draw(st.lists(rules(chain, callable_chains), max_size=2))
        chains.append(Chain(chain, policy, tuple(held), draw(st.none() | COUNTERS)))
    return Table(name, tuple(chains))


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    """Any ruleset."""
    names = draw(st.lists(st.sampled_from(sorted(BUILTIN_CHAINS)), unique=True, max_size=2))
    return Ruleset(draw(FAMILIES), tuple(draw(tables(name)) for name in names))


_LONG_NAMES = {
    "source": ["-s", "--source", "--src", "--sour"],
    "destination": ["-d", "--destination", "--dst"],
    "in-interface": ["-i", "--in-interface"],
    "out-interface": ["-o", "--out-interface", "--out"],
    "protocol": ["-p", "--protocol", "--proto"],
    "fragment": ["-f", "--fragment"],
    "ipv4": ["-4", "--ipv4"],
    "ipv6": ["-6", "--ipv6"],
}


@st.composite
def respelled(draw: st.DrawFn, rule: Rule) -> str:
    """The rule in words that mean the same: aliases, old negations, `--option=value`, needless quotes."""
    words: list[str] = []
    if rule.counters is not None and draw(st.booleans()):
        words.append(str(rule.counters))
    words += [draw(st.sampled_from(["-A", "--append"])), rule.chain]
    for match in rule.matches:
        if match.is_core:
            [option] = match.options
            # An extension that nobody knows swallows every option that is not exactly one of the core's.
            spellings = [s for s in _LONG_NAMES[match.name] if s not in ("--sour", "--out", "--proto")]
            words += draw(_option_words(draw(st.sampled_from(spellings)), option, is_text=False))
        else:
            words += [draw(st.sampled_from(["-m", "--match"])), match.name]
            words += draw(_extension_words(match.options, dict(MATCHES.get(match.name, {}))))
    if rule.target is not None:
        words += [draw(st.sampled_from(["-g", "--goto"] if rule.target.goto else ["-j", "--jump"]))]
        words += [rule.target.name]
        words += draw(_extension_words(rule.target.options, dict(TARGETS.get(rule.target.name, {}))))
    blanks = st.sampled_from([" ", "  ", "\t", " \t "])
    return "".join(word + draw(blanks) for word in words)


@st.composite
def _extension_words(draw: st.DrawFn, options: tuple[Option, ...], known: dict[str, OptionSpec]) -> list[str]:
    words: list[str] = []
    for option in options:
        spec = known.get(option.name)
        name = draw(st.sampled_from([option.name, *spec.aliases])) if spec else option.name
        words += draw(_option_words(f"--{name}", option, is_text=spec is not None and spec.is_text))
    return words


@st.composite
def _option_words(draw: st.DrawFn, name: str, option: Option, *, is_text: bool) -> list[str]:
    words = [quote(value) for value in option.values]
    if option.values and option.values[0].isalnum():
        words[0] = draw(st.sampled_from([option.values[0], words[0]]))
        if (
            words[0] != quote(option.values[0])
            and len(words) == 1
            and name.startswith("--")
            and draw(st.booleans())
        ):
            return ["!"] * option.negated + [f"{name}={words[0]}"]
    if option.negated and words and not is_text and draw(st.booleans()):
        return [name, "!", *words]
    return ["!"] * option.negated + [name, *words]


# What follows draws only rules that a kernel accepts, in the words and the order of iptables-save.


@st.composite
def networks(draw: st.DrawFn, family: str) -> str:
    """An address with its prefix length, host bits zero, as iptables-save writes it; never everything."""
    bits = 32 if family == "ipv4" else 128
    prefix = draw(st.sampled_from([8, 16, 24, bits]) | st.integers(1, bits))
    address = draw(st.integers(0, (1 << bits) - 1))
    if family == "ipv6":
        address |= 1 << 125  # iptables writes ::ffff:1.2.3.4 where Python writes ::ffff:102:304
    kind = ipaddress.IPv4Address if family == "ipv4" else ipaddress.IPv6Address
    return f"{kind(address >> (bits - prefix) << (bits - prefix))}/{prefix}"


def interfaces() -> st.SearchStrategy[str]:
    """Interface names and wildcards."""
    return st.sampled_from(["lo", "eth0", "docker0", "br-9559b3f84d38", "veth+", "br-+", "wg0.5"])


def ranges(least: int, most: int, separator: str) -> st.SearchStrategy[str]:
    """One number, or two in their order, but never the whole range."""
    number = st.integers(least, most)
    pair = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1] and pair != (least, most))
    return number.map(str) | pair.map(lambda pair: f"{pair[0]}{separator}{pair[1]}")


def _ports() -> st.SearchStrategy[str]:
    # iptables-nft prints `! --dport 0:5` as `--dport 6:65535`.
    return ranges(1, 65534, ":")


@st.composite
def _negatable(draw: st.DrawFn, option: str, value: st.SearchStrategy[str]) -> str:
    return draw(st.sampled_from(["", "! "])) + f"{option} {draw(value)}"


@st.composite
def _joined(draw: st.DrawFn, first: str, *parts: st.SearchStrategy[str]) -> str:
    """An extension with some of these options, at least one, in this order."""
    taken = draw(st.lists(st.integers(0, len(parts) - 1), min_size=1, unique=True).map(sorted))
    return " ".join([first, *(draw(parts[index]) for index in taken)])


def _list(of: list[str]) -> st.SearchStrategy[str]:
    """Some of these, in this order, separated by commas."""
    indexes = st.lists(st.integers(0, len(of) - 1), min_size=1, unique=True).map(sorted)
    return indexes.map(lambda taken: ",".join(of[index] for index in taken))


def _marks() -> st.SearchStrategy[str]:
    number = st.integers(0, 0xFFFFFFFF)
    masked = st.tuples(number, st.integers(1, 0xFFFFFFFE)).map(lambda pair: (pair[0] & pair[1], pair[1]))
    return number.map(hex) | masked.map(lambda pair: f"{pair[0]:#x}/{pair[1]:#x}")


def _protocol_part(protocol: str) -> st.SearchStrategy[str]:
    sport, dport = _negatable("--sport", _ports()), _negatable("--dport", _ports())
    if protocol == "tcp":
        flags = _negatable(
            "--tcp-flags", st.sampled_from(["FIN,SYN,RST,ACK SYN", "SYN,RST SYN", "SYN,ACK NONE"])
        )
        return _joined("-m tcp", sport, dport, flags) | _multiport()
    if protocol == "udp":
        return _joined("-m udp", sport, dport) | _multiport()
    if protocol == "sctp":
        return _joined("-m sctp", sport, dport)
    option, name = ("--icmp-type", "icmp") if protocol == "icmp" else ("--icmpv6-type", "icmp6")
    return _joined(f"-m {name}", _negatable(option, st.sampled_from(["0", "3/1", "8", "128", "1/4"])))


def _multiport() -> st.SearchStrategy[str]:
    ports = st.lists(ranges(1, 65534, ":"), min_size=1, max_size=5).map(",".join)
    option = st.sampled_from(["--sports", "--dports", "--ports"])
    return option.flatmap(lambda name: _joined("-m multiport", _negatable(name, ports)))


def _extension_parts(family: str) -> list[st.SearchStrategy[str]]:
    states = _list(["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED"])
    kinds = _list(["UNICAST", "LOCAL", *["BROADCAST"] * (family == "ipv4"), "MULTICAST"])
    low, high = ("10.0.0.1", "10.0.0.9") if family == "ipv4" else ("2001:db8::1", "2001:db8::9")
    addresses = st.sampled_from([f"{low}-{high}", f"{low}-{low}"])
    printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
    comment = printable.map(lambda text: Rule("X", (Match("comment", (Option("comment", (text,)),)),)))
    hops = ("-m ttl", "--ttl-eq") if family == "ipv4" else ("-m hl", "--hl-eq")
    return [
        _joined("-m conntrack", _negatable("--ctstate", states)),
        _joined("-m state", _negatable("--state", states)),
        _joined("-m addrtype", _negatable("--src-type", kinds), _negatable("--dst-type", kinds)),
        _joined("-m mark", _negatable("--mark", _marks())),
        _joined("-m connmark", _negatable("--mark", _marks())),
        _joined("-m iprange", _negatable("--src-range", addresses), _negatable("--dst-range", addresses)),
        _joined("-m length", _negatable("--length", ranges(0, 65535, ":"))),
        _joined(hops[0], _negatable(hops[1], st.integers(0, 255).map(str))),
        _joined(
            "-m pkttype", _negatable("--pkt-type", st.sampled_from(["unicast", "broadcast", "multicast"]))
        ),
        comment.map(lambda rule: rule.render().removeprefix("-A X ")),
    ]


def _target_parts(table: str, chain: str, family: str, users: list[str]) -> st.SearchStrategy[str]:
    parts = ["-j ACCEPT", "-j RETURN", *(f"{how} {user}" for how in ("-j", "-g") for user in users)]
    if table == "mangle":
        parts += ["-j MARK --set-xmark 0x1/0xff", "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"]
    if table == "raw":
        parts += ["-j CT --notrack", "-j DROP"]
    if table == "filter":
        refusal = "icmp-port-unreachable" if family == "ipv4" else "icmp6-port-unreachable"
        parts += ["-j DROP", f"-j REJECT --reject-with {refusal}", '-j LOG --log-prefix "a b"', "-j LOG"]
    address = "10.0.0.9" if family == "ipv4" else "2001:db8::9"
    if table == "nat" and chain in ("PREROUTING", "OUTPUT"):
        parts += [f"-j DNAT --to-destination {address}"]
    if table == "nat" and chain in ("POSTROUTING", "INPUT"):
        parts += [f"-j SNAT --to-source {address}"]
    if table == "nat" and chain == "POSTROUTING":
        parts += ["-j MASQUERADE", "-j MASQUERADE --random"]
    return st.sampled_from(["", *parts])


@st.composite
def loadable_rules(draw: st.DrawFn, family: str, table: str, chain: str, users: list[str]) -> str:
    """One rule that a kernel accepts in that chain, in the words of iptables-save."""
    words = [f"-A {chain}"]
    for option in draw(st.sampled_from([(), ("-s",), ("-d",), ("-s", "-d")])):
        words += [draw(_negatable(option, networks(family)))]
    if chain in ("PREROUTING", "INPUT", "FORWARD") and draw(st.booleans()):
        words.append(draw(_negatable("-i", interfaces())))
    if chain in ("OUTPUT", "POSTROUTING", "FORWARD") and draw(st.booleans()):
        words.append(draw(_negatable("-o", interfaces())))
    protocol = draw(st.sampled_from(["", "tcp", "udp", "sctp", "icmp" if family == "ipv4" else "ipv6-icmp"]))
    if protocol:
        words.append(f"-p {protocol}")
        if draw(st.booleans()):
            words.append(draw(_protocol_part(protocol)))
    else:
        words += draw(st.sampled_from([[], ["! -p tcp"]]))
    words += draw(st.lists(st.one_of(_extension_parts(family)), max_size=2))
    words += [draw(_target_parts(table, chain, family, users))]
    return " ".join(word for word in words if word)


@st.composite
def loadable_rulesets(draw: st.DrawFn) -> Ruleset:
    """A ruleset that a kernel accepts; its tables and chains stand in the order of their names."""
    family = draw(FAMILIES)
    made = []
    for name in sorted(draw(st.sets(st.sampled_from(sorted(BUILTIN_CHAINS)), min_size=1, max_size=3))):
        users = sorted(draw(st.sets(st.sampled_from(["DOCKER", "DOCKER-USER", "a", "b.c"]))))
        chains = []
        for position, chain in enumerate([*BUILTIN_CHAINS[name], *users]):
            builtin = chain not in users
            # Calls go to later chains only: the kernel refuses loops.
            below = [user for user in users if builtin or user > chain]
            texts = draw(st.lists(loadable_rules(family, name, chain, below), max_size=4))
            droppable = name != "nat" and position % 2
            policy = (
                draw(st.sampled_from(["ACCEPT", "DROP"] if droppable else ["ACCEPT"])) if builtin else None
            )
            chains.append(Chain.of(chain, *texts, policy=policy))
        made.append(Table(name, tuple(chains)))
    return Ruleset(family, tuple(made))
