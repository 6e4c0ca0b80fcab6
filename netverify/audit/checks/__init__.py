"""The checks of an audit, by subject. Each module has a table CHECKS of kinds and of who looks for them."""

from __future__ import annotations

from netverify.audit.checks import (
    bypass,
    chains,
    direct,
    hygiene,
    internal,
    isolation,
    masquerade,
    privileges,
    published,
    same_network,
    services,
    settings,
    swarm,
    tables,
    user_chain,
    versions,
)
from netverify.audit.kind import Check

CHECKS: tuple[Check, ...] = (
    *isolation.CHECKS,
    *chains.CHECKS,
    *tables.CHECKS,
    *bypass.CHECKS,
    *internal.CHECKS,
    *same_network.CHECKS,
    *swarm.CHECKS,
    *services.CHECKS,
    *user_chain.CHECKS,
    *hygiene.CHECKS,
    *published.CHECKS,
    *direct.CHECKS,
    *masquerade.CHECKS,
    *settings.CHECKS,
    *privileges.CHECKS,
    *versions.CHECKS,
)
"""Every check, in the order in which they are made."""
