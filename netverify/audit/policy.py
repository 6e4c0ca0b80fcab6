"""Intended reachability as a file: who is meant to reach whom, over what, and what is to be denied.

    groups:
      frontend: [web, "nginx-*"]
    rules:
      - web -> db tcp/5432 allow
      - internet -> frontend tcp/443 only
      - monitoring -> * icmp allow
      - everything else between networks deny

A rule reads SOURCE -> TARGET SERVICE... VERB. `allow` says that the services are meant to work; `deny` that
none of them may (all traffic, where none is named); `only` allows the services and denies everything else
between the two. As in a packet filter the first rule that is about a packet decides. What no rule is about is
free, unless `everything else` denies it: `between networks` is between two containers that share none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

from netverify.errors import InputError
from netverify.topology.document import Cursor, Document

_SERVICE = re.compile(r"(?P<protocol>tcp|udp|sctp|icmp|any)(?:/(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?)?")
ANY = "any"
_NAME = re.compile(r"[A-Za-z0-9*?_.-]{1,128}")
_ELSE = {
    "everything else between networks deny": "networks",
    "everything else deny": "all",
}
_PARTY = "a container's name, a group, host, lan or internet; `*` and `?` stand for letters"
_EXPECTED = "SOURCE -> TARGET SERVICE... allow|deny|only, or one of: " + ", ".join(_ELSE)


class Verb(Enum):
    """What is intended."""

    ALLOW = "allow"
    DENY = "deny"
    ONLY = "only"


class Rest(Enum):
    """What is intended where no rule speaks: nothing in particular, or that nothing passes."""

    FREE = "free"
    NETWORKS = "networks"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Service:
    """A protocol, or `any`, and its destination ports, both ends included; None for all of them.

    The port is the one that is asked for: of a published port, the host's.
    """

    protocol: str
    ports: tuple[int, int] | None = None

    def holds(self, protocol: str, port: int | None) -> bool:
        """Whether a packet of that protocol, to that port, belongs to it."""
        if self.protocol not in (ANY, protocol):
            return False
        return self.ports is None or (port is not None and self.ports[0] <= port <= self.ports[1])

    def __str__(self) -> str:
        if self.ports is None:
            return self.protocol
        low, high = self.ports
        return f"{self.protocol}/{low}" if low == high else f"{self.protocol}/{low}-{high}"


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One line of a policy; `line` is where it stands in the file."""

    source: str
    target: str
    services: tuple[Service, ...]
    verb: Verb
    line: int = 0

    def __str__(self) -> str:
        words = [self.source, "->", self.target, *map(str, self.services), self.verb.value]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Clause:
    """What is intended of some services between two parties; None for all traffic. The first clause counts.

    `rule` is the line that says so, None for the last line's `everything else`.
    """

    services: tuple[Service, ...] | None
    allowed: bool
    rule: PolicyRule | None = None

    def speaks_of(self, protocol: str, port: int | None) -> bool:
        """Whether it is about such a packet."""
        return self.services is None or any(service.holds(protocol, port) for service in self.services)


@dataclass(frozen=True)
class Policy:
    """A whole policy."""

    rules: tuple[PolicyRule, ...]
    rest: Rest = Rest.FREE
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def clauses(self, source: str, target: str, *, share_a_network: bool) -> tuple[Clause, ...]:
        """What is intended between two parties, in order: of a packet, the first clause about it decides.

        A packet that no clause is about is free. `share_a_network` matters where networks are kept apart.
        """
        found: list[Clause] = []
        for rule in self.rules:
            if not (self._is(source, rule.source) and self._is(target, rule.target)):
                continue
            if rule.verb is Verb.DENY:
                found.append(Clause(rule.services or None, False, rule))
                continue
            found.append(Clause(rule.services, True, rule))
            if rule.verb is Verb.ONLY:
                found.append(Clause(None, False, rule))
        if self.rest is Rest.ALL or (self.rest is Rest.NETWORKS and not share_a_network):
            found.append(Clause(None, False))
        return tuple(found)

    def strangers(self, known: Iterable[str]) -> tuple[str, ...]:
        """Names and patterns of the policy that mean nobody: a misspelt name allows and denies nothing."""
        names = list(known)
        words = dict.fromkeys(word for rule in self.rules for word in (rule.source, rule.target))
        return tuple(word for word in words if not any(self._is(name, word) for name in names))

    def _is(self, name: str, word: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.groups.get(word, (word,)))


