"""The tables of Docker's nftables backend: whether they are there, and hold what stops packets."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.audit.case import Case
from netverify.audit.checks import chains
from netverify.audit.checks.chains import EMPTIED, MISSING, counted
from netverify.audit.finding import Finding
from netverify.audit.kind import Check, Kind, knowing
from netverify.docker.nft import TABLE
from netverify.ruleset import NftTable


def missing(case: Case, kind: Kind) -> Iterator[Finding]:
    """The tables of the nftables backend."""
    for table in case.intended.nft.tables:
        if not any((each.family, each.name) == (table.family, table.name) for each in case.host.nft.tables):
            yield kind.found(
                f"nftables {table.family} {table.name}",
                title=f"table {table.family} {table.name} is not there, and with it all of Docker's rules",
                remedy=("systemctl restart docker  # writes its tables again",),
            )


def emptied(case: Case, kind: Kind) -> Iterator[Finding]:
    """Chains and maps of the nftables backend that lost what stops packets."""
    for meant, there in _tables(case):
        present = {chain.name: {str(rule) for rule in chain.rules} for chain in there.chains}
        for chain in meant.chains:
            stopping = [str(rule) for rule in chain.rules if "drop" in str(rule).split()]
            gone = [text for text in stopping if text not in present.get(chain.name, set())]
            if gone:
                yield kind.found(
                    f"nftables {meant.family} {TABLE} {chain.name}",
                    title=f"chain {chain.name} of {meant.family} {TABLE} lacks {counted(gone)}",
                    remedy=("systemctl restart docker  # writes its tables again",),
                )
        sets = {each.name: each for each in there.sets}
        for each in meant.sets:
            own = sets.get(each.name)
            if own is None or not set(map(str, each.elements)) <= set(map(str, own.elements)):
                yield kind.found(
                    f"nftables {meant.family} {TABLE} map {each.name}",
                    title=f"map {each.name} of {meant.family} {TABLE} leads not to all networks",
                    remedy=("systemctl restart docker  # writes its tables again",),
                )


def _tables(case: Case) -> Iterator[tuple[NftTable, NftTable]]:
    there = {(table.family, table.name): table for table in case.host.nft.tables}
    for table in case.intended.nft.tables:
        if (table.family, table.name) in there:
            yield table, there[table.family, table.name]


CHECKS = (
    Check(MISSING, knowing(chains.missing, missing)),
    Check(EMPTIED, knowing(chains.emptied, emptied)),
)
