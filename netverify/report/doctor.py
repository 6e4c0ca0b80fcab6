"""What this machine can do, as a table for people and as JSON for programs.

A `Capability` is one finding about the machine. The kernel room makes them by trying; this module shows them
and says whether what the suites need is there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from textwrap import wrap
from typing import Any, Final

from netverify.errors import InputError

JSON_VERSION: Final = 1
WIDTH: Final = 100  # columns of the text table, unless the caller has a terminal to measure
READY, NOT_READY = 0, 1  # exit codes


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that this machine can or cannot do, found out by trying it.

    `needed` says whether the suites cannot do without it on this machine. `detail` is what was seen: a
    version or a figure where it works, the reason where it does not. `consequence` is what is lost without
    it, `remedy` how to get it. Extensions of iptables differ by program: `works_in` and `fails_in` name the
    programs that accept a rule with the extension and those that do not, and an extension is available where
    no program that works at all refuses it.
    """

    name: str
    group: str
    available: bool
    needed: bool
    detail: str
    consequence: str
    remedy: str
    works_in: tuple[str, ...] = ()
    fails_in: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for text in ("name", "group", "consequence", "remedy"):
            if not getattr(self, text):
                raise ValueError(f"a capability ({self.name!r}) needs a {text}")
        if not self.available and not self.detail:
            raise ValueError(f"capability {self.name!r} is missing: `detail` must say why")
        if self.available and self.fails_in:
            raise ValueError(
                f"capability {self.name!r} cannot be available and fail in {', '.join(self.fails_in)}"
            )


def missing(capabilities: Collection[Capability]) -> tuple[Capability, ...]:
    """What the suites need and this machine lacks."""
    return tuple(item for item in capabilities if item.needed and not item.available)


def exit_code(capabilities: Collection[Capability]) -> int:
    """`READY` (0) where everything is there that the suites need, else `NOT_READY` (1)."""
    return NOT_READY if missing(capabilities) else READY


# --- text --------------------------------------------------------------------------------------------------

_MARKS = {True: "yes", False: "no"}


def render(capabilities: Sequence[Capability], *, width: int = WIDTH) -> str:
    """Show capabilities as a table, group by group, and say in the end whether the suites can run.

    Under each missing one stands what is lost and how to get it. Extensions that work in every iptables
    program of the machine share one row. `width` is in columns; below 60 it is taken as 60.
    """
    width = max(width, 60)
    lines: list[str] = []
    rows = {
        group: list(_rows(list(items))) for group, items in groupby(capabilities, lambda item: item.group)
    }
    names = max((len(name) for group in rows.values() for name, *_ in group), default=0)
    for group, members in rows.items():
        lines.append(group)
        for name, mark, texts in members:
            lines.extend(_row(name.ljust(names), mark, texts, width))
        lines.append("")
    lines.extend(wrap(_verdict(capabilities), width))
    return "\n".join(lines)


def _rows(capabilities: Sequence[Capability]) -> Iterator[tuple[str, bool, list[str]]]:
    """Name, yes or no, and the paragraphs beside them; extensions that work everywhere are gathered first."""
    everywhere = [item for item in capabilities if item.available and item.works_in]
    if everywhere:
        count = len(everywhere)
        name = f"all {count}" if count == len(capabilities) else f"{count} of {len(capabilities)}"
        programs = ", ".join(dict.fromkeys(tool for item in everywhere for tool in item.works_in))
        kinds = ", ".join(_short(item) for item in everywhere)
        yield name, True, [f"{kinds}", f"in {programs}"]
    for item in capabilities:
        if item in everywhere:
            continue
        texts = [item.detail]
        if not item.available:
            need = "The suites need it. " if item.needed else ""
            texts += [f"{need}Without it {item.consequence}.", f"To get it: {item.remedy}."]
        yield _short(item), item.available, texts


def _short(capability: Capability) -> str:
    """The name without the words that the group's heading says already ("match set" under "matches")."""
    return capability.name.removeprefix("match ").removeprefix("target ")


def _row(name: str, mark: bool, texts: Sequence[str], width: int) -> Iterator[str]:
    first = f"  {name}  {_MARKS[mark]:<3}  "
    following = " " * len(first)
    for text in texts:
        # Long lists and paths may break only between words: a name cut in two cannot be searched for.
        for line in wrap(
            text, max(width - len(first), 20), break_long_words=False, break_on_hyphens=False
        ) or [""]:
            yield (first + line).rstrip()
            first = following


def _verdict(capabilities: Collection[Capability]) -> str:
    absent = missing(capabilities)
    if not absent:
        return "Everything that the suites need is here."
    names = ", ".join(item.name for item in absent)
    return f"The suites cannot run in full here. They need, and this machine lacks: {names}."


# --- JSON --------------------------------------------------------------------------------------------------


def render_json(capabilities: Sequence[Capability]) -> str:
    """The same as JSON: `version` (of this format), `ready`, and `capabilities` with every field of each."""
    document = {
        "version": JSON_VERSION,
        "ready": exit_code(capabilities) == READY,
        "capabilities": [asdict(item) for item in capabilities],
    }
    return json.dumps(document, indent=2)


def read_json(text: str) -> tuple[Capability, ...]:
    """Read what `render_json` wrote. Raises InputError where the text is something else."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"a doctor's report: line {error.lineno}: {error.msg}") from error
    if not isinstance(document, dict) or document.get("version") != JSON_VERSION:
        raise InputError(f"a doctor's report must be a JSON object whose `version` is {JSON_VERSION}")
    entries = document.get("capabilities")
    if not isinstance(entries, list):
        raise InputError("a doctor's report must have a list of `capabilities`")
    return tuple(_capability(number, entry) for number, entry in enumerate(entries))


def _capability(number: int, entry: Any) -> Capability:
    where = f"a doctor's report: capabilities[{number}]"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object, found {entry!r}")
    for field in fields(Capability):
        if field.name not in entry:
            raise InputError(f"{where}: `{field.name}` is missing")
        value = entry[field.name]
        kind = {"bool": bool, "str": str}.get(str(field.type), list)
        if not isinstance(value, kind):
            raise InputError(f"{where}: `{field.name}` must be of type {kind.__name__}, found {value!r}")
        if isinstance(value, list) and not all(isinstance(member, str) for member in value):
            raise InputError(f"{where}: `{field.name}` must be a list of strings, found {value!r}")
    known = {field.name: entry[field.name] for field in fields(Capability)}
    lists = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
    try:
        return Capability(**{**known, **lists})
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
