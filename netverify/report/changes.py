"""What a change of rules changes, for people and for programs: newly open first."""

from __future__ import annotations

import json
from collections.abc import Iterator

from netverify.dataplane.difference import Change
from netverify.model.changes import Changes, HostChange
from netverify.model.naming import place_words
from netverify.reachability.text import printable


def render(changes: Changes) -> str:
    """Every class of packets with another fate, then what could not be settled."""
    lines = [f"{changes.old.title} -> {changes.new.title}"]
    for host in changes.hosts:
        lines += _host_lines(host)
    if not changes.hosts:
        lines += ["", "No rules to compare."]
    for names, which in ((changes.only_old, changes.old), (changes.only_new, changes.new)):
        lines += (f"only in {which.title}: {name}" for name in names)
    if changes.lacks:
        lines += ["", "Unknown, and needed for an answer", *(f"    {lack}" for lack in changes.lacks)]
    if changes.new.notes:
        lines += ["", "Assumed", *(f"    {note}" for note in changes.new.notes)]
    return "\n".join(printable(line) for line in lines)


def _host_lines(host: HostChange) -> Iterator[str]:
    found = host.difference
    yield ""
    yield f"{host.host}, IPv{host.version}: {_summary(host)}"
    for change in found.changes:
        yield ""
        yield from _change_lines(change)
    if found.more:
        yield f"  and {found.more} more classes"
    for table, chain in found.unsettled:
        yield f"  not settled: {table} {chain}, where targets that are not modelled were changed"


def _change_lines(change: Change) -> Iterator[str]:
    before, after = change.fates()
    mark = "OPENED" if change.opens else change.kind.value
    yield f"  {mark}  {change.table} {change.chain}: {before} -> {after}"
    yield f"      packets  {change.description}"
    example = change.example
    devices = f"in {example.in_interface or '-'}, out {example.out_interface or '-'}"
    yield f"      example  {example}, {devices}"
    for label, side in (("before", change.old), ("after", change.new)):
        yield f"      {label:<7}  {place_words(side.place)}" + (f": {side.rule}" if side.rule else "")
    for name, value in change.assumed:
        yield f"      if       {'' if value else 'not '}{name}"


def _summary(host: HostChange) -> str:
    found = host.difference
    if found.is_equivalent:
        return "no packet notices the change"
    number = len(found.changes) + found.more
    classes = "1 class of packets has" if number == 1 else f"{number} classes of packets have"
    return f"{classes} another fate" + ("; something is open that was not" if found.opens else "")


def render_json(changes: Changes) -> str:
    """The same for programs."""
    document = {
        "format": "netverify diff",
        "version": 1,
        "old": changes.old.title,
        "new": changes.new.title,
        "opens": changes.opens,
        "hosts": [{"host": host.host, **host.difference.as_facts()} for host in changes.hosts],
        "only_old": list(changes.only_old),
        "only_new": list(changes.only_new),
        "unknown": [str(lack) for lack in changes.lacks],
        "notes": list(changes.new.notes),
    }
    return json.dumps(document, indent=2)


def exit_code(changes: Changes) -> int:
    """1 when anything was opened, 3 when that is not known, else 0."""
    if changes.opens:
        return 1
    unsettled = any(host.difference.unsettled for host in changes.hosts)
    return 3 if changes.lacks or unsettled else 0
