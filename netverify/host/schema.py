"""The published form of host.json as a JSON schema (json-schema.org, 2020-12); what each part is good for.

`version` is that of the form: a reader refuses those that it does not know. It is raised when something is
renamed, removed or means something else; a new part or key does not raise it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from netverify.host.parts import FORMAT, META, NAMES, OF_CONTAINER, VERSION

UNKNOWN: Final[Mapping[str, str]] = {
    "iptables-save.txt": "what IPv4 packets pass, if they pass the host",
    "iptables-legacy-save.txt": "what IPv4 packets pass, if they pass the host",
    "ip6tables-save.txt": "what IPv6 packets pass, if they pass the host",
    "ip6tables-legacy-save.txt": "what IPv6 packets pass, if they pass the host",
    "nft.json": "what packets pass, if they pass the host",
    "addr.json": "everything; no question can be asked",
    "route.json": "where packets go that the host forwards or sends",
    "rule.json": "where packets go that the host forwards or sends",
    "sysctl.txt": "whether the host forwards, filters by reverse path, shows bridged packets to iptables",
    "ipset.txt": "what rules match that ask a set, if there are any",
    "listen.txt": "which services the host has, and which userland proxies",
    "docker-networks.json": "which bridge belongs to which network, and what a network promises",
    "docker-containers.json": "who is behind a bridge, and which ports are published",
    "docker-info.json": "which engine it is, its version, and whether it is rootless",
    META: "nothing; the snapshot is called after its file",
}
"""What is unknown where a part is missing; it is answered with `unknown`, never taken for harmless."""

_INSIDE: Final = "a container's own devices or routes; without them, what the engine says of the container"


def schema() -> dict[str, Any]:
    """The schema of host.json as a JSON value."""
    reason = {"type": "string", "description": "why the part was not collected"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:netverify:host-snapshot:{VERSION}",
        "title": "Snapshot of a container host",
        "description": "What the tools of a host printed. Every part may be missing; `missing` says why.",
        "type": "object",
        "required": ["format", "version", "parts"],
        "properties": {
            "format": {"const": FORMAT},
            "version": {"const": VERSION, "description": "of this form; others are refused"},
            "name": {"type": "string", "description": "what the host calls itself"},
            "parts": {
                "type": "object",
                "properties": {name: _part(name) for name in NAMES},
                "patternProperties": {OF_CONTAINER.pattern: _json("array", _INSIDE)},
                "additionalProperties": False,
            },
            "missing": {
                "type": "object",
                "properties": dict.fromkeys(NAMES, reason),
                "patternProperties": {OF_CONTAINER.pattern: reason},
                "additionalProperties": False,
            },
        },
    }


def text() -> str:
    """The schema as it is published."""
    return json.dumps(schema(), indent=2) + "\n"


def _part(name: str) -> dict[str, Any]:
    description = f"{NAMES[name]}; unknown without it: {UNKNOWN[name]}"
    if not name.endswith(".json"):
        return {"type": "string", "description": description}
    return _json(_KINDS.get(name, "array"), description)


def _json(kind: str, description: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": kind, "description": description}
    return found | ({"items": {"type": "object"}} if kind == "array" else {})


_KINDS: Final = {"nft.json": "object", "docker-info.json": "object", META: "object"}
