"""The chains at which the kernel begins: what packets look like there, and which begin a connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netverify.dataplane.hooks import base_chains
from netverify.dataplane.nft.compiler import table_key
from netverify.dataplane.program import Program
from netverify.dataplane.view import LEGACY
from netverify.ruleset.vocabulary import BUILTIN_CHAINS


@dataclass(frozen=True, slots=True)
class Start:
    """The hook where a chain is called; `first_only` for nat's, asked for a connection's first packet."""

    hook: str
    first_only: bool = False


def starts(program: Program) -> Mapping[tuple[str, str], Start]:
    """The chains of a program that the kernel calls, by table and name."""
    native = {
        (table_key(table), chain.name): Start(registered.hook.upper(), registered.type == "nat")
        for version in (4, 6)
        for table, chain, registered in base_chains(program.host, version)
    }
    found: dict[tuple[str, str], Start] = {}
    for where in program.chains:
        table, name = where[0].removeprefix(LEGACY), where[1]
        if name in BUILTIN_CHAINS.get(table, ()):
            found[where] = Start(name, table == "nat")
        elif where in native:
            found[where] = native[where]
    return found
