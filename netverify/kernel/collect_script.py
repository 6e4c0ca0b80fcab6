"""The collector as a shell script, for hosts without Python: `netverify collect --print-script`.

The script is kernel/collect.sh, with kernel/collect.awk and the collector's own lists in it, so that the two
cannot keep different things: what of the engine's words reaches a file, which sysctls decide about packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from netverify import __version__
from netverify.host import kept
from netverify.kernel import collect, collect_engine


def script() -> str:
    """A POSIX shell script that writes a tar of the same parts as `collect`, and changes nothing."""
    text = _file("collect.sh")
    for name, value in _blanks().items():
        text = text.replace(f"@{name}@", value)
    return text


def _blanks() -> Mapping[str, str]:
    engines = collect_engine.ENGINES
    return {
        "KEEP": _file("collect.awk"),
        "VERSION": __version__,
        "LIMIT": f"{collect.LIMIT:.0f}",
        "ENGINES": " ".join(engines),
        "NO_ENGINE": collect_engine.NO_ENGINE,
        "AT_ONCE": str(collect_engine.AT_ONCE),
        "SYSCTLS": "\n".join(collect.WANTED),
        "BRANCHES": "\n".join(collect.BRANCHES),
        "CONTAINER": _lines(kept.CONTAINER),
        "NETWORK": _lines(kept.NETWORK),
        "INFO": _lines(kept.INFO),
    }


def _file(name: str) -> str:
    return (files("netverify.kernel") / name).read_text("utf-8")


def _lines(tree: Mapping[str, Any]) -> str:
    return "\n".join(kept.leaves(tree))
