"""Which extension of a rule an option belongs to.

In iptables the options of the core and of all extensions named so far are one namespace. An option goes to
the extension named last among those that have it; failing that to the only one, or the core, that has an
option of which it is an abbreviation; failing that to the extension that the protocol brings along, as in
`-p tcp --dport 80` without `-m tcp`.

Two things that iptables refuses are kept here instead, so that nothing is lost: an extension that is not in
the vocabulary takes every option after it, up to the next `-m`, `-j` or `-g`, and an option that nobody knows
stays with the extension that was named last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from netverify.ruleset.vocabulary import CORE_OPTIONS, IMPLICIT_MATCHES, MATCHES, OptionSpec

Known = Mapping[str, OptionSpec] | None
"""The options of an extension by every spelling; None if the extension is not in the vocabulary."""

Key = tuple[Literal["-m", "-j"], str]
"""An extension of a rule: how it was named, and its name."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The extension an option belongs to, what is known of it, and if the extension is yet to be loaded."""

    extension: Key
    spec: OptionSpec | None = None
    implicit: bool = False


class Loaded:
    """The extensions named so far in a rule. Each name counts once, the last time, so lookups stay cheap."""

    def __init__(self) -> None:
        self.protocol: str | None = None
        self._last: Key | None = None
        self._last_is_known = False
        self._known: dict[Key, Mapping[str, OptionSpec]] = {}

    def load(self, extension: Key, known: Known) -> None:
        """Note that the rule names this extension (again)."""
        self._last, self._last_is_known = extension, known is not None
        if known is not None:
            self._known.pop(extension, None)
            self._known[extension] = known

    def owner(self, option: str) -> Owner | str | None:
        """Whose option this is; the core's meaning (see CORE_OPTIONS) if it abbreviates one of the core's.

        None if no extension has been named that could keep it.
        """
        if self._last is not None and not self._last_is_known:
            return Owner(self._last)
        for extension, known in reversed(self._known.items()):
            if option in known:
                return Owner(extension, known[option])
        meant: list[Owner | str] = [
            Owner(extension, spec)
            for extension, known in self._known.items()
            for spec in _abbreviated(option, known)
        ]
        meant += {meaning for spelling, meaning in CORE_OPTIONS.items() if spelling.startswith(f"--{option}")}
        if len(meant) == 1:
            return meant[0]
        implicit = IMPLICIT_MATCHES.get(self.protocol or "")
        if not meant and implicit and ("-m", implicit) not in self._known:
            specs = _abbreviated(option, MATCHES[implicit])
            if len(specs) == 1:
                return Owner(("-m", implicit), specs[0], implicit=True)
        return Owner(self._last) if self._last is not None else None


def _abbreviated(option: str, known: Mapping[str, OptionSpec]) -> list[OptionSpec]:
    """The options that `option` is or begins, as getopt_long(3) understands long options."""
    if option in known:
        return [known[option]]
    found = {spec.name: spec for spelling, spec in known.items() if spelling.startswith(option)}
    return list(found.values())
