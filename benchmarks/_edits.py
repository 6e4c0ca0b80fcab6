"""Edits of one rule, of every kind that people make, anywhere in a ruleset: for the benchmark of differences.

An edit is drawn for a chain; None says that this kind of edit is not possible there. The raw table, which
Docker writes nothing into before version 28, is made where a rule is put into it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from netverify.ruleset import Rule, Ruleset, Table

Where = tuple[str, str]
"""A table and a chain."""
Edit = Callable[[Ruleset, Where, random.Random], Ruleset | None]
Writer = Callable[[Ruleset, Where, random.Random], str]
"""Writes a rule for a chain."""

_RAW = Ruleset.parse("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n").tables[0]


def chains(rules: Ruleset) -> list[Where]:
    """Where edits are made: every chain there is, and those of raw."""
    found = [(table.name, chain.name) for table in (*rules.tables, _RAW) for chain in table.chains]
    return list(dict.fromkeys(found))


def _table(rules: Ruleset, name: str) -> Table | None:
    return next((table for table in rules.tables if table.name == name), None)


def _held(rules: Ruleset, where: Where) -> Sequence[Rule]:
    return rules.chain(*where).rules if _table(rules, where[0]) is not None else ()


@lru_cache(maxsize=4)
def _bridges(rules: Ruleset) -> Sequence[str]:
    return sorted(set(re.findall(r"br-\w+", rules.render())))


def _bridge(rules: Ruleset, draw: random.Random) -> str:
    return draw.choice(_bridges(rules))


# --- rules that go, come and change places ---------------------------------------------------------


def removed(rules: Ruleset, where: Where, draw: random.Random) -> Ruleset | None:
    """Without one rule."""
    held = _held(rules, where)
    return rules.with_rule_removed(*where, draw.randint(1, len(held))) if held else None


def swapped(rules: Ruleset, where: Where, draw: random.Random) -> Ruleset | None:
    """With two neighbours in each other's place."""
    held = _held(rules, where)
    if len(held) < 2:
        return None
    number = draw.randint(1, len(held) - 1)
    return rules.with_rules_swapped(*where, number, number + 1)


def inserted(write: Writer, verdicts: Sequence[str]) -> Edit:
    """With one more rule, anywhere; first of all half of the times."""

    def edit(rules: Ruleset, where: Where, draw: random.Random) -> Ruleset | None:
        verdict = draw.choice([each for each in verdicts if where[0] != "nat" or each != "DROP"])
        text = f"{write(rules, where, draw)} -j {verdict}"
        number = draw.choice([1, draw.randint(1, len(_held(rules, where)) + 1)])
        if _table(rules, where[0]) is None:
            rules = rules.with_table(_RAW)
        return rules.with_rule_inserted(*where, number, text)

    return edit


def policy(rules: Ruleset, where: Where, _draw: random.Random) -> Ruleset | None:
    """With another policy."""
    if _table(rules, where[0]) is None or rules.chain(*where).policy is None:
        return None
    return rules.with_policy(*where, "ACCEPT" if rules.chain(*where).policy == "DROP" else "DROP")


def _port(_rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"-p tcp -m tcp --dport {draw.randrange(1, 65536)}"


def _device(rules: Ruleset, where: Where, draw: random.Random) -> str:
    side = "-o" if where[1] in ("OUTPUT", "POSTROUTING") else "-i"
    return f"{side} {_bridge(rules, draw)}"


def _source(_rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"-s 10.{draw.randrange(2)}.{draw.randrange(256)}.0/24"


def _destination(_rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"-d 10.{draw.randrange(2)}.{draw.randrange(256)}.2/32"


def _state(_rules: Ruleset, _where: Where, _draw: random.Random) -> str:
    return "-m conntrack --ctstate INVALID"


def _everything(_rules: Ruleset, _where: Where, _draw: random.Random) -> str:
    return ""


# --- rules that say something else -----------------------------------------------------------------


def replaced(pattern: str, by: Callable[[re.Match[str], Ruleset, Where, random.Random], str]) -> Edit:
    """With one rule in which the first match of a pattern is something else."""

    def edit(rules: Ruleset, where: Where, draw: random.Random) -> Ruleset | None:
        texts = {number: rule.render() for number, rule in enumerate(_held(rules, where), 1)}
        numbers = [number for number, text in texts.items() if re.search(pattern, text)]
        if not numbers:
            return None
        number = draw.choice(numbers)
        new = re.sub(pattern, lambda found: by(found, rules, where, draw), texts[number], count=1)
        return None if new == texts[number] else rules.with_rule_replaced(*where, number, new)

    return edit


def _other_verdict(_found: re.Match[str], _rules: Ruleset, where: Where, draw: random.Random) -> str:
    return "-j " + draw.choice(["ACCEPT", "RETURN"] + ["DROP"] * (where[0] != "nat"))


def _other_bridge(_found: re.Match[str], rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return _bridge(rules, draw)


def _other_port(found: re.Match[str], _rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"{found[1]} {draw.randrange(1, 65536)}"


def _other_address(_found: re.Match[str], _rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"10.{draw.randrange(2)}.{draw.randrange(256)}."


def _new_address(found: re.Match[str], _rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"{found[1]} 172.{draw.randrange(16, 32)}.{draw.randrange(256)}.0/24"


def _other_target(_found: re.Match[str], _rules: Ruleset, _where: Where, draw: random.Random) -> str:
    return f"--to-destination 10.{draw.randrange(2)}.{draw.randrange(256)}.2:{draw.choice([80, 443])}"


_ANY = ("ACCEPT", "DROP", "RETURN")
EDITS: Mapping[str, Edit] = {
    "rule removed": removed,
    "neighbours swapped": swapped,
    "inserted: a port": inserted(_port, _ANY),
    "inserted: a bridge": inserted(_device, _ANY),
    "inserted: sources": inserted(_source, _ANY),
    "inserted: a destination": inserted(_destination, _ANY),
    "inserted: a state": inserted(_state, _ANY),
    "inserted: everything": inserted(_everything, _ANY),
    "policy changed": policy,
    "verdict changed": replaced(r"-[jg] .*$", _other_verdict),
    "interface changed": replaced(r"br-\w+", _other_bridge),
    "interface negated": replaced(
        r"(! )?(-[io] )", lambda found, *_: found[2] if found[1] else f"! {found[2]}"
    ),
    "interface left out": replaced(r"(! )?-[io] \S+ ", lambda *_: ""),
    "port changed": replaced(r"(--[ds]port) \d+", _other_port),
    "address changed": replaced(r"10\.\d+\.\d+\.", _other_address),
    "address elsewhere": replaced(r"(-[sd]) 10\.\S+", _new_address),
    "protocol changed": replaced(r"-p tcp -m tcp", lambda *_: "-p udp -m udp"),
    "translation changed": replaced(r"--to-destination \S+", _other_target),
}
