"""What can be wrong with a description of a Docker host."""

from __future__ import annotations

from netverify.errors import InputError


class DockerError(InputError):
    """A Docker host is described in a way that its engine would refuse, or that makes no sense."""


class UnsupportedEngine(DockerError):
    """netverify does not know the rules that this version of the engine writes."""
