"""docs/docker-generations.md, from the table of expectations and from what the labs showed.

    python -m suites.docker.page            asks every lab of the grid, records the answers, writes the page
    python -m suites.docker.page --as-is    writes the page from the record alone

The hand-written parts stand in docs/docker-generations.in.md, where `{{NAME}}` is what is written in here.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from netverify.reachability.symbols import DELIVERED
from suites.docker.grid import QUESTIONS, SETTINGS, Question, Setting
from suites.docker.recorded import record, recorded
from suites.docker.releases import RELEASES, Release
from suites.docker.table import REACH, SEEN, Row

DOCS = Path(__file__).parents[2] / "docs"
PAGE, TEMPLATE = DOCS / "docker-generations.md", DOCS / "docker-generations.in.md"

Phrase = tuple[str, str, str]
"""Who asks, whom, and for what."""

_EFFECTS = ("opened", "closed", "answered now", "answered no longer", "blocked otherwise")
_ANSWERS = {"y": "yes", "n": "no", ">": "one way", "-": ""}
_PARTIES = {
    "web1": "the container",
    "web2": "its neighbour there",
    "other": "a container of another network",
    "host": "the host",
    "neighbour": "a LAN neighbour",
    "internet": "the internet",
}
_PORTS = {
    "icmp": "ping",
    "tcp/80": "port 80, published on all addresses",
    "tcp/81": "port 81, published on the loopback",
    "tcp/82": "port 82, published on one address",
    "tcp/83": "port 83, not published",
    "udp/53": "UDP port 53, published on all addresses",
}
_ADDRESSES = {
    "172.18.0.1": "the bridge's address",
    "[fd00:18::1]": "the bridge's address",
    "127.0.0.1": "127.0.0.1 or ::1",
    "[::1]": "127.0.0.1 or ::1",
}


def page() -> str:
    """The whole page."""
    text = TEMPLATE.read_text()
    parts = {"REACH": _table(REACH), "SEEN": _table(SEEN), "CHANGES": _all_changes(), "GRID": _grid()}
    for name, lines in parts.items():
        text = text.replace(f"{{{{{name}}}}}", "\n".join(lines))
    return text


def _table(rows: Iterable[Row]) -> list[str]:
    """One line for each question and setting: over IPv4 and, where it differs, over IPv6."""
    both: dict[str, dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        both[row.what][row.setting][row.question.probe.version] = row
    lines = [_line("", "option", *(one.title for one in RELEASES)), _line(*["---"] * (len(RELEASES) + 2))]
    for what, settings in both.items():
        for setting, versions in settings.items():
            cells = [_both(versions, number) for number in range(len(RELEASES))]
            lines.append(_line(what, "" if setting == "default" else setting, *cells))
    return lines


def _both(versions: dict[int, Row], number: int) -> str:
    words = {version: _word(row.answers[number]) for version, row in versions.items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return f"{words[4]}; IPv6: {words[6]}"


def _word(answer: str) -> str:
    return _ANSWERS.get(answer, answer)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


# --- what changes ------------------------------------------------------------------------------------------


def neighbours() -> Iterator[tuple[Release, Release]]:
    """Each upgrade that the page tells of: from release to release, and from iptables to nftables."""
    yield from pairwise(RELEASES)


def _all_changes() -> Iterator[str]:
    for older, newer in neighbours():
        yield f"### From {older.title} to {newer.title}"
        yield ""
        yield from _changes(older, newer)
        yield ""


def _changes(older: Release, newer: Release) -> Iterator[str]:
    """What differs, gathered: by what it means and where it is so, then by who asks for what."""
    columns = RELEASES.index(older), RELEASES.index(newer)
    shared = [one for one in SETTINGS if one.exists_in(older) and one.exists_in(newer)]
    found: dict[tuple[str, Phrase], dict[Setting, set[int]]] = defaultdict(lambda: defaultdict(set))
    for setting in shared:
        for question, symbols in recorded(setting).items():
            before, after = (symbols[number] for number in columns)
            if before != after:
                key = f"{_effect(before, after)} (`{before}` to `{after}`)", _words(question)
                found[key][setting].add(question.probe.version)
    gathered: dict[tuple[str, str], list[Phrase]] = defaultdict(list)
    for (effect, phrase), settings in found.items():
        gathered[effect, _settings(settings, shared)].append(phrase)
    if not found:
        yield "Nothing in the whole grid."
    for (effect, settings), phrases in sorted(gathered.items(), key=lambda one: _order(one[0][0])):
        yield f"- **{effect}**, {settings}:"
        yield from (f"  - {line}" for line in _joined(phrases))


def _order(effect: str) -> tuple[int, str]:
    return next(number for number, one in enumerate(_EFFECTS) if effect.startswith(one)), effect


def _joined(phrases: Iterable[Phrase]) -> Iterator[str]:
    """The same sentences with fewer words: ports of one target together, then senders with one target."""
    ports: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, target, port in phrases:
        ports[source, target].append(port)
    sources: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (source, target), known in ports.items():
        sources[target, "; ".join(known)].append(source)
    for (target, known), senders in sources.items():
        yield f"{', '.join(senders)} to {target}: {known}"


def _effect(before: str, after: str) -> str:
    was, now = before in DELIVERED, after in DELIVERED
    if was and now:
        return "answered now" if after == "." else "answered no longer"
    if was or now:
        return "closed" if was else "opened"
    return "blocked otherwise"


def _words(question: Question) -> Phrase:
    """Who asks, whom, and for what, in the same words for both IP versions."""
    probe = question.probe
    port = _PORTS[probe.protocol if probe.port is None else f"{probe.protocol}/{probe.port}"]
    name, at, rest = question.target.partition("@")
    name, _colon, host_port = name.partition(":")
    where = _PARTIES[name]
    if at:
        address = next(one for one in _ADDRESSES if rest.startswith(one))
        host_port = rest.removeprefix(address).lstrip(":")
        where = f"{where} by {_ADDRESSES[address]}"
    if host_port:
        port = f"{host_port} for {port}"
    elif name != "web1" and probe.port is not None:
        port = f"{probe.protocol} port {probe.port}"
    return _PARTIES[question.source], where, port


def _settings(found: dict[Setting, set[int]], shared: list[Setting]) -> str:
    """Where it is so: for each set of IP versions, the settings, or those in which it is not so."""
    by_versions: dict[tuple[int, ...], list[Setting]] = defaultdict(list)
    for setting, versions in found.items():
        by_versions[tuple(sorted(versions))].append(setting)
    parts = []
    for versions, settings in sorted(by_versions.items()):
        where = "" if versions == (4, 6) else f"IPv{versions[0]} alone, "
        names = _names(settings, shared)
        others = _names([one for one in shared if one not in settings], shared)
        if not others:
            parts.append(f"{where}everywhere")
        elif len(others) < len(names):
            parts.append(f"{where}everywhere but with {_listed(others)}")
        else:
            parts.append(f"{where}with {_listed(names)}")
    return "; and ".join(parts)


def _listed(names: list[str]) -> str:
    return "; ".join(f"`{name}`" for name in names)


def _names(settings: list[Setting], shared: list[Setting]) -> list[str]:
    """Their names, shorter where all settings of one network option are among them."""
    names: dict[str, None] = {}
    for one in settings:
        family = [other for other in shared if other.family == one.family]
        whole = len(family) > 1 and all(other in settings for other in family)
        names[f"{one.family}, *" if whole else one.name] = None
    return list(names)


def _grid() -> Iterator[str]:
    labs = sum(setting.exists_in(release) for setting in SETTINGS for release in RELEASES)
    questions = len(recorded(SETTINGS[0]))
    yield f"{len(SETTINGS)} settings, {labs} labs of {questions} cells each, {labs * questions} cells."


# --- the labs ----------------------------------------------------------------------------------------------


def ask_all() -> None:
    """Ask every lab of the grid, and put the answers on record; the process moves into a sandbox for it."""
    from netverify.kernel import sandbox
    from netverify.kernel.lab import Lab
    from suites.docker.answers import observed

    sandbox.enter()
    for setting in SETTINGS:
        columns: dict[Question, str] = defaultdict(str)
        for release in RELEASES:
            found = {}
            if setting.exists_in(release):
                with Lab() as lab:
                    found = observed(lab, setting.topology(release))
            for question in QUESTIONS:
                columns[question] += found[question].symbol if found else "-"
        record(setting, columns)


if __name__ == "__main__":
    if sys.argv[1:] != ["--as-is"]:
        ask_all()
    PAGE.write_text(page())
