"""YAML as a person wrote it: scalars as text, every value with its line, column and key path.

PyYAML scans and composes; nothing is ever constructed, so no tag can make an object. Values keep the
letters they were written in: `5000:5000` stays text (YAML 1.1 makes it a number of base 60) and `24.10` keeps
its zero. Anchors and aliases work; what they could be abused for is bounded by the number of values that are
read, each alias counted every time it is used. Keys come only once in a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

import yaml

from netverify.errors import Place
from netverify.topology.errors import Step, TopologyError, TopologyFileError, did_you_mean, key_path, quoted

MOST_CHARACTERS: Final = 1_000_000
MOST_VALUES: Final = 100_000
MOST_DEPTH: Final = 20

_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
_NULL: Final = "tag:yaml.org,2002:null"
_KEYS_THEMSELVES: Final = ("name", "device", "node")  # fields that a file has as keys, not below them
_LINE_END: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as PyYAML counts them
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


class _Composer(yaml.SafeLoader):
    """Composes nodes; refuses nesting that would exhaust Python's stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"nested more than {MOST_DEPTH} deep", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Document:
    """One YAML text; knows where each of its values stands. `expected` is said where there is none."""

    def __init__(
        self, text: str, file: str, expected: str = "a topology: name, hosts, networks, ..."
    ) -> None:
        self.file = file
        self.text = text
        self._expected = expected
        self._marks: dict[tuple[Step, ...], tuple[int, int]] = {}
        self._values = 0

    def root(self) -> Cursor:
        """The document's one value. Raises TopologyFileError where the text is not YAML."""
        if len(self.text) > MOST_CHARACTERS:
            raise TopologyFileError(
                Place(self.file),
                f"it has {len(self.text)} characters",
                f"at most {MOST_CHARACTERS}; large topologies are better made in Python",
            )
        composer: _Composer | None = None
        try:
            composer = _Composer(self.text)
            node = composer.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = _at(mark)
            problem = ", ".join(filter(None, (error.context, error.problem)))
            self.fail_at(at, (), f"it is no YAML: {problem}", "")
        except yaml.reader.ReaderError as error:
            found = f"U+{ord(self.text[error.position]):04X}"
            at = self._position(error.position)
            self.fail_at(at, (), f"it is no YAML: there is {found} in it", "printable text")
        except (ValueError, OverflowError) as error:
            # PyYAML's scanner lets these out of numbers in directives and of escapes such as "\UFFFFFFFF".
            at = (composer.line + 1, composer.column + 1) if composer else (1, 1)
            self.fail_at(at, (), f"it is no YAML: {error}", "")
        if node is None:
            raise TopologyFileError(Place(self.file), "it is empty", self._expected)
        return Cursor(self, node, ())

    def fail(self, path: tuple[Step, ...], problem: str, expected: str) -> NoReturn:
        """Raise TopologyFileError for the value at `path`, or the nearest around it that was written."""
        known = path
        while known and known not in self._marks:
            known = known[:-1]
        self.fail_at(self._marks.get(known, (1, 1)), path, problem, expected)

    def locate(self, path: tuple[Step, ...], error: TopologyError) -> NoReturn:
        """Raise TopologyFileError for an error of the model in the part that `path` leads to."""
        below = error.path
        if below and below[-1] in _KEYS_THEMSELVES and (*path, *below) not in self._marks:
            below = below[:-1]
        if below and isinstance(below[-1], int) and (*path, *below) not in self._marks:
            below = below[:-1]  # one value that stands for a list of it
        self.fail((*path, *below), error.problem, error.expected)

    def register(self, path: tuple[Step, ...], mark: yaml.Mark | None) -> None:
        """Remember where the value at `path` stands; count it."""
        self._marks.setdefault(path, _at(mark))
        self._values += 1
        if self._values > MOST_VALUES:
            self.fail(
                path, f"the file has more than {MOST_VALUES} values", "fewer (each use of an alias counts)"
            )

    def fail_at(self, at: tuple[int, int], path: tuple[Step, ...], problem: str, expected: str) -> NoReturn:
        """Raise TopologyFileError for a line and column, both from 1."""
        line, column = at
        lines = _LINE_END.split(self.text)
        text = lines[line - 1] if line <= len(lines) else ""
        place = Place(self.file, line, column, key_path(path) or None)
        raise TopologyFileError(place, problem, expected, text)

    def _position(self, index: int) -> tuple[int, int]:
        lines = _LINE_END.split(self.text[:index])
        return len(lines), len(lines[-1]) + 1


