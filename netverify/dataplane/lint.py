"""Rules that do nothing, or not what they say: shadowed, impossible here, unreached, jumps to nothing.

A rule is dead when no packet that can come to its chains on this host (`arrivals`) matches it after all that
stands before. Why it is dead is another question, which `lint_causes` answers for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_causes import Causes, Hooks, callers_first, whole
from netverify.dataplane.packet import TCP, UDP
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.sets import CAPACITY, PacketSets, Set, with_room
from netverify.dataplane.targets import TARGETS, Nat
from netverify.dataplane.view import LOOPBACK
from netverify.dataplane.witness import Witnesses
from netverify.ruleset import RulePlace
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
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
    place: RulePlace
    text: str
    by: tuple[RulePlace, ...] = ()
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" + (f" ({self.remedy})" if self.remedy else "")


def lint(program: Program, *, capacity: int = CAPACITY) -> list[Lint]:
    """Everything that can be said of a ruleset on its host, by tables and chains.

    Of a host of which nothing but lo is known, any device may be there. `capacity` is the room to begin with
    (`encoding.with_room`).
    """
    return with_room(lambda room: _lint(program, room), capacity=capacity)


def _lint(program: Program, capacity: int) -> list[Lint]:
    known = any(link.name != LOOPBACK for link in program.host.links)
    sets = PacketSets.of(program, others=not known, capacity=capacity)
    arrivals = Arrivals(program.host, sets, lenient=True)

    def at(chain: CompiledChain) -> Set:
        return arrivals.at(chain.table, chain.name) if known else sets.entering(chain.name)

    coming = {key: at(chain) for key, chain in program.chains.items() if key[1] in BUILTIN_CHAINS[key[0]]}
    evaluator = Evaluator(program, sets)
    hooks = Hooks(program, sets, coming)
    seen = _Seen(sets, dict(coming))
    for chain in callers_first(program):
        entering = seen.entering.get((chain.table, chain.name), sets.nothing)
        if not sets.is_empty(entering):
            _inspect(chain, entering, hooks.here(chain), evaluator, seen)
    causes = Causes(program, sets, evaluator, hooks, seen.entering)
    found = [*_jumps(program), *_chains(program, sets, seen)]
    for key, chain in program.chains.items():
        if not sets.is_empty(seen.entering.get(key, sets.nothing)):
            found += _grouped(chain, _rules(chain, seen, causes))
    found += _pre_dnat(program)
    return sorted(found, key=lambda each: each.place)


class _Seen:
    """Which rules some packet matched, and what comes to each chain."""

    def __init__(self, sets: PacketSets, entering: dict[Key, Set]) -> None:
        self.sets = sets
        self.matched: set[RulePlace] = set()
        self.entering = entering

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        """Take down that packets matched a rule, and that they come to the chain that it calls."""
        if failed >= 0 or not isinstance(rule.place, RulePlace):
            return
        self.matched.add(rule.place)
        if rule.callee is not None:
            key = (rule.place.table, rule.callee)
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
        if rule.callee is None and isinstance(rule.place, RulePlace):
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
        if isinstance(rule.place, RulePlace) and rule.place not in seen.matched:
            cause = causes.of(chain, rule)
            yield Lint(cause.kind, rule.place, f"{cause.text}: {rule.rule}", cause.by, cause.remedy)


def _grouped(chain: CompiledChain, found: Iterator[Lint]) -> Iterator[Lint]:
    """What stands behind a rule that takes everything is one finding, not one for each rule."""
    behind: dict[RulePlace, list[Lint]] = {}
    for each in found:
        if each.kind == "behind-everything":
            behind.setdefault(each.by[0], []).append(each)
        else:
            yield each
    for place, lints in behind.items():
        first, last = lints[0].place, lints[-1].place
        which = f"rule {first.number}" if len(lints) == 1 else f"rules {first.number} to {last.number}"
        taking = chain.rules[place.number - 1].rule
        text = f"{which} of chain {chain.name} are never reached: rule {place.number} takes every packet"
        yield replace(lints[0], text=f"{text}: {taking}")


def _jumps(program: Program) -> Iterator[Lint]:
    for place, rule in program.ruleset.rules():
        target = rule.target
        if target is None or program.ruleset.table(place.table).callee(rule) is not None:
            continue
        unheard = target.name not in KNOWN_TARGETS and target.name not in TARGETS
        if target.goto or (unheard and not target.options):
            remedy = f"declare the chain with ':{target.name} - [0:0]', or remove the rule"
            text = f"there is no chain {target.name} in table {place.table}: {rule}"
            yield Lint("jump-to-nothing", place, text, remedy=remedy)


def _chains(program: Program, sets: PacketSets, seen: _Seen) -> Iterator[Lint]:
    for (table, name), chain in program.chains.items():
        if name in BUILTIN_CHAINS[table] or not chain.rules or chain.is_part:
            continue
        if sets.is_empty(seen.entering.get((table, name), sets.nothing)):
            callers = tuple(
                place
                for place, rule in program.ruleset.rules()
                if place.table == table and rule.target is not None and rule.target.name == name
            )
            text = f"no packet comes to chain {name}, so that its {len(chain.rules)} rules do nothing"
            why = "no rule jumps to it" if not callers else "the rules that jump to it match nothing"
            remedy = "remove the chain, or jump to it" if not callers else "look at the rules that jump to it"
            yield Lint("unreached-chain", RulePlace(table, name, 0), f"{text}: {why}", callers, remedy)


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
