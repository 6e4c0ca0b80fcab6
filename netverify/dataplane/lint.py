"""Rules that do nothing, or not what they say: shadowed, impossible here, unreached, jumps to nothing.

A rule is dead when no packet that can come to its chains on this host (`arrivals`) matches it after all that
stands before. Why it is dead is another question, which `lint_causes` answers for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_causes import BEHIND, Causes, Hooks, callers_first, whole
from netverify.dataplane.nft.compiler import table_key
from netverify.dataplane.packet import TCP, UDP
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program, table_of
from netverify.dataplane.sets import CAPACITY, PacketSets, Set, with_room
from netverify.dataplane.starts import starts
from netverify.dataplane.targets import TARGETS, Nat
from netverify.dataplane.view import LOOPBACK
from netverify.dataplane.witness import Witnesses
from netverify.ruleset import NftPlace, Rule, RulePlace
from netverify.ruleset.vocabulary import TARGETS as KNOWN_TARGETS

Key = tuple[str, str]

SHORT = 64
"""Rules of a chain that is followed rule by rule, with everything that enters it."""


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding: which rule (a number 0 is the chain itself), what is wrong, and the rules that cause it.

    `kind` is shadowed, behind-everything, impossible, unreached-rule, unreached-chain, jump-to-nothing or
    pre-dnat-port. `by` holds only rules that are needed: without any of them, the rest no longer causes it.
    `remedy` says what to do.
    """

    kind: str
    place: Place
    text: str
    by: tuple[Place, ...] = ()
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" + (f" ({self.remedy})" if self.remedy else "")


def lint(program: Program, *, capacity: int = CAPACITY) -> list[Lint]:
    """Everything that can be said of a ruleset on its host, by tables and chains.

    Of a host of which nothing but lo is known, any device may be there. `capacity` is the room to begin with
    (`encoding.with_room`).
    """
    return _told(with_room(lambda room: _lint(program, room), capacity=capacity))


def lint_both(first: Program, second: Program, *, capacity: int = CAPACITY) -> list[Lint]:
    """As `lint` for native rules of nftables, compiled for IPv4 and for IPv6, in this order.

    What is in a table of family inet does nothing only where it does nothing to packets of either version.
    """
    both = [
        with_room(lambda room, program=program: _lint(program, room), capacity=capacity)  # type: ignore[misc]
        for program in (first, second)
    ]
    return _told(_Found.of_both(both[0], both[1]))


@dataclass
class _Found:
    """What a program's rules are found to be; `dead` holds the rules that no packet matches."""

    lints: list[Lint] = field(default_factory=list)
    dead: set[Place] = field(default_factory=set)

    @classmethod
    def of_both(cls, first: _Found, second: _Found) -> _Found:
        """All of what concerns one IP version alone, and of what concerns both, that which both find."""
        found: dict[Place, Lint] = {}
        for own, other in ((first, second), (second, first)):
            silent = {each.place for each in other.lints if each.place.number == 0} | other.dead
            for each in own.lints:
                if isinstance(each.place, NftPlace) and each.place.family == "inet":
                    known = found.get(each.place)
                    # A test of one IP version cannot hold in the other, which is not what is wrong with it.
                    worse = known is None or (known.kind == "impossible" and each.kind != "impossible")
                    if each.place not in silent or not worse:
                        continue
                found[each.place] = each
        return cls(list(found.values()), first.dead | second.dead)


def _told(found: _Found) -> list[Lint]:
    """In order, with what stands behind a rule that takes everything put together."""
    return sorted(_grouped(sorted(found.lints, key=lambda each: each.place)), key=lambda each: each.place)


def _lint(program: Program, capacity: int) -> _Found:
    known = any(link.name != LOOPBACK for link in program.host.links)
    sets = PacketSets.of(program, others=not known, capacity=capacity)
    arrivals = Arrivals(program.host, sets, lenient=True)

    coming = {
        key: arrivals.starting(key[0], start) if known else sets.entering(start.hook)
        for key, start in starts(program).items()
    }
    evaluator = Evaluator(program, sets)
    hooks = Hooks(program, sets, coming)
    seen = _Seen(sets, dict(coming))
    for chain in callers_first(program):
        entering = seen.entering.get((chain.table, chain.name), sets.nothing)
        if not sets.is_empty(entering):
            _inspect(chain, entering, hooks.here(chain), evaluator, seen)
    causes = Causes(program, sets, evaluator, hooks, seen.entering)
    found = _Found([*_jumps(program), *_chains(program, hooks, seen)])
    for key, chain in program.chains.items():
        found.dead |= {rule.place for rule in chain.rules} - seen.matched
        if not chain.is_part and not sets.is_empty(seen.entering.get(key, sets.nothing)):
            found.lints += _rules(chain, seen, causes)
    found.lints += _pre_dnat(program)
    return found


class _Seen:
    """Which rules some packet matched, and what comes to each chain."""

    def __init__(self, sets: PacketSets, entering: dict[Key, Set]) -> None:
        self.sets = sets
        self.matched: set[Place] = set()
        self.entering = entering

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        """Take down that packets matched a rule, and that they come to the chain that it calls."""
        if failed >= 0:
            return
        self.matched.add(rule.place)
        if rule.callee is not None:
            key = (table_of(rule.place), rule.callee)
            self.entering[key] = self.sets.either(self.entering.get(key, self.sets.nothing), matched)

    def reached_policy(self, chain: CompiledChain, packets: Set, /) -> None:
        """Policies are no rules."""


