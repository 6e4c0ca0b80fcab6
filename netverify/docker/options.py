"""The words in which networks and daemons are configured, and which version understands which of them."""

from __future__ import annotations

import re
from typing import Literal, get_args

from netverify.docker.errors import DockerError
from netverify.docker.version import ROUTED_MODE, UNPROTECTED_AND_ISOLATED_MODES, Change, Version

GatewayMode = Literal["nat", "nat-unprotected", "routed", "isolated"]
"""How a network's packets pass its host (com.docker.network.bridge.gateway_mode_ipv4 and _ipv6).

`nat`: translated both ways, and only published ports are open. `nat-unprotected`: translated, and every port
is open to whoever has a route. `routed`: not translated; published ports are open on the container's own
address. `isolated`, for internal networks: the bridge has no address, so not even the host is reached.
"""

GATEWAY_MODES: tuple[str, ...] = get_args(GatewayMode)

_SINCE: dict[str, Change] = {
    "routed": ROUTED_MODE,
    "nat-unprotected": UNPROTECTED_AND_ISOLATED_MODES,
    "isolated": UNPROTECTED_AND_ISOLATED_MODES,
}

# At most IFNAMSIZ - 1 characters (include/uapi/linux/if.h), and none that rules read otherwise: a blank, a
# quote, "!"; a "+" last would mean all devices that begin so.
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@=+-]{0,14}(?<![+])")
_MARK = re.compile(r"(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})(?:/(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}))?")


def check_device(subject: str, name: str, what: str = "a bridge") -> None:
    """Raise DockerError unless `name` can stand for a device in a rule."""
    if _DEVICE.fullmatch(name) is None:
        raise DockerError(
            f"{subject}: {name!r} cannot name {what} in rules: expected 1 to 15 "
            "letters, digits and marks of _.:@=+-, the first no mark but _, the last no +"
        )


def check_gateway_modes(subject: str, modes: tuple[str, ...], *, internal: bool) -> None:
    """Raise DockerError for a mode that is none, or that does not go with (no) --internal."""
    for mode in modes:
        if mode not in GATEWAY_MODES:
            raise DockerError(f"{subject}: gateway mode {mode!r} is none of {', '.join(GATEWAY_MODES)}")
        if mode == "isolated" and not internal:
            raise DockerError(f"{subject}: gateway mode isolated is for internal networks only")


def require_gateway_mode(subject: str, mode: str, engine: Version) -> None:
    """Raise DockerError for a mode that this version does not have yet."""
    change = _SINCE.get(mode)
    if change is not None and not engine.has(change):
        raise DockerError(
            f"{subject}: gateway mode {mode}: not before Docker {change.since}, and this is {engine}"
        )


def parse_mark(text: str) -> tuple[int, int | None]:
    """A firewall mark `MARK[/MASK]` as --bridge-accept-fwmark takes it; raises DockerError."""
    found = _MARK.fullmatch(text)
    if found is None:
        raise DockerError(f"{text!r} is no firewall mark: expected MARK or MARK/MASK, such as 0x1 or 1/3")
    mark, mask = int(found[1], 0), None if found[2] is None else int(found[2], 0)
    if mark >> 32 or (mask or 0) >> 32:
        raise DockerError(f"firewall mark {text} does not fit into 32 bits")
    return mark, mask
