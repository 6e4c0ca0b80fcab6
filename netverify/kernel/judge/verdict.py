"""Kernel and model held against each other, and a disagreement cut down to what it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

from netverify.dataplane.packet import Packet
from netverify.kernel.firewall import FirewallError
from netverify.kernel.judge import site
from netverify.kernel.judge.case import Case
from netverify.kernel.judge.foretell import ByChance, Maker, foretell, model
from netverify.kernel.judge.stand import Outcome, Sighting, Stand
from netverify.ruleset import Chain, RulePlace, Ruleset, Table

T = TypeVar("T")
_TRIALS = 20  # on one judged host, while a case is shrunk


@dataclass(frozen=True)
class Disagreement:
    """A case over which kernel and model are not of one mind, and what each of them says."""

    case: Case
    differences: tuple[str, ...]

    def __str__(self) -> str:
        rules = self.case.rules.render().rstrip()
        settings = [f"sysctl {name} = {value}" for name, value in self.case.settings.items()]
        packets = [f"packet {number}: {shot}" for number, shot in enumerate(self.case.shots)]
        title = f"iptables-{self.case.backend.value}, {self.case.rules.family}"
        return "\n".join((title, rules, *settings, *packets, *self.differences))


def judge(
    stand: Stand, case: Case, make: Maker = model, *, told: Outcome | None = None
) -> Disagreement | None:
    """Have the kernel decide a case; None where the model says the same. `told` is what it said already."""
    found = differences(case, stand.fire(case), foretell(case, make) if told is None else told)
    return Disagreement(case, found) if found else None


def differences(case: Case, seen: Outcome, told: Outcome) -> tuple[str, ...]:
    """Where the two outcomes differ, in words: first the packets, then the counters."""
    lines: list[str] = []
    for number, shot in enumerate(case.shots):
        kernel, foretold = Counter(seen.sightings[number]), Counter(told.sightings[number])
        if kernel != foretold:
            lines.append(f"packet {number} ({shot.packet})")
            lines += _listed("kernel", kernel - foretold)
            lines += _listed("model", foretold - kernel)
    for place in sorted(seen.counts.keys() | told.counts.keys()):
        kernel_count, model_count = seen.counts.get(place), told.counts.get(place)
        if kernel_count != model_count:
            lines.append(
                f"{place}: kernel {_counted(kernel_count)}, model {_counted(model_count)}"
                + ("" if place.is_policy else f"  {_rule_text(case, place.table, place.chain, place.number)}")
            )
    lines += (f"kernel: nobody's packet: {_text(stray)}" for stray in seen.strays)
    return tuple(lines)


def shrink(disagreement: Disagreement, stands: Callable[[], Stand], make: Maker = model) -> Disagreement:
    """The smallest part of a case that still shows a disagreement: its packets first, then its rules.

    `stands` makes judged hosts, a new one after some trials, for what a host remembers of its peers for
    longer than a trial. Delta debugging after Zeller and Hildebrandt (2002): parts are left out as long as
    the case stays wrong.
    """
    with _Trials(stands, make, disagreement) as trials:
        before: Case | None = None
        while before != trials.best.case:
            before = trials.best.case
            _fewer_shots(trials)
            _fewer_rules(trials)
            _fewer_tables(trials)
        return trials.best


class _Trials:
    """Cases that are tried one after the other; `best` is the last one that still was wrong."""

    def __init__(self, stands: Callable[[], Stand], make: Maker, best: Disagreement) -> None:
        self._stands, self._make, self.best = stands, make, best
        self._stack = ExitStack()
        self._stand: Stand | None = None
        self._left = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def holds(self, **changes: Any) -> bool:
        """Whether the best case with these changes is wrong as well; then it is the best one."""
        if not self._left or self._stand is None:
            self._stack.close()
            self._stand, self._left = self._stack.enter_context(self._stands()), _TRIALS
        case = replace(self.best.case, **changes)
        held_back = any(shot.packet.source in site.ONCE for shot in case.shots)
        self._left = 0 if held_back else self._left - 1
        try:
            found = judge(self._stand, case, self._make)
        except (FirewallError, ByChance):
            return False  # a jump to a chain that was left out, or nothing that could be foretold
        if found is not None:
            self.best = found
        return found is not None


def _fewer_shots(trials: _Trials) -> None:
    _minimised(trials.best.case.shots, lambda kept: trials.holds(shots=tuple(kept)))


def _fewer_rules(trials: _Trials) -> None:
    rules = trials.best.case.rules
    places = [place for place, _ in rules.rules()]
    _minimised(places, lambda kept: trials.holds(rules=_only(rules, kept)))


def _fewer_tables(trials: _Trials) -> None:
    """Leave out what is empty: chains, tables, sysctls."""
    case = trials.best.case
    for name in case.settings:
        trials.holds(settings={key: value for key, value in trials.best.case.settings.items() if key != name})
    for table in case.rules.tables:
        rules = trials.best.case.rules
        if trials.holds(rules=_without_table(rules, table)):
            continue
        for chain in rules.table(table.name).chains:
            now = trials.best.case.rules
            if not chain.rules:
                trials.holds(rules=_without_chain(now, now.table(table.name), chain))


def _minimised(parts: Sequence[T], holds: Callable[[Sequence[T]], bool]) -> list[T]:
    """A part of `parts` for which it still holds, and of which no single one can be left out."""
    kept, size = list(parts), max(1, len(parts) // 2)
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if len(fewer) < len(kept) and holds(fewer):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def _only(rules: Ruleset, places: Iterable[RulePlace]) -> Ruleset:
    """The ruleset with these rules alone; policies and chains stay."""
    wanted = set(places)
    tables = tuple(
        Table(
            table.name,
            tuple(
                replace(
                    chain,
                    rules=tuple(
                        rule
                        for number, rule in enumerate(chain.rules, 1)
                        if RulePlace(table.name, chain.name, number) in wanted
                    ),
                )
                for chain in table.chains
            ),
        )
        for table in rules.tables
    )
    return Ruleset(rules.family, tables)


def _without_table(rules: Ruleset, table: Table) -> Ruleset:
    return Ruleset(rules.family, tuple(other for other in rules.tables if other.name != table.name))


def _without_chain(rules: Ruleset, table: Table, chain: Chain) -> Ruleset:
    kept = tuple(other for other in table.chains if other.name != chain.name)
    return rules.with_table(Table(table.name, kept))


def _listed(who: str, sightings: Counter[Sighting]) -> list[str]:
    lines = [f"    {who}: {_text(sighting)}" for sighting in sightings.elements()]
    return lines or [f"    {who}: nothing more"]


def _text(sighting: Sighting) -> str:
    where, packet = sighting
    shown = [f"{name}={getattr(packet, name)}" for name in ("ttl", "tos", "length", "tcp_flags")]
    if packet.embedded is not None:
        about = packet.embedded
        quoted = Packet(
            packet.version, about.source, about.destination, about.protocol, about.sport, about.dport
        )
        shown.append(f"type={packet.icmp_type}/{packet.icmp_code} about [{quoted}]")
    if packet.mac is not None:
        shown.append(f"to {site.mac_text(packet.mac)}")
    return f"{where}: {packet} {' '.join(shown)}"


def _counted(count: tuple[int, int] | None) -> str:
    return "nothing" if count is None else f"[{count[0]}:{count[1]}]"


def _rule_text(case: Case, table: str, chain: str, number: int) -> str:
    return case.rules.rule(RulePlace(table, chain, number)).render()
