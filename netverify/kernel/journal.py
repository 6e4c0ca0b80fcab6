"""What a lab can tell about itself when somebody asks: its drawing, its matrices, its rules with counters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netverify.errors import KernelError
from netverify.report.drawing import draw
from netverify.report.matrix import render

if TYPE_CHECKING:
    from netverify.kernel.lab import Lab


def story(lab: Lab) -> list[tuple[str, str]]:
    """Titles and texts: the topology, every matrix that was asked, and the rules of every firewall."""
    if not lab.channels:
        return []
    told = [("topology", draw(lab.topology))]
    told += [(f"matrix {asked.probe}", render(asked.matrix, str(asked.probe))) for asked in lab.asked]
    for firewall in lab.firewalls:
        for version, command in ((4, "iptables"), (6, "ip6tables")):
            title = f"rules and counters: {firewall.namespace.name}, {command}-{firewall.backend.value}"
            try:
                text = firewall.save(version=version)
            except KernelError as error:
                text = f"not read: {error}"
            if "-A " in text or "not read" in text:
                told.append((title, text))
    for nftables in lab.nft_firewalls:
        title = f"rules and counters: {nftables.namespace.name}, nft"
        try:
            told.append((title, nftables.text()))
        except KernelError as error:
            told.append((title, f"not read: {error}"))
    return told


def write_captures(lab: Lab, directory: Path) -> list[Path]:
    """Write what each sniffer of the lab caught as a pcap file; returns the files."""
    written = []
    for number, capture in enumerate(lab.captures, 1):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{number}-{capture.namespace.name}-{capture.interface}.pcap"
        capture.write(path)
        written.append(path)
    return written
