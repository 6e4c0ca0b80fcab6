"""What `ip -j -d addr` prints: the devices of a namespace with their addresses (ip-address(8))."""

from __future__ import annotations

from dataclasses import dataclass

from netverify.host.cursor import Cursor, InterfaceAddress

LOOPBACK = "lo"


@dataclass(frozen=True)
class Device:
    """One device. `kind` is that of `ip link add type KIND`, empty for a real card and for lo.

    `peer_index` is the other end of a veth, or what the device stands on, by its number in another namespace;
    `peer` is the same by its name, where it is in this namespace.
    """

    name: str
    index: int
    kind: str = ""
    addresses: tuple[InterfaceAddress, ...] = ()
    master: str | None = None
    up: bool = True
    mac: int | None = None
    peer_index: int | None = None
    peer: str | None = None
    hairpin: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether it is lo."""
        return self.name == LOOPBACK


def read_devices(document: Cursor) -> tuple[Device, ...]:
    """The devices of addr.json. Raises SnapshotError."""
    # `ip` prints {} for what a filter left out.
    return tuple(_device(member) for member in document.items() if member.typed(dict))


def _device(link: Cursor) -> Device:
    name = link.at("ifname")
    if not name.typed(str) or "/" in name.value or any(c.isspace() for c in name.value):
        raise name.error("the name of a device, which has neither blanks nor slashes")
    info = link.at("linkinfo") if link.has("linkinfo") else Cursor({}, link.file, link.path)
    port = info.at("info_slave_data") if info.has("info_slave_data") else Cursor({}, link.file, link.path)
    flags = [flag.typed(str) for flag in link.at("flags").items()] if link.has("flags") else ["UP"]
    return Device(
        name.value,
        link.number("ifindex", 0),
        info.text("info_kind", ""),
        tuple(_addresses(link)),
        link.text("master", "") or None,
        "UP" in flags,
        _mac(link) if link.text("link_type", "ether") == "ether" and link.has("address") else None,
        link.number("link_index") if link.has("link_index") else None,
        link.text("link", "") or None,
        port.flag("hairpin"),
    )


def _addresses(link: Cursor) -> list[InterfaceAddress]:
    given = link.at("addr_info").items() if link.has("addr_info") else ()
    return [
        one.at("local").interface(one.number("prefixlen"))
        for one in given
        if one.typed(dict) and one.has("local")
    ]


def _mac(link: Cursor) -> int:
    try:
        return int(link.text("address").replace(":", ""), 16)
    except ValueError:
        raise link.at("address").error("a MAC address") from None
