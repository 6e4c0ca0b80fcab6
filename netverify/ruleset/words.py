"""How iptables-save quotes a rule's words, and how iptables-restore takes the line apart again.

The rules are those of iptables' own reader (`add_param_to_argv` in iptables/xshared.c) and writer
(`xtables_save_string` in libxtables/xtables.c): words are separated by spaces and tabs; a double quote opens
a quoted part anywhere in a word, and the quote that closes it ends the word; inside quotes a backslash takes
the next character as it is; outside quotes neither the backslash nor the single quote has a meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from netverify.ruleset.errors import RulesetSyntaxError

UNWRITABLE = re.compile("[\n\0]")
"""Characters that no word can hold, quoted or not: they end the line for the reader."""

_WORD = re.compile(
    r'([^ \t"]*+)(?:("(?:[^"\\]|\\.)*+")|("))?', re.DOTALL
)  # a word, its quoted end, a lone quote
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LETTERS = re.compile(r"[A-Za-z0-9_-]+")
_NEEDS_QUOTES = re.compile(r"""[ \t\r"'\\]|^$""")


@dataclass(frozen=True, slots=True)
class Words:
    """A line taken apart: its words, and which of them (by index) stood in quotes."""

    line: str
    number: int
    texts: list[str]
    quoted: frozenset[int] = frozenset()

    def error(self, index: int, expected: str) -> RulesetSyntaxError:
        """The error to raise when the word at `index` is not what was expected; past the last, the end."""
        if index >= len(self.texts):
            return RulesetSyntaxError(self.number, len(self.line.rstrip(" \t")) + 1, expected, "", self.line)
        start = _found(self.line, self.number)[index].start()
        return RulesetSyntaxError(self.number, start + 1, expected, self.texts[index], self.line)


def split(line: str, number: int = 1) -> Words:
    """Take a line apart as iptables-restore does. Raises RulesetSyntaxError for a quote without its end."""
    if '"' not in line and line.isprintable():  # then a space is the only blank that str.split can meet
        return Words(line, number, line.split())
    unreadable = UNWRITABLE.search(line)
    if unreadable:
        raise RulesetSyntaxError(number, unreadable.start() + 1, "one line of text", unreadable[0], line)
    found = _found(line, number)
    texts = [word[1] + (_ESCAPE.sub(r"\1", word[2][1:-1]) if word[2] else "") for word in found]
    return Words(line, number, texts, frozenset(index for index, word in enumerate(found) if word[2]))


def _found(line: str, number: int) -> list[re.Match[str]]:
    words = []
    for word in _WORD.finditer(line):
        if word[3]:
            raise RulesetSyntaxError(number, word.start(3) + 1, "a closing quote for this one", '"', line)
        if word[0]:
            words.append(word)
    return words


def looks_like_option(word: str) -> bool:
    """Whether a word that is not in quotes begins an option, so that it is no value."""
    return word[:1] == "-" and (word[1:2] == "-" or word[1:2].isalpha() or word in ("-4", "-6"))


def bare(text: str) -> str:
    """A value as iptables-save writes it: in quotes only when it could not be read back otherwise."""
    return quote(text) if text == "!" or looks_like_option(text) else bare_text(text)


def bare_text(text: str) -> str:
    """The same where the reader takes any word for a value, also one that looks like an option."""
    return quote(text) if _NEEDS_QUOTES.search(text) else text


def saved_string(text: str) -> str:
    """Text as `xtables_save_string` writes comments and log prefixes: in quotes unless plain letters."""
    return text if _LETTERS.fullmatch(text) else quote(text)


def quote(text: str) -> str:
    """`text` in double quotes, with quotes and backslashes escaped."""
    return '"' + re.sub(r"""(["'\\])""", r"\\\1", text) + '"'
