"""`nft -j list ruleset` as text -> NftRuleset.

The text is one object with a list of objects, each with a single key that says what it is. Objects of a table
come after the table, rules after their chain. What is not modelled is kept: unknown objects and attributes as
JSON text, unknown expressions as `Verbatim`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netverify.ruleset.errors import RulesetError, RulesetSyntaxError
from netverify.ruleset.json_document import JsonDocument, Path
from netverify.ruleset.nft import FAMILIES, Extra, Hook, NftChain, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft_decode import expression, map_element, statement, words
from netverify.ruleset.nft_expressions import Json, Verbatim, canonical

_SEPARATOR = " . "
"""Between the types of a concatenation, where nft writes them as one word."""


def parse_nft(text: str) -> NftRuleset:
    """A whole dump: see `NftRuleset.parse`."""
    return _Reader(JsonDocument(text)).read()


class _OpenTable:
    """A table being read: what it said of itself, and what has been found of its content."""

    def __init__(self, table: NftTable) -> None:
        self.table = table
        self.chains: dict[str, tuple[NftChain, list[NftRule]]] = {}
        self.sets: dict[str, NftSet] = {}
        self.others: list[Verbatim] = []

    def finish(self) -> NftTable:
        chains = tuple(replace(chain, rules=tuple(rules)) for chain, rules in self.chains.values())
        return replace(self.table, chains=chains, sets=tuple(self.sets.values()), others=tuple(self.others))


class _Members:
    """The members of one object: each is taken once, and what nobody took is left over as extra."""

    def __init__(self, document: JsonDocument, path: Path, value: Json) -> None:
        if not isinstance(value, dict):
            raise document.error(path, "an object", canonical(value))
        self.document = document
        self.path = path
        self.value: Mapping[str, Json] = value
        self.taken: set[str] = set()

    def error(self, key: str, expected: str) -> RulesetSyntaxError:
        if key not in self.value:
            return self.document.error(self.path, f"the key {key!r}: {expected}")
        return self.document.error((*self.path, key), expected, canonical(self.value[key]))

    def take(self, key: str) -> Json:
        self.taken.add(key)
        return self.value.get(key)

    def text(self, key: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "a text")
        return value

    def maybe_text(self, key: str) -> str | None:
        return self.text(key) if key in self.value else None

    def maybe_number(self, key: str) -> int | None:
        value = self.take(key)
        if key not in self.value:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, "a number")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        found = words(self.take(key))
        if found is None:
            raise self.error(key, "a text or a list of texts")
        return found

    def list(self, key: str) -> list[Json]:
        value = self.take(key)
        if key not in self.value:
            return []
        if not isinstance(value, list):
            raise self.error(key, "a list")
        return value

    def extra(self) -> Extra:
        left = sorted(key for key in self.value if key not in self.taken)
        return tuple((key, canonical(self.value[key])) for key in left)


class _Reader:
    def __init__(self, document: JsonDocument) -> None:
        self.document = document
        self.tables: dict[tuple[str, str], _OpenTable] = {}
        self.others: list[Verbatim] = []
        self.version: str | None = None

    def read(self) -> NftRuleset:
        top = _Members(self.document, (), self.document.value)
        if "nftables" not in top.value:
            raise top.error("nftables", "what `nft -j list ruleset` prints")
        for index, value in enumerate(top.list("nftables")):
            path: Path = ("nftables", index)
            if not isinstance(value, dict) or len(value) != 1:
                raise self.document.error(
                    path, "an object with one key that says what it is", canonical(value)
                )
            [(kind, inner)] = value.items()
            self._object(kind, _Members(self.document, (*path, kind), inner), value)
        tables = tuple(table.finish() for table in self.tables.values())
        return NftRuleset(tables, self.version, tuple(self.others))

    def _object(self, kind: str, told: _Members, whole: Json) -> None:
        if kind == "metainfo":
            self.version = told.maybe_text("version")
        elif kind == "table":
            self._table(told)
        elif kind == "chain":
            self._chain(told)
        elif kind == "rule":
            self._rule(told)
        elif kind in ("set", "map"):
            self._set(told, is_map=kind == "map")
        elif "table" in told.value:
            self._table_of(told).others.append(Verbatim.of(whole))
        else:
            self.others.append(Verbatim.of(whole))

    def _table(self, told: _Members) -> None:
        family, name = told.text("family"), told.text("name")
        if family not in FAMILIES:
            raise told.error("family", f"one of {', '.join(FAMILIES)}")
        if (family, name) in self.tables:
            raise told.error("name", "each table once")
        table = NftTable(
            family,  # type: ignore[arg-type] # one of FAMILIES, which are the literals of NftFamily
            name,
            flags=told.words("flags"),
            comment=told.maybe_text("comment"),
            handle=told.maybe_number("handle"),
            extra=told.extra(),
        )
        self.tables[family, name] = _OpenTable(table)

    def _table_of(self, told: _Members) -> _OpenTable:
        place = told.text("family"), told.text("table")
        if place not in self.tables:
            raise told.error("table", f"a table of family {place[0]} that stands before")
        return self.tables[place]

    def _chain(self, told: _Members) -> None:
        table, name = self._table_of(told), told.text("name")
        if name in table.chains:
            raise told.error("name", "each chain once")
        chain = NftChain(
            name,
            self._hook(told),
            comment=told.maybe_text("comment"),
            handle=told.maybe_number("handle"),
            extra=told.extra(),
        )
        table.chains[name] = (chain, [])

    def _hook(self, told: _Members) -> Hook | None:
        if "hook" not in told.value:
            return None
        priority = told.maybe_number("prio")
        if priority is None:
            raise told.error("prio", "a number")
        kind, hook, policy = told.text("type"), told.text("hook"), told.maybe_text("policy")
        try:
            return Hook(kind, hook, priority, policy, told.words("dev"))
        except RulesetError as error:
            raise told.error("policy", "accept or drop") from error

    def _rule(self, told: _Members) -> None:
        table, name = self._table_of(told), told.text("chain")
        if name not in table.chains:
            raise told.error("chain", f"a chain of table {table.table.name} that stands before")
        if "expr" not in told.value:
            raise told.error("expr", "a list of statements")
        rule = NftRule(
            tuple(map(statement, told.list("expr"))),
            told.maybe_text("comment"),
            told.maybe_number("handle"),
            told.extra(),
        )
        table.chains[name][1].append(rule)

    def _set(self, told: _Members, *, is_map: bool) -> None:
        table, name = self._table_of(told), told.text("name")
        if name in table.sets:
            raise told.error("name", "each set and map once")
        value_type = told.text("map") if is_map else None
        key_types = tuple(part for word in told.words("type") for part in word.split(_SEPARATOR))
        read = map_element if is_map else expression
        table.sets[name] = NftSet(
            name,
            key_types,
            value_type,
            told.words("flags"),
            tuple(map(read, told.list("elem"))),
            told.maybe_number("timeout"),
            told.maybe_number("size"),
            told.maybe_text("comment"),
            told.maybe_number("handle"),
            told.extra(),
        )
