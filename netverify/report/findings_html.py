"""Findings as one HTML page that needs nothing but itself: no script, no font, no address of anybody's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from netverify.audit.finding import Finding, in_order
from netverify.reachability.text import printable
from netverify.report.findings import summary

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
article { border: 1px solid #ccc; border-left-width: 8px; margin: 1rem 0; padding: .5rem 1rem; }
article.critical, article.high { border-left-color: #b00020; }
article.medium { border-left-color: #b26a00; }
article.low, article.info { border-left-color: #5b6b8c; }
article.unknown { border-left-color: #777; background: #f6f6f6; }
h2 { font-size: 1.1rem; margin: .2rem 0; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem 1.2rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 13px; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; margin: 0; }
.word { text-transform: uppercase; font-size: .8rem; letter-spacing: .05em; }
"""


def to_html(findings: Sequence[Finding], host: str) -> str:
    """The whole page. Every text is escaped; a severity is told in words, not by colour alone."""
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>netverify: {_text(host)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(host)}</h1>",
        f"<p>{_text(summary(findings))}</p>",
    ]
    for finding in in_order(list(findings)):
        lines += _article(finding)
    return "\n".join([*lines, "</body></html>"]) + "\n"


def _article(finding: Finding) -> Iterator[str]:
    word = "unknown" if finding.unknown else finding.severity.word
    yield f'<article class="{word}" id="{finding.fingerprint}">'
    yield f'<p class="word">{word} · {finding.id} · twin: {finding.confirmation.value}</p>'
    yield f"<h2>{_text(finding.title)}</h2><dl>"
    yield from _entry("About", [finding.subject])
    yield from _entry("Not known", [finding.unknown] if finding.unknown else [])
    yield from _entry("Why it matters", [finding.why])
    yield from _entry("Cells", [str(cell) for cell in finding.cells])
    yield from _entry("Rules", [str(rule) for rule in finding.rules], "code")
    if finding.evidence is not None:
        yield from _entry("Packet", [finding.evidence.packet], "code")
        if finding.evidence.trace:
            yield from _entry("Its way", ["\n".join(finding.evidence.trace)], "pre")
    yield from _entry("Remedy", finding.remedy, "code")
    yield from _entry("See", finding.references)
    yield "</dl></article>"


def _entry(name: str, texts: Sequence[str], tag: str = "span") -> Iterator[str]:
    if texts:
        yield f"<dt>{name}</dt>"
        yield from (f"<dd><{tag}>{_text(text)}</{tag}></dd>" for text in texts)


def _text(text: str) -> str:
    return escape("\n".join(printable(line) for line in text.split("\n")))
