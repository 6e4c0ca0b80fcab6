"""The checks of an audit, by subject. Each module has a table CHECKS of kinds and of who looks for them."""

from __future__ import annotations

from netverify.audit.checks import versions
from netverify.audit.kind import Check

CHECKS: tuple[Check, ...] = (*versions.CHECKS,)
"""Every check, in the order in which they are made."""
