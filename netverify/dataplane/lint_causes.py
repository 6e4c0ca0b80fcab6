"""Why a rule is dead: what takes its packets before it, or why there never were any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.lint_alive import Coming
from netverify.dataplane.lint_calls import Hooks, whole
from netverify.dataplane.lint_takers import Early, EarlyTakers, Takers, needed
from netverify.dataplane.program import CompiledChain, CompiledRule, Place, Program
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.view import HostView
from netverify.ruleset import Match, Rule

BEHIND = "behind-everything"
"""The kind of what stands behind a rule that takes every packet; the text is then that rule's."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A kind of `lint.Lint`, what is to be said, the rules at fault, and what to do."""

    kind: str
    text: str
    by: tuple[Place, ...] = ()
    remedy: str = ""


class Causes:
    """Looks for the causes in one program."""

    def __init__(
        self, program: Program, sets: PacketSets, evaluator: Evaluator[Set], hooks: Hooks, coming: Coming
    ) -> None:
        self.program, self.sets, self.evaluator = program, sets, evaluator
        self.hooks, self.coming = hooks, coming
        self._rewriting = {chain.table for chain in program.chains.values() if chain.rewrites}

    def of(self, dead: Iterable[tuple[CompiledChain, CompiledRule]]) -> list[Cause]:
        """Why no packet matches each of some rules, of chains that packets come to."""
        found = [self._of(chain, rule) for chain, rule in dead]
        early = [each for each in found if isinstance(each, Early)]
        EarlyTakers(self.program, self.sets, self.evaluator, self.hooks).find(early)
        return [_taken_before(each) if isinstance(each, Early) else each for each in found]

    def _of(self, chain: CompiledChain, rule: CompiledRule) -> Cause | Early:
        """The cause, or the packets whose takers are to be found for many rules at once."""
        sets, key = self.sets, (chain.table, chain.name)
        own = sets.both(sets.everything, sets.satisfying(whole(rule)))
        here = self.hooks.here(chain)
        if sets.is_empty(sets.both(own, here)):
            return self._impossible(chain, rule, own, here)
        if chain.rewrites:
            text = "nothing that it matches is left, after what is taken and written before it"
            return Cause("unreached-rule", text, remedy="look at the marks that are written before it")
        left = self.coming.cut(key, own)
        if not sets.is_empty(left):
            return self._shadowed(chain, left)
        led = sets.both(own, self.hooks.led(chain))
        if sets.is_empty(led) or chain.table in self._rewriting:
            text = "the jumps to its chain bring nothing that it matches"
            return Cause("unreached-rule", text, self.hooks.calls(chain), "compare it with these jumps")
        return Early(chain, led)

    def _shadowed(self, chain: CompiledChain, left: Set) -> Cause:
        """Rules of its own chain, and of those that it calls, take what comes."""
        sets, takers = self.sets, Takers(chain.name)
        self.evaluator.follow(chain.table, chain.name, left, takers)
        own = set(map(id, chain.rules))  # and none that is a part of one of them
        portions = [
            (rule, sets.both(left, sets.satisfying(whole(rule))) if id(rule) in own else matched)
            for rule, matched in takers.found
        ]
        kept = needed(sets, portions, left)
        by = tuple(dict.fromkeys(rule.place for rule in kept))
        if len(kept) == 1 and not kept[0].tests and id(kept[0]) in own:
            return Cause(BEHIND, str(kept[0].rule), by, "move them before it, or remove them")
        names = ", ".join(map(str, by))
        which = "it" if len(by) == 1 else "one of them"
        remedy = f"remove it, or move it before {which}"
        return Cause("shadowed", f"it never matches, because of {names}", by, remedy)

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


def _taken_before(early: Early) -> Cause:
    """Rules of the chains that call its own take everything before the jump."""
    by = tuple(dict.fromkeys(rule.place for rule in early.by))
    names = ", ".join(map(str, by)) or "policies"
    text = f"what it matches is taken before its chain is called, by {names}"
    return Cause("shadowed", text, by, "remove it, or call its chain earlier")


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
