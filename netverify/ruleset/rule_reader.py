"""A rule from its line: the grammar of what iptables-save writes and iptables-restore reads.

A rule is a row of options, of the core or of an extension named before (see ownership.py). Spellings are
unified: `-s ! x` becomes `! -s x`, `--source-port` and its abbreviations become `--sport`, and an extension
that the protocol brought along is named. A list of addresses (`-s a,b`) makes several rules, as in iptables.
"""

from __future__ import annotations

from itertools import product

from netverify.ruleset.counters import Counters
from netverify.ruleset.errors import RulesetError
from netverify.ruleset.names import check_chain_name, is_name, is_option_name
from netverify.ruleset.ownership import Key, Known, Loaded
from netverify.ruleset.rule import Match, Option, Origin, Rule, Target
from netverify.ruleset.vocabulary import (
    ADDRESSES,
    CORE_FIELDS,
    CORE_FLAGS,
    CORE_OPTIONS,
    MATCHES,
    TARGETS,
    OptionSpec,
)
from netverify.ruleset.words import Words, looks_like_option, split

_COMMANDS = frozenset({"-A", "--append"})

_MOST_ADDRESSES = 512
"""In one list. iptables reads words of at most 1,023 characters (`add_param` in iptables/xshared.c)."""

Parts = dict[tuple[object, ...], Match | Target]
"""Matches and targets already built, by their words: most rules of a file share most of theirs."""


def parse_rule(text: str, *, chain: str | None = None, parts: Parts | None = None) -> Rule:
    """One rule from text: see `Rule.parse`. `parts` is shared by rules that are read one after the other."""
    words = split(text.removesuffix("\n"))
    rules = read_rules(words, chain=chain, parts={} if parts is None else parts)
    if len(rules) != 1:
        raise words.error(0, "one rule, but its list of addresses makes several")
    return rules[0]


def read_rules(words: Words, *, chain: str | None, parts: Parts) -> list[Rule]:
    """The rule of one line, or the rules if it lists addresses. `parts` is shared by a file's rules."""
    return _Reader(words, parts).read(chain)


class _Extension:
    """An extension named in the rule being read, and the options that it has got so far."""

    def __init__(self, name: str, known: Known) -> None:
        self.name = name
        self.known = known
        self.options: list[tuple[str, tuple[str, ...], bool]] = []


