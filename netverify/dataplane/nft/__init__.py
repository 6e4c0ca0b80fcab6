"""Native rules of nftables, made into the same program that iptables' rules become.

`compile_nft` is the way in. `fields` and `routes` say what an expression looks at, as one of the `keys`;
`numbers` has the words for values. `lookups` compares keys with values, sets and maps, `actions` and
`translations` say what statements do, in `steps`, and `compiler` makes rules and chains of these.
"""

from __future__ import annotations

from netverify.dataplane.nft.compiler import compile_nft, table_key

__all__ = ["compile_nft", "table_key"]
