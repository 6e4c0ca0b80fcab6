"""A snapshot that may be shown to others: containers, networks, host and public addresses under other names.

Everything is renamed in all parts alike, so that the result reads and answers as the original does, up to
names. Which name becomes which is drawn from a salt: with the same one two snapshots of a host can be
compared, and without it nobody can try names until one fits.

What stays: private addresses, the rules themselves with their chains and sets, devices (but for bridges that
were given a name), ports, programs, MAC addresses, versions, and every identity that the engine made up.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, Final

from netverify.host.cursor import Address, Network, loads
from netverify.host.kept import without_secrets
from netverify.host.parts import META, OF_CONTAINER, Parts
from netverify.host.renumbering import Renumbering, parsed, ranges_in
from netverify.host.snapshot import HostSnapshot, read_snapshot

_PREDEFINED: Final = frozenset({"bridge", "host", "none", "default", "podman", "ingress", "docker_gwbridge"})
_MADE_UP = re.compile(r"br-[0-9a-f]{12}|docker0|docker_gwbridge|podman[0-9]+|cni-podman[0-9]+")
_LONGEST_DEVICE: Final = 15  # IFNAMSIZ of linux/if.h, without the byte at its end

_DEVICE_KEYS: Final = frozenset(
    (
        *("ifname", "link", "master", "dev", "iif", "oif", "label"),  # ip
        *("dev", "right", "elem", "set"),  # nft
        *("parent", "bridge", "network_interface", "com.docker.network.bridge.name"),  # the engine
    )
)
_TEXT_KEYS: Final = frozenset(("comment", "ifalias", "Warnings", "Links"))
_LENGTHS: Final = (("addr", "len"), ("src", "srclen"), ("dst", "dstlen"))
_PROSE = r"""("(?:[^"\\]|\\.)*"|\S+)"""
_QUOTED = re.compile(rf"(--comment|--log-prefix|--nflog-prefix) {_PROSE}")
_QUOTED_OF_SET = re.compile(rf"(?<= )(comment) {_PROSE}")
_INTERFACE = re.compile(r"(?<=\s)(-i|-o|--physdev-in|--physdev-out) (\S+)")
_WILDCARD = re.compile(r'(?:-i|-o|--physdev-in|--physdev-out) ([^\s+]+)\+|"([^"*\\ ]+)\*"')


def redact(parts: Parts, salt: bytes) -> Parts:
    """The same snapshot under other names. Raises SnapshotError for one that cannot be read."""
    parts = without_secrets(parts)
    snapshot = read_snapshot(parts)
    names, addresses = _Names.of(parts, snapshot, salt), _renumbering(parts, snapshot, salt)
    return Redaction(names, addresses, parts).parts()


def _renumbering(parts: Parts, snapshot: HostSnapshot, salt: bytes) -> Renumbering:
    devices = [*snapshot.devices, *(d for each in snapshot.containers for d in each.devices or ())]
    attached: list[Network] = [ip_network(a.network) for device in devices for a in device.addresses]
    attached += (subnet for network in snapshot.networks for subnet in network.subnets)
    ranges = [pair for text in parts.texts.values() for pair in ranges_in(text)]
    if parts.has("nft.json"):
        ranges += _nft_ranges(parts.document("nft.json").value)
    return Renumbering(salt, attached, ranges)


def _nft_ranges(value: Any) -> Iterator[tuple[Address, Address]]:
    if isinstance(value, dict):
        ends = value.get("range")
        if isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, str) for end in ends):
            first, last = map(parsed, ends)
            if first is not None and last is not None and first.version == last.version:
                yield first, last
        for member in value.values():
            yield from _nft_ranges(member)
    elif isinstance(value, list):
        for member in value:
            yield from _nft_ranges(member)


