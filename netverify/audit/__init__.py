"""Findings about a host: what its rules let through and should not, which rule is to blame, what to do."""
