"""A rule as the line that iptables-save writes for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netverify.ruleset.rule import Option, Rule
from netverify.ruleset.vocabulary import CORE_FIELDS, MATCHES, TARGETS, OptionSpec, Writing
from netverify.ruleset.words import bare, bare_text, quote, saved_string

_WRITERS: Mapping[Writing, Callable[[str], str]] = {
    Writing.BARE: bare,
    Writing.NAME: bare_text,
    Writing.STRING: saved_string,
    Writing.QUOTED: quote,
}


def render_rule(rule: Rule, *, counters: bool = False) -> str:
    """One rule as iptables-save writes it: see `Rule.render`."""
    words = [str(rule.counters)] if counters and rule.counters is not None else []
    words += ("-A", rule.chain)
    for match in rule.matches:
        if match.name in CORE_FIELDS:
            option = match.options[0]
            if option.negated:
                words.append("!")
            words += (CORE_FIELDS[match.name], *map(bare, option.values))
        else:
            words += ("-m", match.name)
            _add_options(words, match.options, MATCHES.get(match.name, {}))
    if rule.target is not None:
        words += ("-g" if rule.target.goto else "-j", rule.target.name)
        _add_options(words, rule.target.options, TARGETS.get(rule.target.name, {}))
    return " ".join(words)


def _add_options(words: list[str], options: tuple[Option, ...], known: Mapping[str, OptionSpec]) -> None:
    for option in options:
        if option.negated:
            words.append("!")
        words.append(f"--{option.name}")
        write = _WRITERS[known[option.name].writing] if option.name in known else bare
        words += map(write, option.values)
