"""Rules that do nothing, or not what they say: shadowed, impossible here, unreached, jumps to nothing.

A rule is dead when no packet that can come to its chains on this host (`arrivals`) matches it after all that
stands before. Why it is dead is another question, which `lint_causes` answers for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from netverify.dataplane.arrivals import Arrivals
from netverify.dataplane.errors import DataplaneError
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_alive import Alive
from netverify.dataplane.lint_calls import Hooks
from netverify.dataplane.lint_causes import BEHIND, Causes
from netverify.dataplane.nft.compiler import table_key
from netverify.dataplane.packet import TCP, UDP
from netverify.dataplane.program import CompiledRule, Place, Program
from netverify.dataplane.sets import CAPACITY, OTHER, PacketSets, with_room
from netverify.dataplane.starts import starts
from netverify.dataplane.targets import TARGETS, Nat
from netverify.dataplane.view import LOOPBACK
from netverify.ruleset import NftPlace, Rule, RulePlace
from netverify.ruleset.vocabulary import TARGETS as KNOWN_TARGETS


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


def lint(program: Program, *, sets: PacketSets | None = None, capacity: int = CAPACITY) -> list[Lint]:
    """Everything that can be said of a ruleset on its host, by tables and chains.

    Of a host of which nothing but lo is known, any device may be there. `capacity` is the room to begin with
    (`encoding.with_room`). Who has asked an `Evaluator` about the program before may give the sets that it
    was asked over: what is known of the chains then is not computed again. They must be those of `sets_of`,
    with room enough for both. Raises DataplaneError when they are not of the program's host.
    """
    if sets is None:
        return _told(with_room(partial(_in_room, program), capacity=capacity))
    devices = {link.name for link in program.host.links}
    version = 4 if program.ruleset.family == "ipv4" else 6
    if (
        sets.version != version
        or (OTHER in sets.devices) == _is_known(program)
        or devices - set(sets.devices)
    ):
        raise DataplaneError(
            f"lint of host {program.host.name}: give the packet sets of this host, by sets_of"
        )
    return _told(_lint(program, sets))


def sets_of(program: Program, capacity: int = CAPACITY) -> PacketSets:
    """The packets that lint is about: those of the host's own devices, where these are known."""
    return PacketSets.of(program, others=not _is_known(program), capacity=capacity)


def lint_both(first: Program, second: Program, *, capacity: int = CAPACITY) -> list[Lint]:
    """As `lint` for native rules of nftables, compiled for IPv4 and for IPv6, in this order.

    What is in a table of family inet does nothing only where it does nothing to packets of either version.
    """
    both = [with_room(partial(_in_room, program), capacity=capacity) for program in (first, second)]
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


def _is_known(program: Program) -> bool:
    return any(link.name != LOOPBACK for link in program.host.links)


def _in_room(program: Program, capacity: int) -> _Found:
    return _lint(program, sets_of(program, capacity))


def _lint(program: Program, sets: PacketSets) -> _Found:
    arrivals = Arrivals(program.host, sets, lenient=True)

    coming = {
        key: arrivals.starting(key[0], start) if _is_known(program) else sets.entering(start.hook)
        for key, start in starts(program).items()
    }
    evaluator = Evaluator(program, sets)
    hooks = Hooks(program, sets, coming)
    alive = Alive(program, sets, evaluator, hooks)
    causes = Causes(program, sets, evaluator, hooks, alive.coming)
    lints = [*_jumps(program), *_chains(program, hooks, alive), *_rules(program, alive, causes)]
    dead = {rule.place for chain in program.chains.values() for rule in chain.rules} - alive.matched
    return _Found([*lints, *_pre_dnat(program)], dead)


def _rules(program: Program, alive: Alive, causes: Causes) -> Iterator[Lint]:
    """The dead rules of the chains that packets come to."""
    chains = [chain for key, chain in program.chains.items() if not chain.is_part and key in alive.coming]
    dead = [(chain, rule) for chain in chains for rule in chain.rules if rule.place not in alive.matched]
    for (_chain, rule), cause in zip(dead, causes.of(dead), strict=True):
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


def _chains(program: Program, hooks: Hooks, alive: Alive) -> Iterator[Lint]:
    asleep = {table_key(table) for table in program.host.nft.tables if table.is_dormant}
    for key, chain in program.chains.items():
        if key in hooks.coming or not chain.rules or chain.is_part or key[0] in asleep:
            continue
        name = chain.name
        if key not in alive.coming:
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
