"""Which packets an edit can affect: all others meet the same rules as before, and need not be looked at.

Follow one packet through both versions of a chain. Its ways part, if at all, first where it matches a rule
that only one version has, or where it enters a called chain that treats it otherwise than before. So the
packets that come to such a rule and match it, and those that an edit of a called chain affects, are all that
can leave otherwise; and the chains themselves need not be evaluated anew. The set found may hold too much.
"""

from __future__ import annotations

from collections.abc import Mapping

from netverify.dataplane.alignment import Edit, Place
from netverify.dataplane.condition import all_of, equals
from netverify.dataplane.decided import Decided
from netverify.dataplane.entry import fields_of, forget
from netverify.dataplane.evaluator import Evaluator, Exits
from netverify.dataplane.narrow import Leaving
from netverify.dataplane.packet import State
from netverify.dataplane.program import CompiledChain, CompiledRule, Program
from netverify.dataplane.segments import called_by
from netverify.dataplane.sets import PacketSets, Set
from netverify.dataplane.starts import Start
from netverify.dataplane.targets import Verdict

_MANY = 64  # changed rules of one chain from which on it pays to evaluate both versions whole


class Affected:
    """The packets whose way through a chain may have changed, chain by chain."""

    def __init__(
        self, old: Evaluator[Set], new: Evaluator[Set], edits: Mapping[Place, Edit], sets: PacketSets
    ) -> None:
        self._runs = old, new
        self._edits = edits
        self._sets = sets
        self._known: dict[Place, Set] = {}
        self._opaque: dict[tuple[int, Place], bool] = {}

    def entering(self, where: Place, start: Start) -> Set:
        """The packets that, sent into one of the kernel's own chains, may meet another fate than before."""
        found = self.of(where)
        old, new = (run.program.chain(*where) for run in self._runs)
        policies = [Verdict.ACCEPT if chain is None else chain.policy for chain in (old, new)]
        if policies[0] != policies[1]:
            found = found | self._at_end(old, self._runs[0])
        if start.first_only:  # nf_nat_inet_fn in nf_nat_core.c asks for new and related connections
            begins = equals("state", int(State.NEW), int(State.RELATED))
            found = found & self._sets.satisfying(begins)
        return found & self._sets.entering(start.hook)

    def of(self, where: Place) -> Set:
        """The packets that may leave a chain otherwise than before, among all that could be sent into it."""
        known = self._known.get(where)
        if known is None:
            known = self._known[where] = self._find(where)
        return known

    def _find(self, where: Place) -> Set:
        sets = self._sets
        chains = old, new = tuple(run.program.chain(*where) for run in self._runs)
        found = sets.nothing
        if old is not None and new is not None:
            for name in called_by(self._runs[0].program, old):
                if (where[0], name) in self._runs[1].program.chains:
                    found = found | self.of((where[0], name))
        edit = self._edits.get(where, Edit())
        changed = len(edit.removed) + len(edit.added)
        writes = any(chain is not None and chain.rewrites for chain in chains)
        if writes:
            for chain, run, indices in zip(chains, self._runs, (edit.removed, edit.added), strict=True):
                for index in indices:
                    found = found | self._touched(chain, index, run)
            return forget(sets, found, self._written(where))
        plain = self.is_plain(*where)
        if changed > _MANY and plain:
            return found | self._differing(old, new)
        for chain, run, indices in zip(chains, self._runs, (edit.removed, edit.added), strict=True):
            for index in indices:
                touched = self._touched(chain, index, run)
                if chain is not None and not sets.is_empty(touched):
                    found = found | run.reaching(chain, index, touched)
        if plain and self._returns_early(chains, edit) and not sets.is_empty(found):
            found = self._differing_among(found, old, new)
        return found

    def _returns_early(self, chains: tuple[CompiledChain | None, ...], edit: Edit) -> bool:
        """Whether a changed rule of a user's chain returns: what it takes may return at the end anyway."""
        return any(
            chain is not None
            and chain.policy is Verdict.FALL
            and any(chain.rules[index].ending is Verdict.RETURN for index in indices)
            for chain, indices in zip(chains, (edit.removed, edit.added), strict=True)
        )

    def _touched(self, chain: CompiledChain | None, index: int, run: Evaluator[Set]) -> Set:
        """The packets that match a rule and do not go on as if it were not there."""
        sets = self._sets
        if chain is None:
            return sets.nothing
        rule = chain.rules[index]
        if _is_idle(rule):
            return sets.nothing
        matched = sets.everything & sets.satisfying(all_of(test.condition for test in rule.tests))
        if rule.callee is None or rule.goto or rule.part or rule.last:
            return matched
        callee = run.program.chains[chain.table, rule.callee]
        if self._is_opaque(self._runs.index(run), (callee.table, callee.name)):
            return matched
        exits = run.summary(callee)
        back = exits.get(Verdict.FALL, sets.nothing) | exits.get(Verdict.RETURN, sets.nothing)
        return matched & ~back

    def _differing(self, old: CompiledChain | None, new: CompiledChain | None) -> Set:
        """Exactly the packets that leave two versions of a chain by different endings."""
        before, after = (
            _falls(self._sets) if chain is None else _back(run.summary(chain), self._sets)
            for chain, run in zip((old, new), self._runs, strict=True)
        )
        same = self._sets.nothing
        for ending, packets in before.items():
            if ending in after:
                same = same | (packets & after[ending])
        return self._sets.everything & ~same

    def _differing_among(self, packets: Set, old: CompiledChain | None, new: CompiledChain | None) -> Set:
        """Which of some packets leave two versions of a user's chain by different endings.

        The same as what `_differing` has of them, without asking what becomes of all others.
        """
        before, after = (
            Decided.apart(self._sets, packets, {(None, Verdict.FALL): packets})
            if chain is None
            else Leaving(run, self._sets, chain, packets).decided()
            for chain, run in zip((old, new), self._runs, strict=True)
        )
        return packets & ~before.same(after)

    def _at_end(self, chain: CompiledChain | None, run: Evaluator[Set]) -> Set:
        """The packets that come to the policy."""
        if chain is None or chain.rewrites:
            return self._sets.everything
        exits = run.summary(chain)
        nothing = self._sets.nothing
        return exits.get(Verdict.FALL, nothing) | exits.get(Verdict.RETURN, nothing)

    def is_plain(self, table: str, name: str) -> bool:
        """Whether a chain neither writes nor does what is not modelled, on either side."""
        return not any(self._is_opaque(side, (table, name)) for side in (0, 1))

    def _is_opaque(self, side: int, where: Place) -> bool:
        """Whether a chain, or one that it calls, writes or does what is not modelled: endings are not all."""
        known = self._opaque.get((side, where))
        if known is None:
            program = self._runs[side].program
            chain = program.chain(*where)
            known = chain is not None and (
                chain.rewrites
                or any(rule.not_modelled for rule in chain.rules)
                or any(self._is_opaque(side, (where[0], name)) for name in called_by(program, chain))
            )
            self._opaque[side, where] = known
        return known

    def _written(self, where: Place) -> set[str]:
        """The fields that a chain writes, in either version."""
        return {field for run in self._runs for field in written_fields(run.program, where)}


def written_fields(program: Program, where: Place) -> set[str]:
    """The fields that a chain, or one that it calls, writes."""
    found: set[str] = set()
    waiting, seen = [where], {where}
    while waiting:
        chain = program.chain(*waiting.pop())
        if chain is None or not chain.rewrites:
            continue
        found |= {
            name for rule in chain.rules if rule.rewrite is not None for name in fields_of(rule.rewrite)
        }
        called = {(where[0], name) for name in called_by(program, chain)} - seen
        seen |= called
        waiting += called
    return found


def _is_idle(rule: CompiledRule) -> bool:
    """Whether a packet that matches a rule goes on as one that does not."""
    does = (rule.ending, rule.rewrite, rule.callee)
    return does == (None, None, None) and not rule.last and not rule.not_modelled


def _back(exits: Exits[Set], sets: PacketSets) -> Exits[Set]:
    """Exits of a chain as its caller sees them: a packet that returns is one that came to the end."""
    exits[Verdict.FALL] = exits.get(Verdict.FALL, sets.nothing) | exits.pop(Verdict.RETURN, sets.nothing)
    return exits


def _falls(sets: PacketSets) -> Exits[Set]:
    return {Verdict.FALL: sets.everything}
