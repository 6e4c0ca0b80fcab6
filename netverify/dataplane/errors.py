"""What can be wrong with what the dataplane is asked."""

from __future__ import annotations

from netverify.errors import InputError


class DataplaneError(InputError):
    """A packet, a host or rules that cannot be: two address families, chains in a circle."""