class Cursor:
    """One value of a document, and the way to it."""

    def __init__(
        self, document: Document, node: yaml.Node, path: tuple[Step, ...], key: yaml.Mark | None = None
    ) -> None:
        self.document = document
        self.node = node
        self.path = path
        shown = isinstance(node, yaml.ScalarNode) and node.value
        document.register(path, node.start_mark if shown or key is None else key)
        if node.tag not in _PLAIN_TAGS:
            self.fail(f"the tag {quoted(node.tag)} means nothing here", "a plain value")

    @property
    def line(self) -> int:
        """The line that it stands in, from 1."""
        return _at(self.node.start_mark)[0]

    def fail(self, problem: str, expected: str) -> NoReturn:
        """Raise TopologyFileError for this value."""
        self.document.fail(self.path, problem, expected)

    def fail_below(self, error: TopologyError) -> NoReturn:
        """Raise TopologyFileError for an error of the model in what this value describes."""
        self.document.locate(self.path, error)

    def also_known_as(self, path: tuple[Step, ...]) -> None:
        """Let errors of the model find this value under another path."""
        self.document.register(path, self.node.start_mark)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written after the key (or null, or ~)."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    def text(self, expected: str = "text") -> str:
        """Its text, as written."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail("there is a " + ("list" if self.is_list else "mapping"), expected)
        if self.is_empty:
            self.fail("there is nothing", expected)
        return str(self.node.value)

    def flag(self) -> bool:
        """True or false."""
        text = self.text("true or false")
        if text not in ("true", "false"):
            self.fail(f"{quoted(text)} is neither", "true or false")
        return text == "true"

    def number(self) -> int:
        """A whole number, not negative."""
        text = self.text("a number")
        if not _NUMBER.fullmatch(text):
            self.fail(f"{quoted(text)} is no number", "a whole number of at most nine digits")
        return int(text)

    def items(self, expected: str) -> Iterator[tuple[str, Cursor]]:
        """The keys and values of a mapping; nothing at all is an empty one."""
        if self.is_empty:
            return
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(
                "there is a " + ("list" if self.is_list else f"text, {quoted(self.node.value)}"), expected
            )
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _PLAIN_TAGS - {_NULL}:
                self.document.register((*self.path, "?"), key_node.start_mark)
                self.document.fail((*self.path, "?"), "it is no key", "a name, then ':' and a blank")
            key = str(key_node.value)
            path = (*self.path, key)
            if key in seen:
                self.document.fail_at(_at(key_node.start_mark), path, "the key comes twice", "each key once")
            seen.add(key)
            yield key, Cursor(self.document, value_node, path, key_node.start_mark)

    def values(self, expected: str) -> Iterator[Cursor]:
        """The members of a list; one value alone stands for a list of it, and nothing for an empty one."""
        if self.is_empty:
            return
        if isinstance(self.node, yaml.SequenceNode):
            for number, node in enumerate(self.node.value):
                yield Cursor(self.document, node, (*self.path, number))
        elif isinstance(self.node, yaml.ScalarNode):
            yield self
        else:
            self.fail("there is a mapping", expected)

    def known_items(self, known: Mapping[str, object], expected: str) -> Iterator[tuple[str, Cursor]]:
        """`items`, whose keys must be among `known`."""
        for key, value in self.items(expected):
            if key not in known:
                self.document.fail(value.path, f"the key {quoted(key)} is unknown", did_you_mean(key, known))
            yield key, value


def _at(mark: yaml.Mark | None) -> tuple[int, int]:
    """Line and column from 1; PyYAML counts from 0."""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