@dataclass(frozen=True)
class _Names:
    """The new names by the old ones."""

    host: Mapping[str, str]
    containers: Mapping[str, str]
    networks: Mapping[str, str]
    devices: Mapping[str, str]
    pattern: re.Pattern[str] = field(init=False)
    words: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        every = {**self.devices, **self.networks, **self.containers, **self.host}
        alternatives = "|".join(map(re.escape, sorted(every, key=len, reverse=True)))
        # Wherever a name stands for itself in prose: not in the middle of another word.
        pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{alternatives})(?![A-Za-z0-9])" if every else r"(?!)")
        object.__setattr__(self, "words", every)
        object.__setattr__(self, "pattern", pattern)

    @classmethod
    def of(cls, parts: Parts, snapshot: HostSnapshot, salt: bytes) -> _Names:
        taken: set[str] = {device.name for device in snapshot.devices} | _PREDEFINED

        def renamed(kind: str, old: str, stem: str, longest: int = 64) -> str:
            digest = hmac.new(salt, f"{kind} {old}".encode(), hashlib.sha256).hexdigest()
            for length in range(8, len(digest)):
                new = f"{stem}{digest[:length]}"
                if new not in taken and len(new) <= longest:
                    taken.add(new)
                    return new
            return old

        stems = _stems(parts)
        networks = {network.name for network in snapshot.networks}
        networks |= {each.network for container in snapshot.containers for each in container.attachments}
        containers = sorted(container.name for container in snapshot.containers)
        others = sorted(_all_containers(parts) - set(containers))
        bridges = sorted({network.bridge for network in snapshot.networks if network.bridge})
        given = [bridge for bridge in bridges if not _MADE_UP.fullmatch(bridge)]
        hosts = sorted({parts.name, snapshot.name} - {""})
        return cls(
            {old: renamed("host", old, "host-") for old in hosts},
            {old: renamed("container", old, "container-") for old in (*containers, *others)},
            {old: renamed("network", old, "network-") for old in sorted(networks - _PREDEFINED - {""})},
            {
                old: renamed("device", old, _stem(old, stems), _LONGEST_DEVICE)
                for old in given
                if len(_stem(old, stems)) <= _LONGEST_DEVICE - 8
            },
        )

    def in_text(self, text: str) -> str:
        """Prose with the names in it replaced."""
        return self.pattern.sub(lambda match: self.words[match[0]], text)


def _all_containers(parts: Parts) -> set[str]:
    """Also those that nobody reads: that do not run, or are named by the files of their namespaces alone."""
    found = {match[1] for part in (*parts.texts, *parts.missing) if (match := OF_CONTAINER.fullmatch(part))}
    if parts.has("docker-containers.json"):
        documents = parts.document("docker-containers.json").items()
        found |= {document.text("Name", "").removeprefix("/") for document in documents}
    return found - {""}


def _stems(parts: Parts) -> list[str]:
    """What the rules' wildcards for devices begin with: `br-` of `-i br-+`."""
    return [
        stem for text in parts.texts.values() for pair in _WILDCARD.findall(text) for stem in pair if stem
    ]


def _stem(device: str, stems: Iterable[str]) -> str:
    """How the new name of a device has to begin: so that the wildcards match it that matched the old one."""
    return max((stem for stem in stems if device.startswith(stem)), key=len, default="br-")


