"""One rule as data: what it tests, in order, and what it does with a packet that passes every test.

Nothing here knows what a test means; the meaning belongs to whoever evaluates the rule. An option or an
extension that nobody knows is kept like any other, so that it can be shown as unknown and not be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from netverify.ruleset.counters import Counters
from netverify.ruleset.errors import RulesetError
from netverify.ruleset.names import check_chain_name, is_name, is_option_name
from netverify.ruleset.ownership import Key, Known, Loaded, Owner
from netverify.ruleset.vocabulary import (
    ADDRESSES,
    CORE_FIELDS,
    CORE_FLAGS,
    CORE_OPTIONS,
    MATCHES,
    TARGETS,
    VERDICTS,
)
from netverify.ruleset.words import UNWRITABLE


@dataclass(frozen=True, slots=True)
class Option:
    """One option with its values, in the words of iptables-save, without the leading dashes.

    `negated` means that an exclamation mark stands before it.
    """

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False

    def __post_init__(self) -> None:
        if not is_option_name(self.name):
            raise RulesetError(f"{self.name!r} is no option name: expected a long name without its dashes")
        for value in self.values:
            if UNWRITABLE.search(value):
                raise RulesetError(f"option {self.name}: the value {value!r} holds a line break or a NUL")

    @property
    def value(self) -> str:
        """The values as one text, separated by a space: what most options, with their single value, need."""
        return self.values[0] if len(self.values) == 1 else " ".join(self.values)


@dataclass(frozen=True, slots=True)
class Match:
    """One test of a rule: a field of the core (`source`, `protocol`, ... see CORE_FIELDS) or an extension.

    A core field has exactly one option, of its own name: `Match.core("source", "10.0.0.0/8", negated=True)`.
    An extension has the options that were given to it, in their order; all of them must hold.
    """

    name: str
    options: tuple[Option, ...] = ()
    is_known: bool = field(init=False, repr=False, compare=False)
    """Whether the field or the extension, and all of its options, are in the vocabulary."""

    def __post_init__(self) -> None:
        known = MATCHES.get(self.name)
        if self.name in CORE_FIELDS:
            _check_core(self.name, self.options)
            object.__setattr__(self, "is_known", True)
        else:
            _check_extension("match", self.name, self.options, known)
            is_known = known is not None and all(option.name in known for option in self.options)
            object.__setattr__(self, "is_known", is_known)

    @classmethod
    def core(cls, name: str, *values: str, negated: bool = False) -> Match:
        """The test of a field of the core. Raises RulesetError when there is no such field."""
        if name not in CORE_FIELDS:
            raise RulesetError(f"no core field {name!r}: expected one of {', '.join(CORE_FIELDS)}")
        return cls(name, (Option(name, values, negated),))

    @property
    def is_core(self) -> bool:
        """Whether this tests a field of the core, not through an extension (`-m`)."""
        return self.name in CORE_FIELDS

    @property
    def value(self) -> str:
        """The value of a core field, or of the only option of an extension; RulesetError if it has more."""
        return self._only().value

    @property
    def negated(self) -> bool:
        """Whether a core field, or the only option of an extension, is negated."""
        return self._only().negated

    def option(self, name: str) -> Option | None:
        """The first option of that name, or None."""
        return next((option for option in self.options if option.name == name), None)

    def _only(self) -> Option:
        if len(self.options) != 1:
            raise RulesetError(f"match {self.name} has {len(self.options)} options; ask for one by its name")
        return self.options[0]


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule does: a verdict (ACCEPT, ...), an extension (DNAT, ...), or a jump or goto to a chain.

    Whether a name is a chain depends on the table that the rule stands in: see `Table.callee`.
    """

    name: str
    options: tuple[Option, ...] = ()
    goto: bool = False

    def __post_init__(self) -> None:
        if self.goto and self.options:
            raise RulesetError(f"a goto to {self.name} takes no options")
        _check_extension("target", self.name, self.options, TARGETS.get(self.name))

    @property
    def is_verdict(self) -> bool:
        """Whether this is a verdict of the core and no extension or chain."""
        return self.name in VERDICTS and not self.goto

    @property
    def is_known(self) -> bool:
        """Whether all options are in the vocabulary; a name alone may be a chain and says nothing."""
        known = TARGETS.get(self.name, {})
        return not self.options or all(option.name in known for option in self.options)

    def option(self, name: str) -> Option | None:
        """The first option of that name, or None."""
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule was read: the number of the line in its file (from 1), and the line as it stood there."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the chain `chain`: its tests in order, all of which must hold, and its target, if any.

    Two rules are equal when they say the same: the counters, which are an observation, and the origin do not
    count. The number of a rule is its position in its chain (`Ruleset.rules()` gives it).
    """

    chain: str
    matches: tuple[Match, ...] = ()
    target: Target | None = None
    counters: Counters | None = field(default=None, compare=False)
    origin: Origin | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_chain_name(self.chain)
        fields = set()
        all_known = self.target is None or self.target.is_known
        for match in self.matches:
            all_known = all_known and match.is_known
            if match.name in CORE_FIELDS:
                if match.name in fields:
                    raise RulesetError(f"{match.name} is tested twice: expected each field of the core once")
                fields.add(match.name)
        if not all_known:
            self._check_owners()

    def _check_owners(self) -> None:
        """Refuse an option that a reader of this rule would give to another of its extensions."""
        loaded = Loaded()
        for match in self.matches:
            if match.name == "protocol" and not match.negated:
                loaded.protocol = match.value.lower()
            if not match.is_core:
                _check_owner(("-m", match.name), match.options, MATCHES.get(match.name), loaded)
        if self.target is not None and not self.target.goto:
            known = TARGETS.get(self.target.name)
            _check_owner(("-j", self.target.name), self.target.options, known, loaded)

    @classmethod
    def parse(cls, text: str, *, chain: str | None = None) -> Rule:
        """Read one rule as iptables-save writes it, `-A CHAIN ...`, with or without `[packets:bytes]`.

        With `chain`, the text may also be the rule alone, without `-A`. Raises RulesetSyntaxError.
        """
        from netverify.ruleset.rule_reader import parse_rule  # the grammar builds on this module

        return parse_rule(text, chain=chain)

    def render(self, *, counters: bool = False) -> str:
        """The rule as iptables-save writes it; with `counters`, and if they are known, `[p:b]` before it."""
        from netverify.ruleset.rule_writer import render_rule  # the grammar builds on this module

        return render_rule(self, counters=counters)

    def match(self, name: str) -> Match | None:
        """The first match of that name, or None."""
        return next((match for match in self.matches if match.name == name), None)

    def in_chain(self, chain: str) -> Rule:
        """The same rule for another chain."""
        return self if chain == self.chain else replace(self, chain=chain)

    def __str__(self) -> str:
        return self.render()


def _check_core(name: str, options: tuple[Option, ...]) -> None:
    wanted = 0 if name in CORE_FLAGS else 1
    if len(options) != 1 or options[0].name != name or len(options[0].values) != wanted:
        raise RulesetError(f"core field {name}: expected the one option {name} with {wanted} value(s)")
    if name in ADDRESSES and "," in options[0].value:
        raise RulesetError(f"{name} {options[0].value}: one rule tests one address or network")


def _check_extension(kind: str, name: str, options: tuple[Option, ...], known: Known) -> None:
    if not is_name(name):
        raise RulesetError(f"{name!r} is no {kind} name: expected letters without spaces or quotes")
    for option in options:
        if f"--{option.name}" in CORE_OPTIONS:
            raise RulesetError(f"{kind} {name}: --{option.name} is an option of iptables itself")
        spec = known.get(option.name) if known else None
        if spec is None:
            continue
        if spec.name != option.name:
            raise RulesetError(f"{kind} {name}: write --{option.name} as --{spec.name}, like iptables-save")
        if len(option.values) != spec.arity:
            raise RulesetError(f"{kind} {name}: --{option.name} takes {spec.arity} value(s)")


def _check_owner(extension: Key, options: tuple[Option, ...], known: Known, loaded: Loaded) -> None:
    loaded.load(extension, known)
    for option in options:
        owner = loaded.owner(option.name)
        if not isinstance(owner, Owner) or owner.extension != extension:
            raise RulesetError(f"--{option.name} of {extension[1]} would be read as another extension's")
        if owner.spec is not None and owner.spec.name != option.name:
            raise RulesetError(f"--{option.name} of {extension[1]} would be read as --{owner.spec.name}")
