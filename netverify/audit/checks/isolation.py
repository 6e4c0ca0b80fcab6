"""Networks that reach each other although their engine's rules would not let them."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.audit.case import Case
from netverify.audit.causes import Cause, Why, causes
from netverify.audit.finding import Finding, RuleReference, Severity
from netverify.audit.forwarding import Forwarding
from netverify.audit.kind import FORWARDING as PARTS
from netverify.audit.kind import Check, Kind, knowing
from netverify.audit.parties import Passage, familiar, to_containers
from netverify.audit.shell import iptables, words_of
from netverify.dataplane.change import ending_words
from netverify.docker.writer import USER
from netverify.ruleset import NftPlace

CROSSED = Kind(
    "networks-not-isolated",
    "containers reach another network, which Docker's own rules would not allow",
    Severity.HIGH,
    "Networks are what keeps the containers of one application from those of another. Here the rules let "
    "through what an engine of this version stops, so that whoever got into one of these containers goes on "
    "to the others from there.",
    (*PARTS, "docker-info.json"),
)


def crossed(case: Case, kind: Kind) -> Iterator[Finding]:
    """Between every two of the engine's bridges but internal ones, which have a check of their own."""
    bridges = [bridge for bridge, network in case.bridges.items() if not network.internal]
    for version in case.subject.versions():
        forwarding = case.forwarding(version)
        opened = forwarding.between(forwarding.opened, bridges, bridges)
        opened = opened & forwarding.sets.satisfying(to_containers(case, bridges, version))
        for cause in causes(forwarding, opened, familiar(case, bridges, bridges, version)):
            yield from _told(case, kind, forwarding, cause)


def _told(case: Case, kind: Kind, forwarding: Forwarding, cause: Cause) -> Iterator[Finding]:
    """One finding for all that one cause opens, if a packet of it gets to a container."""
    passage = Passage.of(case, forwarding, cause.packets)
    if passage.evidence is None:
        return
    by_user = cause.why is Why.INSERTED and cause.chain == USER
    version = forwarding.version
    over = "" if version == 4 else " over IPv6"
    yield kind.found(
        subject_of(cause, version),
        title=f"{passage.words(case)}{over}: {cause.why.value}",
        severity=Severity.MEDIUM if by_user else kind.severity,
        cells=passage.cells,
        rules=rules_of(case, cause, version),
        evidence=passage.evidence,
        remedy=remedies(cause, version),
    )


def subject_of(cause: Cause, version: int) -> str:
    """The rule at fault, or the chain where several are missing."""
    rule = f": {cause.rules[0]}" if len(cause.rules) == 1 else ""
    return f"IPv{version} {cause.table} {cause.chain}{rule}"


def rules_of(case: Case, cause: Cause, version: int) -> tuple[RuleReference, ...]:
    """The rule that let the example pass."""
    letting = cause.letting
    text = str(letting.path[-1].rule) if letting.path else f"policy {ending_words(letting.ending)}"
    return (case.reference(letting.place, version, text),)


def remedies(cause: Cause, version: int) -> tuple[str, ...]:
    """What to do about a cause: take the rule away, or have the engine write its own again."""
    again = "systemctl restart docker  # writes its rules again"
    if isinstance(cause.letting.place, NftPlace):
        return ("nft -a list ruleset  # and delete the rule by its handle, or:", again)
    if cause.why is Why.INSERTED and cause.rules:
        return (iptables(version, "-D", cause.chain, *words_of(cause.rules[0]), table=cause.table),)
    if cause.why is Why.MISSING and len(cause.rules) == 1:
        at_once = iptables(version, "-I", cause.chain, *words_of(cause.rules[0]), table=cause.table)
        return (again, f"# or at once: {at_once}")
    return (again,)


CHECKS = (Check(CROSSED, knowing(crossed)),)
