"""A packet's way line by line: phase by phase, rule by rule.

Names, comments and rules in it come from hosts that nobody vouches for: who prints a line escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from netverify.dataplane.packet import Packet
from netverify.dataplane.trace import Event, PolicyStep, RuleStep, Step, Trace, changes
from netverify.dataplane.world import Exchange
from netverify.model.naming import place_words

_INDENT: Final = "          "


def exchange_lines(found: Exchange | None, prefix: str = "", *, every_rule: bool = False) -> Iterator[str]:
    """Request and answer, and what a proxy does in between; rules that did not match if `every_rule`."""
    if found is None:
        return
    yield from _trace_lines(found.request, f"{prefix}Request", every_rule)
    yield from _discovery_lines(found.request, every_rule)
    if found.beyond is not None:
        yield from exchange_lines(found.beyond, f"{prefix}Proxy's ", every_rule=every_rule)
    if found.answer is not None:
        yield from _trace_lines(found.answer, f"{prefix}Answer", every_rule)
        yield from _discovery_lines(found.answer, every_rule)


def _discovery_lines(trace: Trace, every_rule: bool) -> Iterator[str]:
    """What was lost of neighbour discovery, where the packet waited for that in vain."""
    if trace.discovery is not None:
        yield from _trace_lines(trace.discovery, "Neighbour discovery", every_rule)


def _trace_lines(trace: Trace, title: str, every_rule: bool) -> Iterator[str]:
    yield ""
    yield f"{title}  {trace.packet}"
    shown = [step for step in trace.steps if every_rule or not _is_unmatched(step)]
    phases = [(key, list(steps)) for key, steps in groupby(shown, key=lambda step: (step.host, step.hook))]
    for number, ((host, hook), steps) in enumerate(phases, 1):
        last = number == len(phases)
        devices = _devices(steps[-1].packet)
        result = trace.verdict.upper() if last else "PASSED"
        yield ""
        yield f"{number:>4}  {host}  {hook or 'host'}" + (f"  {devices}" if devices else "") + f"  {result}"
        for step in steps:
            yield from (_INDENT + line for line in _step_lines(step, every_rule))


def _is_unmatched(step: Step) -> bool:
    return isinstance(step, RuleStep) and not step.matched


def _step_lines(step: Step, every_rule: bool) -> Iterator[str]:
    if isinstance(step, Event):
        written = [] if step.after is None else changes(step.packet, step.after)
        text = step.text if not written else "; ".join(written)
        yield f"{step.what}: {text}"
        return
    if isinstance(step, PolicyStep):
        yield f"{'> ' if every_rule else ''}{place_words(step.place)} {step.chain.policy.value}"
        return
    place = place_words(step.place)
    rule = str(step.rule.rule).removeprefix(f"-A {step.place.chain} ")
    if step.matched:
        mark = "> " if every_rule else ""
        yield f"{mark}{place}: {rule}"
        if step.rule.not_modelled:
            yield f"  not modelled: {step.rule.not_modelled}"
    else:
        yield f"  {place}: {rule}   [no: {step.rule.tests[step.failed].text}]"


def _devices(packet: Packet) -> str:
    words = []
    for way, device, port in (
        ("in", packet.in_interface, packet.physdev_in),
        ("out", packet.out_interface, packet.physdev_out),
    ):
        if device:
            words.append(f"{way} {device}" + (f" (port {port})" if port else ""))
    return ", ".join(words)