def load(path: str | Path) -> Policy:
    """The policy in a file. Raises InputError with file, line and key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the policy {path}: {error}") from error
    return loads(text, str(path))


def loads(text: str, file: str) -> Policy:
    """The policy in a text; `file` is its name in errors. Raises InputError."""
    root = Document(text, file, "a policy: a list of rules under the key `rules`").root()
    groups: dict[str, tuple[str, ...]] = {}
    rules: list[PolicyRule] = []
    rest = Rest.FREE
    for key, value in root.known_items({"groups": "", "rules": ""}, "the keys `rules` and `groups`"):
        if key == "groups":
            for name, members in value.items("names of groups, each with a list of names"):
                groups[name] = tuple(_name(member) for member in members.values("a list of names"))
            continue
        for line in value.values("a list of rules"):
            words = " ".join(line.text(_EXPECTED).split())
            if words in _ELSE:
                if rest is not Rest.FREE:
                    line.fail("a second `everything else`", "one for the whole policy")
                rest = Rest(_ELSE[words])
            else:
                rules.append(_rule(words, line))
    if not rules and rest is Rest.FREE:
        root.fail("the policy has no rule", _EXPECTED)
    return Policy(tuple(rules), rest, groups)


def dumps(policy: Policy) -> str:
    """A text that `loads` reads as this policy."""
    lines = []
    if policy.groups:
        lines.append("groups:")
        lines += [
            f"  {name}: [{', '.join(map(_quoted, members))}]" for name, members in policy.groups.items()
        ]
    lines.append("rules:")
    lines += [f"  - {_quoted(str(rule))}" for rule in policy.rules]
    lines += [f"  - {words}" for words, rest in _ELSE.items() if rest == policy.rest.value]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """YAML's double quotes; names hold nothing that would need an escape."""
    return f'"{text}"'


def _rule(words: str, cursor: Cursor) -> PolicyRule:
    parts = words.split(" ")
    if len(parts) < 4 or parts[1] != "->":
        cursor.fail(f"{words[:60]!r} is no rule", _EXPECTED)
    source, target, *services, verb = parts[0], parts[2], *parts[3:]
    for name in (source, target):
        if not _NAME.fullmatch(name):
            cursor.fail(f"{name[:60]!r} is no name", _PARTY)
    verbs = {member.value: member for member in Verb}
    if verb not in verbs:
        cursor.fail(f"the rule ends with {verb[:60]!r}", "allow, deny or only")
    rule = PolicyRule(
        source, target, tuple(_service(word, cursor) for word in services), verbs[verb], cursor.line
    )
    if not rule.services and rule.verb is not Verb.DENY:
        cursor.fail(
            f"it names no service to {verb}", "services such as tcp/443 or icmp (`deny` does without)"
        )
    return rule


def _service(word: str, cursor: Cursor) -> Service:
    found = _SERVICE.fullmatch(word)
    expected = "a service such as tcp/443, udp/5000-5010, tcp (all ports), icmp or any"
    if found is None or (found["protocol"] in ("icmp", ANY) and found["low"]):
        cursor.fail(f"{word[:60]!r} is no service", expected)
    if not found["low"]:
        return Service(found["protocol"])
    low = int(found["low"])
    high = int(found["high"] or low)
    if not 0 < low <= high < 65536:
        cursor.fail(f"{word[:60]!r} has ports that cannot be", "ports from 1 to 65535, the lower one first")
    return Service(found["protocol"], (low, high))


def _name(cursor: Cursor) -> str:
    text = cursor.text("a name")
    if not _NAME.fullmatch(text):
        cursor.fail(f"{text[:60]!r} is no name", _PARTY)
    return text
