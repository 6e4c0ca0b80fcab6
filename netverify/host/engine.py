"""What `docker info` (or `podman info`) says of the engine itself, and meta.json of the host's kernel."""

from __future__ import annotations

from dataclasses import dataclass

from netverify.host.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine. `firewall_backend` is what the engine calls it; before 28.2 it did not say."""

    program: str
    version: str = ""
    rootless: bool = False
    firewall_backend: str = ""
    in_swarm: bool = False


def read_engine(document: Cursor) -> Engine:
    """The engine of docker-info.json. Raises SnapshotError."""
    if document.has("host") and document.has("version"):  # podman info, pkg/domain/entities/system.go
        host, version = document.at("host"), document.at("version")
        security = host.at("security") if host.has("security") else None
        rootless = security is not None and security.flag("rootless")
        return Engine("podman", version.text("Version", ""), rootless, host.text("networkBackend", ""))
    security_options = (
        [option.typed(str) for option in document.at("SecurityOptions").items()]
        if document.has("SecurityOptions")
        else []
    )
    backend = document.at("FirewallBackend") if document.has("FirewallBackend") else None
    swarm = document.at("Swarm") if document.has("Swarm") else None
    return Engine(
        "docker",
        document.text("ServerVersion", ""),
        "name=rootless" in security_options,
        backend.text("Driver", "") if backend is not None else "",
        swarm is not None and swarm.text("LocalNodeState", "inactive") not in ("", "inactive"),
    )
