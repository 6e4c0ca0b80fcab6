"""What the labs showed, on record: recorded/SETTING.txt holds a setting's answers, all releases side by side.

A line is one question, and a symbol for each release in the order of `RELEASES`; `-` where the release does
not know the option. The file of the setting `default` holds every question. The others hold those whose
answers differ from the default's; so a file also shows what its option changes.

    .  reached and answered     >  reached, no answer came back     R  refused     F  dropped
    U  no way there, or nobody answers for the address               P  prohibited
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from netverify.reachability.probe import Probe
from suites.docker.grid import QUESTIONS, SETTINGS, Question, Setting
from suites.docker.releases import RELEASES

FOLDER = Path(__file__).with_name("recorded")
DEFAULT = SETTINGS[0]
Symbols = Mapping[Question, str]
"""Each question's answers: one symbol for each release."""


def path(setting: Setting) -> Path:
    """A setting's file."""
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in setting.name)
    return FOLDER / f"{name.replace('--', '-')}.txt"


@cache
def recorded(setting: Setting) -> Symbols:
    """A setting's answers as they stand on record. Raises FileNotFoundError before `make docker-page` ran."""
    known = dict(_read(path(setting).read_text()))
    if setting == DEFAULT:
        return known
    usual = recorded(DEFAULT)
    return {question: known.get(question, _of_setting(usual[question], setting)) for question in QUESTIONS}


def record(setting: Setting, found: Symbols) -> None:
    """Put a setting's answers on record. The default's come first: the others are told by it."""
    FOLDER.mkdir(exist_ok=True)
    lines = [f"# {setting.name}: " + " | ".join(str(release) for release in RELEASES)]
    for question in QUESTIONS:
        if setting != DEFAULT and found[question] == _of_setting(recorded(DEFAULT)[question], setting):
            continue
        lines.append(f"{found[question]}  {question.source} {question.target} {_probe(question.probe)}")
    path(setting).write_text("\n".join(lines) + "\n")
    recorded.cache_clear()


def _of_setting(symbols: str, setting: Setting) -> str:
    """The default's answers, without those of releases that do not know the setting."""
    pairs = zip(RELEASES, symbols, strict=True)
    return "".join(symbol if setting.exists_in(release) else "-" for release, symbol in pairs)


def _read(text: str) -> Mapping[Question, str]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            symbols, source, target, probe = line.split()
            found[Question(_parsed(probe), source, target)] = symbols
    return found


def _probe(probe: Probe) -> str:
    port = "" if probe.port is None else f"/{probe.port}"
    return f"ipv{probe.version}/{probe.protocol}{port}"


def _parsed(text: str) -> Probe:
    version, protocol, *port = text.split("/")
    return Probe(protocol, int(port[0]) if port else None, int(version.removeprefix("ipv")))
