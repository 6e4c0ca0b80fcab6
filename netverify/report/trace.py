"""A packet's way as a packet tracer tells it: phase by phase, then what came of it. Text and JSON.

Names, comments and rules come from hosts that nobody vouches for: what a terminal would obey is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from netverify.dataplane.world import Exchange
from netverify.model.narration import exchange_lines
from netverify.model.questions import (
    ARRIVES,
    BLOCKED,
    UNANSWERED,
    UNKNOWN,
    UNSENT,
    Answer,
    alternatives,
    deciding,
)
from netverify.reachability.text import printable

EXIT_CODES: Final = {ARRIVES: 0, UNANSWERED: 1, BLOCKED: 1, UNSENT: 1, UNKNOWN: 3}


def render(answer: Answer, *, every_rule: bool = False) -> str:
    """The whole answer; rules that did not match only with `every_rule`."""
    question = answer.question
    lines = [f"{question.probe} from {question.source} to {question.target}, {answer.subject.title}"]
    lines += exchange_lines(answer.exchange, every_rule=every_rule)
    lines += ["", f"Result: {verdict(answer)}"]
    rule = None if answer.exchange is None else deciding(answer.exchange)
    if rule is not None:
        lines.append(f"  decided by  {rule}")
    lines += (f"  unknown     {lack}" for lack in answer.lacks)
    lines += (f"  assumed     {'yes' if value else 'no'}: {name}" for name, value in answer.assumed)
    lines += _alternative_lines(answer)
    lines += (f"  assumed     {note}" for note in answer.subject.notes)
    return "\n".join(printable(line) for line in lines)


def _alternative_lines(answer: Answer) -> Iterator[str]:
    """What else can come of it, and when; or that it comes of it whatever the unknowns say."""
    if answer.exchange is None or not answer.assumed:
        return
    found = alternatives(answer)
    usual = answer.by_what_is_known
    if found.is_certain and found.runs > 1 and not answer.lacks:
        yield f"  certain     {_WORDS[usual]}, whatever the unknowns say"
    others = [case for case in found.cases if case.found.by_what_is_known != usual]
    others.sort(key=lambda case: len(case.assumed))
    for case in others[:MOST_CASES]:
        yield f"  otherwise   {_WORDS[case.found.by_what_is_known]}, if {case}"
    if len(others) > MOST_CASES or not found.complete:
        yield "  otherwise   there are more cases" + ("" if found.complete else ", not all of them tried")


def _why(found: Exchange) -> str:
    """The reason, where no rule that the packet itself met is behind it."""
    traces = (found.request, *(() if found.answer is None else (found.answer,)))
    waited = any(trace.discovery is found.decided for trace in traces)
    return f": {found.decided.reason}" if waited or found.decided.place is None else ""


MOST_CASES: Final = 8
"""So many cases of another verdict are shown."""


def verdict(answer: Answer) -> str:
    """What came of it, in a sentence."""
    found = answer.exchange
    if found is None:
        said = f"nothing is sent to {answer.address}: {answer.question.source} has {answer.why}"
    elif found.outcome != "delivered":
        said = f"the request does not arrive: {_outcome(found)}{_why(found)}"
    elif not found.replied:
        said = f"the request arrives at {who(found.receiver or found.request.host)}, but its answer is lost"
        said += _why(found)
    else:
        receiver, sender = who(found.receiver or ""), who(found.request.steps[0].host)
        said = f"the request arrives at {receiver}, and its answer at {sender}"
    if answer.verdict == UNKNOWN:
        return f"UNKNOWN. By what was collected, {said}."
    return f"{_WORDS[answer.verdict]}. {said[0].upper()}{said[1:]}."


_WORDS: Final = {
    ARRIVES: "ARRIVES",
    UNANSWERED: "DOES NOT WORK",
    BLOCKED: "DOES NOT ARRIVE",
    UNSENT: "DOES NOT ARRIVE",
    UNKNOWN: "UNKNOWN",
}


def render_json(answer: Answer) -> str:
    """The same for programs; every rule that was asked is in it."""
    question, found = answer.question, answer.exchange
    rule = None if found is None else deciding(found)
    cases = alternatives(answer)
    document = {
        "format": "netverify trace",
        "version": 1,
        "subject": answer.subject.title,
        "source": question.source,
        "target": question.target,
        "address": str(answer.address),
        "service": str(question.probe),
        "verdict": answer.verdict,
        "outcome": None if found is None else found.outcome,
        "says": verdict(answer),
        "rule": None if rule is None else str(rule),
        "receiver": None if found is None else found.receiver,
        "unknown": [str(lack) for lack in answer.lacks],
        "assumed": dict(answer.assumed),
        "certain": cases.is_certain and not answer.lacks,
        "otherwise": [
            {"if": dict(case.assumed), "verdict": case.found.by_what_is_known}
            for case in cases.cases
            if case.found.by_what_is_known != answer.by_what_is_known
        ],
        "notes": list(answer.subject.notes),
        "exchange": None if found is None else _exchange_facts(found),
    }
    return json.dumps(document, indent=2)


def _exchange_facts(found: Exchange) -> dict[str, Any]:
    return {
        "request": found.request.facts(),
        "answer": None if found.answer is None else found.answer.facts(),
        "proxied": None if found.beyond is None else _exchange_facts(found.beyond),
    }


def who(node: str) -> str:
    """A namespace in a sentence; a stranger's has brackets around what he is."""
    return f"somebody {node[1:-1]}" if node.startswith("(behind ") else node


def _outcome(found: Exchange) -> str:
    return "dropped in silence" if found.outcome == "filtered" else f"{found.outcome}, and the sender is told"
