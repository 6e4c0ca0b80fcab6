"""What a change of a host's rules changes: both IP versions, both backends of iptables, native nftables."""

from __future__ import annotations

from collections.abc import Iterator

from netverify.dataplane.change import RANK
from netverify.dataplane.difference import SHOWN, Difference, compare
from netverify.dataplane.hooks import Filters
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.view import LEGACY, HostView
from netverify.ruleset import Ruleset


def compare_hosts(old: HostView, new: HostView, *, most: int = SHOWN) -> tuple[Difference, Difference]:
    """Compare all rules of two views of a host, for IPv4 and for IPv6; devices and addresses may differ.

    At most `most` classes are worked out for iptables, for its legacy backend where a host uses both,
    and for native nftables, whose chains are compared one by one. Raises DataplaneError as `compare` does.
    """
    first, second = (_joined(4, old, new, most), _joined(6, old, new, most))
    return first, second


def _joined(version: int, old: HostView, new: HostView, most: int) -> Difference:
    found = [compare(*pair, most=most) for pair in _pairs(version, old, new)]
    changes = sorted(
        (change for each in found for change in each.changes),
        key=lambda change: (RANK[change.kind], not change.opens),
    )
    return Difference(
        version,
        tuple(changes),
        sum(each.more for each in found),
        any(each.opens for each in found),
        tuple(chain for each in found for chain in each.unsettled),
    )


def _pairs(version: int, old: HostView, new: HostView) -> Iterator[tuple[Program, Program]]:
    before, after = Filters.of(old, version), Filters.of(new, version)
    yield before.main, after.main
    yield before.nft, after.nft
    if before.legacy is not None or after.legacy is not None:
        nothing = Ruleset("ipv4" if version == 4 else "ipv6")
        yield (
            before.legacy or compile_rules(nothing, old, prefix=LEGACY),
            after.legacy or compile_rules(nothing, new, prefix=LEGACY),
        )
