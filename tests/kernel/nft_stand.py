"""The judged host with native nftables rules beside those of iptables, and the model of it."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, replace

from netverify.dataplane.stack import Stack
from netverify.dataplane.trace import PolicyStep, Recorder, RuleStep
from netverify.dataplane.view import LEGACY
from netverify.kernel.firewall import Backend, FirewallError
from netverify.kernel.judge import site
from netverify.kernel.judge.case import Case, Shot
from netverify.kernel.judge.foretell import ByChance, Foretelling
from netverify.kernel.judge.stand import Outcome, Sighting, Stand, complete
from netverify.kernel.judge.verdict import differences
from netverify.ruleset import NftPlace, NftRuleset, RulePlace, Ruleset, belongs_to_iptables
from netverify.ruleset.nft_statements import Count

JUDGES_OWN = "judge"
"""The table of the judge itself, which keeps the host from speaking unasked."""

Counted = dict[NftPlace, tuple[int, int]]
"""Packets and bytes of every native rule with a counter of its own."""


@dataclass(frozen=True)
class NftCase(Case):
    """A case with native rules in nft's own language; `more` holds rules of the other iptables backend."""

    native: str = ""
    more: Ruleset | None = None


class NftStand(Stand):
    """Loads native rules after those of iptables, so that at equal priorities they are called first."""

    def __init__(self) -> None:
        super().__init__()
        self.read = NftRuleset()
        self._native: tuple[tuple[str, str], ...] = ()
        self._other: tuple[Backend, int] | None = None

    def prepare(self, case: NftCase) -> NftRuleset:
        """Load everything; what nft then shows of the native rules."""
        if self._other is not None:
            backend, version = self._other
            empty = complete(Ruleset("ipv4" if version == 4 else "ipv6"))
            self._firewalls[backend].restore(empty.render(), version=version)
            self._other = None
        self._load(case)
        if case.more is not None:
            backend = _other(case.backend)
            self._firewalls[backend].restore(complete(case.more).render(), version=case.version)
            self._other = backend, case.version
        gone = "".join(f"delete table {family} {name}\n" for family, name in self._native)
        self.nft(["-f", "-"], gone + case.native)
        self.read = self.listed()
        self._native = tuple((table.family, table.name) for table in self.read.tables)
        self.conntrack.flush()
        return self.read

    def listed(self) -> NftRuleset:
        """The native rules as they are now."""
        everything = NftRuleset.parse(self.nft(["-j", "list", "ruleset"]))
        native = tuple(
            table
            for table in everything.tables
            if not belongs_to_iptables(table) and table.name != JUDGES_OWN
        )
        return replace(everything, tables=native)

    def nft(self, arguments: list[str], text: str = "") -> str:
        done = self.visitor.visit(
            self.host,
            lambda: subprocess.run(
                ["nft", *arguments], input=text, capture_output=True, text=True, check=False
            ),
        )
        if done.returncode:
            raise FirewallError(f"nft refuses: {done.stderr[:600]}")
        return done.stdout

    def judge(self, case: NftCase) -> list[str]:
        """Where kernel and model differ over a case, in words; packets that hang on chance are left out."""
        told = Told(case, self.prepare(case))
        case = replace(case, shots=tuple(shot for shot in case.shots if told.is_told(shot)))
        return self.compare(case, told)

    def compare(self, case: NftCase, told: Told) -> list[str]:
        """Fire the packets of a case that is loaded, of which the model has told everything."""
        loading, self._load = self._load, lambda _case: None  # type: ignore[method-assign]
        try:
            seen = self.fire(case)
        finally:
            self._load = loading  # type: ignore[method-assign]
        found = [*differences(case, seen, self._first(case, told))]
        if case.more is not None:
            backend = _other(case.backend)
            for place, packets in self._packets(backend, case.version).items():
                if packets != told.by_backend[backend][place]:
                    found.append(f"{place}: kernel {packets}, model {told.by_backend[backend][place]}")
        for place, kernel in counters(self.listed()).items():
            model = told.native[place], told.native_bytes[place]
            if kernel != model:
                rule = self.read.table(place.family, place.table).chain(place.chain).rule(place.number)
                found.append(f"{place}: kernel {kernel}, model {model}  {rule}")
        return found

    def _first(self, case: NftCase, told: Told) -> Outcome:
        """What was told of the case's own backend; bytes are known where there is no other."""
        outcome = told.outcome(case.rules, told.sightings)
        if case.more is None:
            return outcome
        counted = told.by_backend[case.backend]
        read = self._packets(case.backend, case.version, whole=True)
        return replace(outcome, counts={p: (counted[p], read[p][1]) for p in outcome.counts})

    def _packets(self, backend: Backend, version: int, *, whole: bool = False) -> dict:
        rules = self._firewalls[backend].rules(version=version)
        counted = dict(rules._counters())
        return {p: (c.packets, c.bytes) if whole else c.packets for p, c in counted.items() if c is not None}


class Told(Foretelling):
    """The model of the judged host, with native rules and perhaps both backends of iptables."""

    def __init__(self, case: NftCase, native: NftRuleset) -> None:
        backends = {case.backend: complete(case.rules)}
        if case.more is not None:
            backends[_other(case.backend)] = complete(case.more)
        legacy = backends.get(Backend.LEGACY)
        main = backends.get(Backend.NFT, Ruleset(case.rules.family))
        view = site.view(main, case.settings)
        super().__init__(Stack(replace(view, nft=native, legacy=() if legacy is None else (legacy,))))
        self.sightings: list[tuple[Sighting, ...]] = []
        self.native: Counter[NftPlace] = Counter()
        self.native_bytes: Counter[NftPlace] = Counter()
        self.by_backend: dict[Backend, Counter[RulePlace]] = {backend: Counter() for backend in Backend}

    def _count(self, recorder: Recorder) -> None:
        super()._count(recorder)
        for step in recorder.steps:
            if not isinstance(step, RuleStep | PolicyStep) or not step.counted:
                continue
            place = step.place
            if isinstance(place, NftPlace):
                self.native[place] += 1
                self.native_bytes[place] += step.packet.length
            else:
                backend = Backend.LEGACY if place.table.startswith(LEGACY) else Backend.NFT
                self.by_backend[backend][replace(place, table=place.table.removeprefix(LEGACY))] += 1

    def is_told(self, shot: Shot) -> bool:
        """Follow one more packet; whether its end could be foretold."""
        try:
            self.sightings.append(self.fire(shot))
        except ByChance as reason:
            if reason.began:
                raise
            return False
        return True


def counters(native: NftRuleset) -> Counted:
    """The counters of the rules, where they have one."""
    found = {}
    for place, rule in native.rules():
        own = next((s.counters for s in rule.statements if isinstance(s, Count) and s.name is None), None)
        if own is not None:
            found[place] = own.packets, own.bytes
    return found


def _other(backend: Backend) -> Backend:
    return Backend.LEGACY if backend is Backend.NFT else Backend.NFT
