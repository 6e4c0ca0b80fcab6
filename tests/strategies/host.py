"""Parts of a snapshot in which anything may stand: other values, other keys, other kinds of both."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.host.samples import TEXTS

WORDS = """
    ifname ifindex flags master address linkinfo addr_info local prefixlen dst dev gateway table nexthops via
    priority src srclen fwmark Name Id State HostConfig NetworkMode NetworkSettings Networks Ports IPAM
    Options Driver Config
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
LIKELY = st.sampled_from(
    ["", "0", "eth0", "docker0", "lo", "10.0.0.0/8", "fd00::1", "default", "all", "local", "::/0"]
)
VALUES = st.recursive(
    LEAVES | LIKELY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
PARTS = st.sampled_from([name for name in TEXTS if name.endswith(".json") and name != "meta.json"])


@st.composite
def damaged_parts(draw: st.DrawFn) -> dict[str, str]:
    """One part as something else altogether, or with one value somewhere in it replaced or missing."""
    part = draw(PARTS)
    if draw(st.booleans()):
        return {
            part: json.dumps(draw(VALUES | st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3)))
        }
    document = copy.deepcopy(json.loads(TEXTS[part]))
    places = list(_places(document))
    if places:
        container, key = draw(st.sampled_from(places))
        if isinstance(container, dict) and draw(st.booleans()):
            del container[key]
        else:
            container[key] = draw(VALUES)
    return {part: json.dumps(document)}


def _places(value: Any) -> Any:
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in list(members):
        yield value, key
        yield from _places(member)
