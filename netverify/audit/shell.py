"""Commands for a person to run. Words from hosts that nobody vouches for do nothing in a shell."""

from __future__ import annotations

import re
import shlex

from netverify.ruleset.words import split

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+|!")


def command(*words: str) -> str:
    """Words as a shell reads them again, quoted where they need it."""
    return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)


def iptables(version: int, action: str, chain: str, *words: str, table: str = "") -> str:
    """A command of iptables, or of ip6tables, with the words of a rule."""
    program = "iptables" if version == 4 else "ip6tables"
    of_table = ("-t", table) if table else ()
    return command(program, *of_table, action, chain, *words)


def words_of(rule: str) -> list[str]:
    """The words of a rule as iptables-save writes it, without its chain."""
    return split(rule).texts