def _inspect(chain: CompiledChain, entering: Set, here: Set, evaluator: Evaluator[Set], seen: _Seen) -> None:
    """Take down which rules of a chain some of the packets match.

    What enters a chain, and what its rules leave, can be large sets, and there may be thousands of rules. So
    a few packets are tried first: one that is found to come and to match proves that a rule is alive.
    """
    if chain.rewrites or len(chain.rules) <= SHORT:  # where it writes, a rule depends on those before it
        evaluator.inspect(chain, entering, seen)
        return
    sets = seen.sets
    witnesses = Witnesses(sets)
    for index, rule in enumerate(chain.rules):
        own = sets.both(sets.satisfying(whole(rule)), here)
        if sets.is_empty(own):
            continue
        if rule.callee is None:
            passing, left = evaluator.way_to(chain, index, own)
            if witnesses.any_in(passing, [entering, *left]):
                seen.matched.add(rule.place)
                continue
        own = sets.both(own, entering)
        matched = own if sets.is_empty(own) else evaluator.reaching(chain, index, own)
        seen.tested(rule, 0 if sets.is_empty(matched) else -1, matched)


def _rules(chain: CompiledChain, seen: _Seen, causes: Causes) -> Iterator[Lint]:
    """The dead rules of a chain that packets come to."""
    for rule in chain.rules:
        if rule.place not in seen.matched:
            cause = causes.of(chain, rule)
            text = cause.text if cause.kind == BEHIND else f"{cause.text}: {rule.rule}"
            yield Lint(cause.kind, rule.place, text, cause.by, cause.remedy)


def _grouped(found: Iterable[Lint]) -> Iterator[Lint]:
    """What stands behind a rule that takes everything is one finding, not one for each rule."""
    behind: dict[Place, list[Lint]] = {}
    for each in found:
        if each.kind == BEHIND:
            behind.setdefault(each.by[0], []).append(each)
        else:
            yield each
    for place, lints in behind.items():
        first, last = lints[0].place, lints[-1].place
        which = f"rule {first.number}" if len(lints) == 1 else f"rules {first.number} to {last.number}"
        verb = "is" if len(lints) == 1 else "are"
        text = f"{which} of chain {place.chain} {verb} never reached: rule {place.number} takes every packet"
        yield replace(lints[0], text=f"{text}: {lints[0].text}")


def _jumps(program: Program) -> Iterator[Lint]:
    for each in (rule for chain in program.chains.values() for rule in chain.rules):
        target = each.rule.target if isinstance(each.rule, Rule) else None
        if target is None or each.callee is not None:
            continue
        unheard = target.name not in KNOWN_TARGETS and target.name not in TARGETS
        if target.goto or (unheard and not target.options):
            remedy = f"declare the chain with ':{target.name} - [0:0]', or remove the rule"
            text = f"there is no chain {target.name} in table {each.place.table}: {each.rule}"
            yield Lint("jump-to-nothing", each.place, text, remedy=remedy)


def _chains(program: Program, hooks: Hooks, seen: _Seen) -> Iterator[Lint]:
    asleep = {table_key(table) for table in program.host.nft.tables if table.is_dormant}
    for key, chain in program.chains.items():
        if key in hooks.coming or not chain.rules or chain.is_part or key[0] in asleep:
            continue
        name, sets = chain.name, seen.sets
        if sets.is_empty(seen.entering.get(key, sets.nothing)):
            callers = hooks.calls(chain)
            text = f"no packet comes to chain {name}, so that its {len(chain.rules)} rules do nothing"
            why = "no rule jumps to it" if not callers else "the rules that jump to it match nothing"
            remedy = "remove the chain, or jump to it" if not callers else "look at the rules that jump to it"
            yield Lint("unreached-chain", chain.policy_place, f"{text}: {why}", callers, remedy)


# --- Docker -------------------------------------------------------------------------------------------------


def _pre_dnat(program: Program) -> Iterator[Lint]:
    """DOCKER-USER sees packets after destination translation, so a published host port is not to be seen."""
    user, nat = program.chain("filter", "DOCKER-USER"), program.chain("nat", "DOCKER")
    if user is None or nat is None:
        return
    published: dict[tuple[int, int], tuple[RulePlace, int]] = {}
    inside: set[tuple[int, int]] = set()
    for rule in nat.rules:
        if isinstance(rule.ending, Nat) and rule.ending.ports is not None:
            for protocol, port in _ports(rule):
                inside.add((protocol, rule.ending.ports[0]))
                if isinstance(rule.place, RulePlace):
                    published.setdefault((protocol, port), (rule.place, rule.ending.ports[0]))
    for rule in user.rules:
        for service in _ports(rule):
            if service in published and service not in inside and isinstance(rule.place, RulePlace):
                by, container_port = published[service]
                port = service[1]
                text = f"port {port} is published, and already translated when a packet comes here"
                remedy = (
                    f"ask for the container's port, {container_port}, or for the original one: "
                    f"-m conntrack --ctorigdstport {port} --ctdir ORIGINAL"
                )
                yield Lint("pre-dnat-port", rule.place, f"{text}: {rule.rule}", (by,), remedy)


_NUMBERS = {"tcp": TCP, "udp": UDP, "sctp": 132, "dccp": 33}


def _ports(rule: CompiledRule) -> Iterator[tuple[int, int]]:
    """The single destination ports that a rule asks for, with their protocol; both, where it names none."""
    matches = {match.name: match for match in getattr(rule.rule, "matches", ())}
    named = matches.get("protocol")
    numbers = (
        [_NUMBERS[named.value]] if named and named.value in _NUMBERS and not named.negated else [TCP, UDP]
    )
    for match in matches.values():
        for option in match.options:
            if option.name in ("dport", "dports") and not option.negated:
                ports = [int(port) for port in option.value.split(",") if port.isdecimal()]
                yield from ((number, port) for port in ports for number in numbers)
