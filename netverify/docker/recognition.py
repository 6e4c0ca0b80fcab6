"""Which generation of Docker wrote a host's rules, what of them is missing, and what an older one left
behind.

An upgraded engine removes its old chains when it starts, but looks at few rules of the kernel's own chains;
and anybody may flush a chain, or restore rules that were saved before an upgrade. What stands then is a
mixture, and the older part decides wherever it comes first.

Everything is told by the rules alone, without knowing the host's networks: a bridge is what Docker's own
rules name as one. So a network of which every rule is gone is not missed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netverify.docker.layout import BRIDGE, CONNTRACK, FORWARD, INTERNAL, LAYOUTS
from netverify.docker.nft import TABLE
from netverify.docker.version import (
    CLASSIC,
    DROPS_BY_CONTAINER,
    DROPS_BY_PORT,
    GENERATIONS,
    INTERNAL_CHAIN,
    NFTABLES,
    PAIRWISE,
    SETS,
    Generation,
)
from netverify.docker.writer import DOCKER, ESTABLISHED, PAIRS, STAGE_1, STAGE_2, TO_LOCAL, USER
from netverify.ruleset import NftRuleset, RulePlace, Ruleset

_SET = "-m set --match-set docker-ext-bridges-v"


@dataclass(frozen=True, slots=True)
class Missing:
    """A rule (or, with an empty `rule`, a chain) that the generation always writes, and that is not there."""

    table: str
    chain: str
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.table} {self.chain}" + (f": {self.rule}" if self.rule else "")


@dataclass(frozen=True, slots=True)
class Stale:
    """A rule that an older generation left and that the present one neither writes nor removes."""

    place: RulePlace
    rule: str
    by: Generation


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a host's rules say about the engine that wrote them.

    `candidates` are the generations that may have written the rules that packets meet, oldest first:
    usually one; 28.0.1 to 28.5 write the same as long as no container runs. It is empty where Docker has no
    rules.
    """

    candidates: tuple[Generation, ...]
    missing: tuple[Missing, ...] = ()
    stale: tuple[Stale, ...] = ()

    @property
    def generation(self) -> Generation | None:
        """The one generation that it can be, else None."""
        return self.candidates[0] if len(self.candidates) == 1 else None

    @property
    def is_mixed(self) -> bool:
        """Whether rules of more than one generation stand."""
        return bool(self.stale)


def recognise(ruleset: Ruleset, nft: NftRuleset | None = None) -> Recognition:
    """Who wrote these rules: one family's iptables rules, and what nftables holds beside them."""
    texts = _texts(ruleset)
    candidates = _candidates(texts, ruleset, nft)
    if not candidates:
        return Recognition(())
    newest = candidates[-1]
    return Recognition(candidates, tuple(_missing(texts, newest)), tuple(_stale(texts, newest)))


Texts = Mapping[tuple[str, str], Sequence[str]]


def _texts(ruleset: Ruleset) -> Texts:
    """Every chain's rules as text, without `-A CHAIN`."""
    return {
        (table.name, chain.name): [str(rule).removeprefix(f"-A {chain.name} ") for rule in chain.rules]
        for table in ruleset.tables
        for chain in table.chains
    }


def _candidates(texts: Texts, ruleset: Ruleset, nft: NftRuleset | None) -> tuple[Generation, ...]:
    """By the newest frame of chains that FORWARD leads to; if to none, by the chains that are there."""
    family = "ip" if ruleset.family == "ipv4" else "ip6"
    if nft is not None and any((one.family, one.name) == (family, TABLE) for one in nft.tables):
        return (NFTABLES,)
    forward, own = texts.get(("filter", "FORWARD"), ()), texts.get(("filter", FORWARD), ())
    if f"-j {FORWARD}" in forward:
        if f"-j {INTERNAL}" in own or f"-j {STAGE_1}" not in own:
            return (INTERNAL_CHAIN,)
        return _by_raw_table(texts)
    if any(text.startswith(_SET) for text in forward):
        return (SETS,)
    if f"-j {STAGE_1}" in forward:
        return (CLASSIC,)
    if f"-j {PAIRS}" in forward:
        return (PAIRWISE,)
    there = {chain for table, chain in texts if table == "filter"}
    if INTERNAL in there:
        return (INTERNAL_CHAIN,)
    if FORWARD in there:
        return _by_raw_table(texts)
    if STAGE_1 in there:
        return (CLASSIC,)
    return (PAIRWISE,) if PAIRS in there else ()


def _by_raw_table(texts: Texts) -> tuple[Generation, ...]:
    """28.2 protects a container's whole address where 28.0 and 28.1 protect its published ports."""
    raw = [text for text in texts.get(("raw", "PREROUTING"), ()) if _DIRECT.fullmatch(text)]
    if any("--dport" not in text for text in raw):
        return (DROPS_BY_CONTAINER,)
    user = texts.get(("filter", USER), ("-j RETURN",))
    if "-j RETURN" not in user:
        return (DROPS_BY_CONTAINER,)
    return (DROPS_BY_PORT,) if raw else (DROPS_BY_PORT, DROPS_BY_CONTAINER)


# -d ADDRESS ! -i BRIDGE [-p tcp -m tcp --dport PORT] -j DROP; the loopback's own drops are by `! -i lo`.
_DIRECT = re.compile(r"-d \S+ ! -i (?!lo )\S+ (?:-p \w+ -m \w+ --dport \d+ )?-j DROP")
_A_BRIDGE = (
    re.compile(rf"-o (\S+) -j {DOCKER}"),
    re.compile(r"! -i (\S+) -o \1 -j (?:DROP|ACCEPT)"),
    re.compile(r"-i (\S+) ! -o \1 -j ACCEPT"),
)