class Redaction:
    """The rewriting of each part."""

    def __init__(self, names: _Names, addresses: Renumbering, parts: Parts) -> None:
        self.names = names
        self.addresses = addresses
        self.original = parts

    def parts(self) -> Parts:
        """All of it."""
        given = self.original
        texts = {self.part_name(part): self.part(part, text) for part, text in given.texts.items()}
        missing = {self.part_name(part): self.prose(why, part) for part, why in given.missing.items()}
        name = self.names.host.get(given.name, "host")
        return Parts("redacted", texts, missing, name)

    def part_name(self, part: str) -> str:
        """What a part is called."""
        match = OF_CONTAINER.fullmatch(part)
        return f"containers/{self.names.containers[match[1]]}/{match[2]}.json" if match else part

    def part(self, part: str, text: str) -> str:
        """A part's text."""
        where = self.original.where(part)
        if not part.endswith(".json"):
            return "\n".join(self.line(part, line, where) for line in text.split("\n"))
        document = loads(text, where)
        if part == META:
            return json.dumps(self.meta(document))
        if part == "docker-containers.json":
            document = [self.container(each) for each in document]
        elif part == "docker-networks.json":
            document = [self.network(each) for each in document]
        return json.dumps(self.value(document, "", where))

    def line(self, part: str, line: str, where: str) -> str:
        """A line of a part that is plain text."""
        devices = self.names.devices
        if part == "sysctl.txt":
            steps = line.split(".")
            return ".".join(devices.get(step.replace("/", "."), step) for step in steps)
        if part == "listen.txt":
            line = re.sub(r"%([^\s\]:]+)", lambda m: f"%{devices.get(m[1], m[1])}", line)
        elif part == "ipset.txt":
            line = re.sub(r"(,(?:physdev:)?)([^\s,]+)", lambda m: m[1] + devices.get(m[2], m[2]), line)
        elif line.startswith("#"):
            return self.prose(line, where)
        line = _INTERFACE.sub(lambda match: f"{match[1]} {devices.get(match[2], match[2])}", line)
        quoted = _QUOTED_OF_SET if part == "ipset.txt" else _QUOTED
        line = quoted.sub(lambda match: f"{match[1]} {self.names.in_text(match[2])}", line)
        return self.addresses.text(line, where)

    def prose(self, text: str, where: str) -> str:
        """Words for people, in which any name may stand."""
        return self.addresses.text(self.names.in_text(text), where)

    def meta(self, meta: Any) -> Any:
        """What meta.json says, as far as it is known what it says."""
        missing = meta.get("missing") or {}
        renamed = {self.part_name(part): self.prose(why, META) for part, why in missing.items()}
        name = self.names.host.get(meta.get("name", ""), "host")
        known = {key: meta[key] for key in ("collected", "netverify", "kernel") if key in meta}
        return {"name": name} | known | ({"missing": renamed} if missing else {})

    def container(self, container: Any) -> Any:
        """What the engine says of a container."""
        names = self.names
        found = dict(container)
        name = str(found.get("Name", ""))
        slash, plain = name[: name.startswith("/")], name.removeprefix("/")
        found["Name"] = slash + names.containers.get(plain, plain)
        config = found.get("HostConfig")
        if isinstance(config, dict) and isinstance(mode := config.get("NetworkMode"), str):
            start, colon, other = mode.partition(":")
            other = names.containers.get(other, other) if start == "container" else other
            found["HostConfig"] = {
                **config,
                "NetworkMode": names.networks.get(mode, f"{start}{colon}{other}"),
            }
        settings = found.get("NetworkSettings")
        if isinstance(settings, dict) and isinstance(attached := settings.get("Networks"), dict):
            attached = {names.networks.get(key, key): value for key, value in attached.items()}
            found["NetworkSettings"] = {**settings, "Networks": attached}
        return found

    def network(self, network: Any) -> Any:
        """What the engine says of a network."""
        renamed = self.names.networks
        return {
            key: renamed.get(value, value) if key in ("Name", "name") and isinstance(value, str) else value
            for key, value in network.items()
        }

    def value(self, value: Any, key: str, where: str) -> Any:
        """A value of a JSON document that stands under a key."""
        if isinstance(value, list):
            return [self.value(member, key, where) for member in value]
        if isinstance(value, dict):
            renamed = {name: self.value(member, name, where) for name, member in value.items()}
            return renamed | self._network_in(value)
        if not isinstance(value, str):
            return value
        if key in _TEXT_KEYS:
            return self.prose(value, where)
        if key in _DEVICE_KEYS and value in self.names.devices:
            return self.names.devices[value]
        return self.addresses.text(value, where)

    def _network_in(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The address of a network that stands apart from its length or mask, under its key."""
        found = {}
        for address, length in _LENGTHS:
            if isinstance(value.get(address), str) and isinstance(value.get(length), int):
                found[address] = f"{value[address]}/{value[length]}"
        left, right = value.get("left"), value.get("right")
        if isinstance(left, dict) and isinstance(right, str) and isinstance(parts := left.get("&"), list):
            for mask in parts:
                if isinstance(mask, str):
                    found["right"] = f"{right}/{mask}"
        renamed = {}
        for key, text in found.items():
            try:
                network = ip_network(text)
            except ValueError:  # not a network's first address, or none at all
                continue
            renamed[key] = str(self.addresses.network(network).network_address)
        return renamed
