"""What may be the name of a chain, an extension or an option."""

from __future__ import annotations

import re
from functools import lru_cache

from netverify.ruleset.errors import RulesetError

_NAME = re.compile(r"""[^\s"'\\\0!-][^\s"'\\\0]*""")
_OPTION_NAME = re.compile(r"""[^\s"'\\\0!=-][^\s"'\\\0!=]*""")

CHAIN_NAME_LIMIT = 28
"""Longest chain name in bytes (XT_EXTENSION_MAXNAMELEN - 1 in linux/netfilter/x_tables.h)."""


@lru_cache(maxsize=4096)
def check_chain_name(name: str) -> None:
    """Raise RulesetError unless iptables accepts `name` for a chain and can read it back."""
    if not _NAME.fullmatch(name):
        raise RulesetError(
            f"{name!r} is no chain name: expected letters without spaces, quotes or backslashes,"
            " not beginning with '-' or '!'"
        )
    if len(name.encode(errors="replace")) > CHAIN_NAME_LIMIT:
        raise RulesetError(f"chain name {name!r} is longer than {CHAIN_NAME_LIMIT} bytes")


@lru_cache(maxsize=4096)
def is_name(text: str) -> bool:
    """Whether `text` can stand for an extension, or a chain, after `-m` or `-j`."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def is_option_name(text: str) -> bool:
    """Whether `--text` reads as one long option."""
    return _OPTION_NAME.fullmatch(text) is not None