class _Reader:
    """Reads one line, word by word."""

    def __init__(self, words: Words, parts: Parts) -> None:
        self.words = words
        self.texts = words.texts
        self.quoted = words.quoted
        self.parts = parts
        self.position = 0
        self.negated = False  # an exclamation mark was read and waits for its option
        self.tests: list[list[Match] | _Extension] = []  # a core field with several values: one rule of each
        self.fields: set[str] = set()
        self.target: _Extension | None = None
        self.goto = False
        self.extensions: dict[Key, _Extension] = {}
        self.loaded = Loaded()
        self.counters: Counters | None = None

    def read(self, chain: str | None) -> list[Rule]:
        try:
            self._leading_counters()
            name = self._chain(chain)
            while self.position < len(self.texts):
                self._step()
            if self.negated:
                raise self.words.error(self.position, "an option after '!'")
            return self._built(name)
        except RulesetError as error:
            if type(error) is not RulesetError:
                raise
            # A value of the model was refused: the words in front of `position` are those that made it.
            raise self.words.error(max(self.position - 1, 0), f"a rule that can be ({error})") from error

    def _built(self, chain: str) -> list[Rule]:
        target = None if self.target is None else self._target(self.target)
        choices = [[self._match(test)] if isinstance(test, _Extension) else test for test in self.tests]
        origin = Origin(self.words.number, self.words.line)
        return [Rule(chain, matches, target, self.counters, origin) for matches in product(*choices)]

    def _leading_counters(self) -> None:
        if not self.texts or not self.texts[0].startswith("["):
            return
        packets, colon, size = self.texts[0][1:-1].partition(":")
        if not colon or not self.texts[0].endswith("]"):
            raise self.words.error(0, "counters [packets:bytes]")
        self.position = 1
        self.counters = self._read_counters(packets, size)

    def _read_counters(self, packets: str, size: str) -> Counters:
        for number in (packets, size):
            if not (number.isascii() and number.isdigit() and len(number) <= 20):
                raise self.words.error(self.position - 1, "counts of packets and bytes")
        return Counters(int(packets), int(size))

    def _chain(self, chain: str | None) -> str:
        if self.position < len(self.texts) and self.texts[self.position] in _COMMANDS:
            self.position += 1
            name = self._name("a chain's name")
            check_chain_name(name)
            if chain not in (None, name):
                raise self.words.error(self.position - 1, f"a rule for chain {chain}")
            return name
        if chain is None:
            raise self.words.error(self.position, "-A and a chain's name")
        return chain

    def _step(self) -> None:
        word = self.texts[self.position]
        if self.position in self.quoted or not (word == "!" or looks_like_option(word)):
            raise self.words.error(self.position, "an option")
        if word == "!":
            if self.negated:
                raise self.words.error(self.position, "an option after '!'")
            self.negated = True
            self.position += 1
            return
        meaning, inline = _core_option(word)
        if meaning is None:
            self._extension_option(word)
        else:
            self._core_option(meaning, inline)

    def _core_option(self, meaning: str, inline: str | None) -> None:
        self.position += 1
        if meaning in CORE_FIELDS:
            self._core_field(meaning, inline)
        else:
            self._structure(meaning, inline)

    def _name(self, expected: str, inline: str | None = None) -> str:
        name = self._argument(expected, inline)
        if not is_name(name):
            raise self.words.error(self.position - 1, f"{expected}, without spaces, quotes or backslashes")
        return name

    def _core_field(self, name: str, inline: str | None) -> None:
        if name in self.fields:
            raise self.words.error(self.position - 1, f"{CORE_FIELDS[name]} only once")
        self.fields.add(name)
        if name in CORE_FLAGS:
            if inline is not None:
                raise self.words.error(self.position - 1, f"{CORE_FIELDS[name]} to stand alone")
            self.tests.append([self._core_match(name)])
        else:
            self._core_value(name, inline)

    def _core_value(self, name: str, inline: str | None) -> None:
        value = self._argument(f"a value for {CORE_FIELDS[name]}", inline, may_negate=True)
        values = [value]
        if name in ADDRESSES and "," in value:
            values = value.split(",")
            if self.negated or len(values) > _MOST_ADDRESSES:
                allowed = "one address after '!'" if self.negated else f"at most {_MOST_ADDRESSES} addresses"
                raise self.words.error(self.position - 1, allowed)
        elif name == "protocol" and not self.negated:
            self.loaded.protocol = value.lower()
        self.tests.append([self._core_match(name, value) for value in values])

    def _core_match(self, name: str, *values: str) -> Match:
        negated, self.negated = self.negated, False
        key = (name, values, negated)
        match = self.parts.get(key)
        if not isinstance(match, Match):
            match = self.parts[key] = Match(name, (Option(name, values, negated),))
        return match

    def _structure(self, meaning: str, inline: str | None) -> None:
        if self.negated:
            raise self.words.error(self.position - 1, "an option that can be negated")
        if meaning == "set-counters":
            packets = self._argument("a number of packets", inline)
            self.counters = self._read_counters(packets, self._argument("a number of bytes"))
        elif meaning == "match":
            name = self._name("an extension's name", inline)
            if name in CORE_FIELDS:
                raise self.words.error(self.position - 1, "an extension")
            self._load_match(name)
        elif self.target is not None:
            raise self.words.error(self.position - 1, "one target only")
        else:
            self.goto = meaning == "goto"
            name = self._name("a chain's name" if self.goto else "a target or a chain's name", inline)
            self.target = _Extension(name, TARGETS.get(name))
            if not self.goto:
                self._load(("-j", name), self.target)

    def _load_match(self, name: str) -> None:
        extension = _Extension(name, MATCHES.get(name))
        self.tests.append(extension)
        self._load(("-m", name), extension)

    def _load(self, key: Key, extension: _Extension) -> None:
        self.extensions[key] = extension
        self.loaded.load(key, extension.known)

    def _extension_option(self, word: str) -> None:
        name, has_inline, inline = word.removeprefix("--").partition("=")
        owner = self.loaded.owner(name) if word.startswith("--") and is_option_name(name) else None
        if owner is None:
            raise self.words.error(self.position, "an option of iptables or of an extension named before it")
        first = inline if has_inline else None
        if isinstance(owner, str):
            self._core_option(owner, first)
            return
        if owner.implicit:
            self._load_match(owner.extension[1])
        self.position += 1
        values = self._loose_values(first) if owner.spec is None else self._values(owner.spec, first)
        option = (owner.spec.name if owner.spec else name, values, self.negated)
        self.extensions[owner.extension].options.append(option)
        self.negated = False

    def _values(self, spec: OptionSpec, inline: str | None) -> tuple[str, ...]:
        """The values of an option that takes a known number of them."""
        if spec.arity == 0 and inline is not None:
            raise self.words.error(self.position - 1, f"--{spec.name} to stand alone")
        expected = (
            f"a value for --{spec.name}" if spec.arity == 1 else f"{spec.arity} values for --{spec.name}"
        )
        values = []
        for number in range(spec.arity):
            first, may_negate = (None, False) if number else (inline, not spec.is_text)
            values.append(self._argument(expected, first, may_negate=may_negate, is_text=spec.is_text))
        return tuple(values)

    def _loose_values(self, inline: str | None) -> tuple[str, ...]:
        """The values of an option that nobody knows: the words up to the next option."""
        values = [] if inline is None else [inline]
        if self._is_old_negation(self.position) and self._is_value(self.position + 1) and not self.negated:
            self.negated = True
            self.position += 1
        while self._is_value(self.position):
            values.append(self.texts[self.position])
            self.position += 1
        return tuple(values)

    def _is_value(self, index: int) -> bool:
        if index >= len(self.texts):
            return False
        word = self.texts[index]
        return index in self.quoted or not (word == "!" or looks_like_option(word))

    def _is_old_negation(self, index: int) -> bool:
        return index < len(self.texts) and self.texts[index] == "!" and index not in self.quoted

    def _argument(
        self, expected: str, inline: str | None = None, *, may_negate: bool = False, is_text: bool = False
    ) -> str:
        """The next word as a value; `may_negate` allows the old `--option ! value`."""
        if inline is not None:
            return inline
        if may_negate and self._is_old_negation(self.position) and not self.negated:
            self.negated = True
            self.position += 1
        if self.position >= len(self.texts) or not (is_text or self._is_value(self.position)):
            raise self.words.error(self.position, expected)
        self.position += 1
        return self.texts[self.position - 1]

    def _match(self, extension: _Extension) -> Match:
        key = ("-m", extension.name, *extension.options)
        match = self.parts.get(key)
        if not isinstance(match, Match):
            options = tuple(Option(*option) for option in extension.options)
            match = self.parts[key] = Match(extension.name, options)
        return match

    def _target(self, extension: _Extension) -> Target:
        key = ("-g" if self.goto else "-j", extension.name, *extension.options)
        target = self.parts.get(key)
        if not isinstance(target, Target):
            options = tuple(Option(*option) for option in extension.options)
            target = self.parts[key] = Target(extension.name, options, self.goto)
        return target


def _core_option(word: str) -> tuple[str | None, str | None]:
    """What an option of the core means, and a value written into the same word (`-p6`, `--protocol=tcp`)."""
    if word in CORE_OPTIONS:
        return CORE_OPTIONS[word], None
    if word.startswith("--"):
        name, separator, value = word.partition("=")
        return (CORE_OPTIONS[name], value) if separator and name in CORE_OPTIONS else (None, None)
    return (CORE_OPTIONS[word[:2]], word[2:]) if word[:2] in CORE_OPTIONS else (None, None)
