"""Why a rule is dead: what takes its packets before it, or why there never were any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from netverify.dataplane.condition import Condition, all_of
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.targets import Verdict
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Rule

Key = tuple[str, str]

BEHIND = "behind-everything"
"""The kind of what stands behind a rule that takes every packet; the text is then that rule's."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A kind of `lint.Lint`, what is to be said, the rules at fault, and what to do."""

    kind: str
    text: str
    by: tuple[Place, ...] = ()
    remedy: str = ""


def whole(rule: CompiledRule) -> Condition:
    """All tests of a rule."""
    return all_of(test.condition for test in rule.tests)


def callers_first(program: Program) -> list[CompiledChain]:
    """Every chain, after all chains that call it."""
    order: list[CompiledChain] = []
    done: set[Key] = set()

    def visit(chain: CompiledChain) -> None:
        key = (chain.table, chain.name)
        if key in done:
            return
        done.add(key)
        for callee in dict.fromkeys(rule.callee for rule in chain.rules if rule.callee is not None):
            visit(program.chains[chain.table, callee])
        order.append(chain)

    for chain in program.chains.values():
        visit(chain)
    return order[::-1]


class Hooks:
    """From which chains that the kernel calls others are called; `coming` is what can come to those here."""

    def __init__(self, program: Program, sets: PacketSets, coming: Mapping[Key, Set]) -> None:
        self.sets, self.coming = sets, coming
        self._names: dict[Key, frozenset[str]] = {}
        self._led: dict[Key, Set] = dict(coming)
        self._calls: dict[Key, list[Place]] = {}
        self._here: dict[Key, Set] = {}
        for chain in callers_first(program):
            self._pass_on(chain)

    def _pass_on(self, chain: CompiledChain) -> None:
        key = (chain.table, chain.name)
        if key in self.coming:
            self._names[key] = frozenset({chain.name})
        led, names = self._led.get(key, self.sets.nothing), self._names.get(key, frozenset())
        for rule in chain.rules:
            if rule.callee is None:
                continue
            callee = (chain.table, rule.callee)
            brought = self.sets.both(led, self.sets.satisfying(whole(rule)))
            self._led[callee] = self.sets.either(self._led.get(callee, self.sets.nothing), brought)
            self._names[callee] = self._names.get(callee, frozenset()) | names
            self._calls.setdefault(callee, []).append(rule.place)

    def names(self, chain: CompiledChain) -> list[str]:
        """The kernel's own chains from which a chain is called."""
        return sorted(self._names.get((chain.table, chain.name), ()))

    def here(self, chain: CompiledChain) -> Set:
        """What could come to a chain, were every jump to it taken by everything."""
        key = (chain.table, chain.name)
        if key not in self._here:
            self._here[key] = self.sets.union([self.coming[chain.table, name] for name in self.names(chain)])
        return self._here[key]

    def led(self, chain: CompiledChain) -> Set:
        """What the jumps lead to a chain, if no rule before them took anything."""
        return self._led.get((chain.table, chain.name), self.sets.nothing)

    def calls(self, chain: CompiledChain) -> tuple[Place, ...]:
        """The rules that call a chain."""
        return tuple(dict.fromkeys(self._calls.get((chain.table, chain.name), ())))