def _bridges(texts: Texts) -> list[str]:
    """The bridges of networks that are not internal, as Docker's rules name them."""
    found: dict[str, None] = {}
    for (table, chain), rules in texts.items():
        if table == "filter" and chain in ("FORWARD", DOCKER, FORWARD, BRIDGE):
            for pattern in _A_BRIDGE:
                found.update((match[1], None) for text in rules if (match := pattern.fullmatch(text)))
    return list(found)


def _missing(texts: Texts, generation: Generation) -> Iterator[Missing]:
    """A chain that is missing altogether is said once."""
    for table, chain, choices in _required(generation, _bridges(texts)):
        if (table, chain) not in texts:
            yield Missing(table, chain)
        elif choices and not any(choice in texts[table, chain] for choice in choices):
            yield Missing(table, chain, choices[0])


Required = tuple[str, str, tuple[str, ...]]
"""A table, a chain, and rules of which one must stand there; none if the chain alone must be there."""


def _required(generation: Generation, bridges: Sequence[str]) -> Iterator[Required]:
    """What this generation writes on every host, and then for every network that is not internal."""
    if generation is NFTABLES:
        return
    yield "filter", "FORWARD", (f"-j {USER}",)
    layout = LAYOUTS.get(generation)
    if layout is not None or bridges:  # until 27 these jumps come with the first network
        yield "nat", "PREROUTING", (f"{TO_LOCAL} {DOCKER}",)
    if layout is None:
        first = PAIRS if generation is PAIRWISE else STAGE_1
        yield "filter", first, ()
        if bridges:
            yield "filter", "FORWARD", (f"-j {first}",)
    elif layout.by_set:
        yield "filter", STAGE_1, ()
    else:
        for chain in (CONNTRACK, layout.internal, BRIDGE):
            yield "filter", FORWARD, (f"-j {chain}",)
            yield "filter", chain, ()
    for bridge in bridges:
        if generation is CLASSIC or (layout is not None and layout.stages):
            yield "filter", STAGE_1, (f"-i {bridge} ! -o {bridge} -j {STAGE_2}",)
            yield "filter", STAGE_2, (f"-o {bridge} -j DROP",)
        if layout is None:
            yield "filter", "FORWARD", (f"-o {bridge} -j {DOCKER}",)
            yield "filter", "FORWARD", (f"-o {bridge} {ESTABLISHED}",)
        else:
            bound = f"! -i {bridge} -o {bridge} -j "
            yield "filter", DOCKER, (f"{bound}DROP", f"{bound}ACCEPT")
        if layout is not None and not layout.by_set:
            yield "filter", CONNTRACK, (f"-o {bridge} {ESTABLISHED}",)
            yield "filter", BRIDGE, (f"-o {bridge} -j {DOCKER}",)


_PER_BRIDGE = (
    rf"-o (\S+) -j {DOCKER}",
    rf"-o (\S+) {re.escape(ESTABLISHED)}",
    r"-i (\S+) ! -o \1 -j ACCEPT",
    r"-i (\S+) -o \1 -j (?:ACCEPT|DROP)",
)

# Who wrote it, where, what it looks like, and the first generation that writes it no longer.
_LEFT: tuple[tuple[Generation, str, str, re.Pattern[str], Generation], ...] = (
    (PAIRWISE, "filter", "FORWARD", re.compile(rf"-j {PAIRS}"), CLASSIC),
    *(
        (CLASSIC, "filter", "FORWARD", re.compile(pattern), SETS if number < 2 else DROPS_BY_PORT)
        for number, pattern in enumerate(_PER_BRIDGE)
    ),
    (CLASSIC, "filter", "FORWARD", re.compile(rf"-j {STAGE_1}"), DROPS_BY_PORT),
    (SETS, "filter", "FORWARD", re.compile(re.escape(_SET) + ".*"), DROPS_BY_PORT),
    (
        SETS,
        "filter",
        "FORWARD",
        re.compile(r"-i (?:docker0|br-\S+|docker_gwbridge) -j ACCEPT"),
        DROPS_BY_PORT,
    ),
    (
        DROPS_BY_PORT,
        "raw",
        "PREROUTING",
        re.compile(_DIRECT.pattern.replace(")?-j", ")-j")),
        DROPS_BY_CONTAINER,
    ),
    (DROPS_BY_CONTAINER, "nat", DOCKER, re.compile(r"-i \S+ -j RETURN"), INTERNAL_CHAIN),
    (DROPS_BY_CONTAINER, "filter", STAGE_1, re.compile(".*"), INTERNAL_CHAIN),
    (DROPS_BY_CONTAINER, "filter", STAGE_2, re.compile(".*"), INTERNAL_CHAIN),
    (INTERNAL_CHAIN, "filter", "FORWARD", re.compile(rf"-j {FORWARD}"), NFTABLES),
    (INTERNAL_CHAIN, "filter", FORWARD, re.compile(".*"), NFTABLES),
    (INTERNAL_CHAIN, "filter", DOCKER, re.compile(".*"), NFTABLES),
    (INTERNAL_CHAIN, "nat", DOCKER, re.compile(".*"), NFTABLES),
)


def _stale(texts: Texts, generation: Generation) -> Iterator[Stale]:
    age = GENERATIONS.index(generation)
    for by, table, chain, pattern, until in _LEFT:
        if age >= GENERATIONS.index(until):
            for number, text in enumerate(texts.get((table, chain), ()), 1):
                if pattern.fullmatch(text):
                    yield Stale(RulePlace(table, chain, number), text, by)
