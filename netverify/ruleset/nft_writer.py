"""NftRuleset -> JSON that `nft -j -f -` loads: what others refer to stands first, the rules stand last."""

from __future__ import annotations

import json

from netverify.ruleset.nft import Extra, NftChain, NftRule, NftRuleset, NftSet, NftTable
from netverify.ruleset.nft_expressions import Json, encode


def render_nft(ruleset: NftRuleset) -> str:
    """A whole ruleset: see `NftRuleset.render`."""
    objects: list[Json] = [{"table": _table(table)} for table in ruleset.tables]
    for table in ruleset.tables:
        objects += ({"chain": _chain(table, chain)} for chain in table.chains)
    for table in ruleset.tables:
        objects += (other.to_json() for other in table.others)
        objects += ({"map" if found.is_map else "set": _set(table, found)} for found in table.sets)
    for table in ruleset.tables:
        objects += ({"rule": _rule(table, chain, rule)} for chain in table.chains for rule in chain.rules)
    objects += (other.to_json() for other in ruleset.others)
    return json.dumps({"nftables": objects})


def _table(table: NftTable) -> Json:
    return {
        "family": table.family,
        "name": table.name,
        **_told(flags=list(table.flags), comment=table.comment, handle=table.handle),
        **_extra(table.extra),
    }


def _chain(table: NftTable, chain: NftChain) -> Json:
    hook: dict[str, Json] = {}
    if chain.hook is not None:
        hook = {"type": chain.hook.type, "hook": chain.hook.hook, "prio": chain.hook.priority}
        hook |= _told(policy=chain.hook.policy, dev=_devices(chain.hook.devices))
    return {
        "family": table.family,
        "table": table.name,
        "name": chain.name,
        **hook,
        **_told(comment=chain.comment, handle=chain.handle),
        **_extra(chain.extra),
    }


def _rule(table: NftTable, chain: NftChain, rule: NftRule) -> Json:
    return {
        "family": table.family,
        "table": table.name,
        "chain": chain.name,
        "expr": [statement.to_json() for statement in rule.statements],
        **_told(comment=rule.comment),
        **_extra(rule.extra),
    }


def _set(table: NftTable, found: NftSet) -> Json:
    types: list[Json] = list(found.key_types)
    return {
        "family": table.family,
        "table": table.name,
        "name": found.name,
        "type": types[0] if len(types) == 1 else types,
        **_told(
            map=found.value_type,
            flags=list(found.flags),
            elem=[encode(element) for element in found.elements],
            timeout=found.timeout,
            size=found.size,
            comment=found.comment,
            handle=found.handle,
        ),
        **_extra(found.extra),
    }


def _devices(devices: tuple[str, ...]) -> Json:
    return devices[0] if len(devices) == 1 else list(devices)


def _told(**attributes: Json) -> dict[str, Json]:
    return {name: value for name, value in attributes.items() if value not in (None, [])}


def _extra(extra: Extra) -> dict[str, Json]:
    return {name: json.loads(text) for name, text in extra}