class Causes:
    """Looks for the causes in one program."""

    def __init__(
        self,
        program: Program,
        sets: PacketSets,
        evaluator: Evaluator[Set],
        hooks: Hooks,
        entering: Mapping[Key, Set],
    ) -> None:
        self.program, self.sets, self.evaluator = program, sets, evaluator
        self.hooks, self.entering = hooks, entering
        self._rewriting = {chain.table for chain in program.chains.values() if chain.rewrites}

    def of(self, chain: CompiledChain, rule: CompiledRule) -> Cause:
        """Why no packet matches a rule of a chain that packets come to."""
        sets, key = self.sets, (chain.table, chain.name)
        own = sets.both(sets.everything, sets.satisfying(whole(rule)))
        here = self.hooks.here(chain)
        if sets.is_empty(sets.both(own, here)):
            return self._impossible(chain, rule, own, here)
        if chain.rewrites:
            text = "nothing that it matches is left, after what is taken and written before it"
            return Cause("unreached-rule", text, remedy="look at the marks that are written before it")
        left = sets.both(own, self.entering.get(key, sets.nothing))
        if not sets.is_empty(left):
            return self._shadowed(chain, left)
        led = sets.both(own, self.hooks.led(chain))
        if sets.is_empty(led) or chain.table in self._rewriting:
            text = "the jumps to its chain bring nothing that it matches"
            return Cause("unreached-rule", text, self.hooks.calls(chain), "compare it with these jumps")
        return self._taken_before(chain, led)

    # --- earlier rules --------------------------------------------------------------------------------------

    def _shadowed(self, chain: CompiledChain, left: Set) -> Cause:
        """Rules of its own chain, and of those that it calls, take what comes."""
        takers = _Takers(chain.name)
        self.evaluator.follow(chain.table, chain.name, left, takers)
        own = set(map(id, chain.rules))  # and none that is a part of one of them
        portions = [
            (rule, self._share(rule, left) if id(rule) in own else matched) for rule, matched in takers.found
        ]
        needed = list(self._needed(portions, left))
        by = tuple(dict.fromkeys(rule.place for rule in needed))
        if len(needed) == 1 and not needed[0].tests and id(needed[0]) in own:
            return Cause(BEHIND, str(needed[0].rule), by, "move them before it, or remove them")
        names = ", ".join(map(str, by))
        which = "it" if len(by) == 1 else "one of them"
        remedy = f"remove it, or move it before {which}"
        return Cause("shadowed", f"it never matches, because of {names}", by, remedy)

    def _taken_before(self, chain: CompiledChain, led: Set) -> Cause:
        """Rules of the chains that call its own take everything before the jump."""
        found: list[tuple[CompiledRule, Set]] = []
        for hook in self.hooks.names(chain):
            takers = _Takers(hook)
            packets = self.sets.both(led, self.hooks.coming[chain.table, hook])
            self.evaluator.follow(chain.table, hook, packets, takers)
            found += takers.found
        needed = self._needed(found, led)
        by = tuple(dict.fromkeys(rule.place for rule in needed))
        names = ", ".join(map(str, by)) or "policies"
        text = f"what it matches is taken before its chain is called, by {names}"
        return Cause("shadowed", text, by, "remove it, or call its chain earlier")

    def _share(self, rule: CompiledRule, packets: Set) -> Set:
        return self.sets.both(packets, self.sets.satisfying(whole(rule)))

    def _needed(self, takers: list[tuple[CompiledRule, Set]], packets: Set) -> Iterator[CompiledRule]:
        """Of rules that take all of the packets together, so few that none of them can be spared."""
        sets = self.sets
        before = [sets.nothing]
        for _rule, taken in takers:
            before.append(sets.either(before[-1], taken))
        kept: list[CompiledRule] = []
        covered = sets.nothing
        for index in reversed(range(len(takers))):
            rule, taken = takers[index]
            rest = sets.without(sets.without(packets, covered), before[index])
            if not sets.is_empty(rest):
                kept.append(rule)
                covered = sets.either(covered, taken)
        return reversed(kept)

    # --- nothing of the kind --------------------------------------------------------------------------------

    def _impossible(self, chain: CompiledChain, rule: CompiledRule, own: Set, here: Set) -> Cause:
        """No packet here can pass its tests, whatever other rules say."""
        hooks = self.hooks.names(chain)
        if isinstance(rule.rule, Rule):
            for match in rule.rule.matches:
                told = _of_device(match, hooks, self.program.host)
                if told is not None:
                    return Cause("impossible", told[0], remedy=told[1])
        for test in rule.tests:
            if self.sets.is_empty(self.sets.both(here, self.sets.satisfying(test.condition))):
                text, remedy = _of_test(test.text, hooks)
                return Cause("impossible", text, remedy=remedy)
        if self.sets.is_empty(own):
            return Cause("impossible", "its tests contradict each other", remedy="correct or remove it")
        names = ", ".join(hooks)
        text = f"no packet that comes to {names} on this host passes all of its tests"
        return Cause("impossible", text, remedy="correct or remove it")


class _Takers:
    """Notes the rules that take packets away for good: from the whole walk, or from one chain of it.

    `chain` is the chain that the packets were sent into: what it returns, it has taken.
    """

    def __init__(self, chain: str) -> None:
        self.chain = chain
        self.found: list[tuple[CompiledRule, Set]] = []

    def tested(self, rule: CompiledRule, failed: int, matched: Set, /) -> None:
        """A rule was asked about packets."""
        own = rule.place.chain == self.chain
        if failed < 0 and (
            (rule.ending is not None and (own or rule.ending is not Verdict.RETURN)) or (own and rule.goto)
        ):
            self.found.append((rule, matched))

    def reached_policy(self, chain: CompiledChain, packets: Set, /) -> None:
        """Policies are no rules."""


def _of_device(match: Match, hooks: Iterable[str], host: HostView) -> tuple[str, str] | None:
    """What is wrong with the device that a rule names, and what to do."""
    if match.name not in ("in-interface", "out-interface") or match.negated:
        return None
    name, coming = match.value, match.name == "in-interface"
    without = ("OUTPUT",) if coming else ("PREROUTING", "INPUT")
    if all(hook in without for hook in hooks):
        says = "come in by a device" if coming else "have a device to leave by yet"
        return f"packets of {', '.join(hooks)} do not {says}", f"remove the test of {name}"
    if name.endswith("+"):
        if not any(link.name.startswith(name[:-1]) for link in host.links):
            return f"this host has no device {name}", "correct the name, or remove the rule"
        return None
    if not host.has_link(name):
        return f"this host has no device {name}", "correct the name, or remove the rule"
    link = host.link(name)
    if link.master is not None:
        option, side = ("-i", "in") if coming else ("-o", "out")
        text = f"{name} is a port of {link.master}, which is what its packets come and go by"
        return text, f"write {option} {link.master}, or -m physdev --physdev-{side} {name}"
    return None if link.up else (f"device {name} is down", "set it up, or remove the rule")


def _of_test(text: str, hooks: list[str]) -> tuple[str, str]:
    """What is wrong with a test that no packet passes, and what to do."""
    if text.startswith(("-d ", "-m addrtype --dst-type LOCAL")) and hooks == ["FORWARD"]:
        said = f"nothing that is forwarded passes {text}: packets to the host itself go to INPUT"
        return said, "move it to INPUT, or ask for the address before translation: -m conntrack --ctorigdst"
    if text.startswith("-d ") and hooks == ["INPUT"]:
        return f"nothing that is delivered here passes {text}", "move it to FORWARD, or correct the address"
    names = ", ".join(hooks)
    return f"nothing that comes to {names} on this host passes {text}", "correct or remove it"
