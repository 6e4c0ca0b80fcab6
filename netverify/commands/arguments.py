"""Arguments that several commands have: what is asked about, and for which service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netverify.model.subject import Subject
    from netverify.reachability.probe import Probe

WHERE = """\
WHERE is one of
  a ruleset      what iptables-save or ip6tables-save printed, or `nft -j list ruleset`
  a snapshot     of a host: a folder or tar with what its tools printed, or host.json
  a lab          a topology file such as those in fixtures/topologies/
  --live         this host as it is now, in this namespace; only reads (needs root)
"""

COMMON_CODES = """\
  2  bad input or usage
  3  could not look: something that the answer depends on was not collected
"""


def declare(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    summary: str,
    description: str,
    epilog: str,
    usage: str,
) -> argparse.ArgumentParser:
    """A command whose help is printed as it is written; `usage` is what follows its name."""
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        usage=f"netverify {name} {usage}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_where(command: argparse.ArgumentParser) -> None:
    """What the subject may be besides a file, and what describes it."""
    command.add_argument("--live", action="store_true", help="ask about this host as it is now")
    command.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="DEVICE=ADDRESS/LENGTH",
        help="a device of the host that a bare ruleset is for (repeatable); without it devices are derived "
        "from the rules, and what was assumed is said",
    )


def add_service(command: argparse.ArgumentParser) -> None:
    """Which packet: protocol, port, IP version."""
    which = command.add_mutually_exclusive_group()
    which.add_argument("--tcp", type=_port, metavar="PORT", help="a TCP connection to this port")
    which.add_argument("--udp", type=_port, metavar="PORT", help="a UDP datagram to this port")
    which.add_argument("--icmp", action="store_true", help="an ICMP echo request (the default)")
    command.add_argument("-6", "--ipv6", action="store_true", help="over IPv6")


def add_ends(command: argparse.ArgumentParser) -> None:
    """Between whom: some sources and targets by name, or everybody."""
    command.add_argument(
        "--from", action="append", default=[], dest="sources", metavar="NAME", help="only from"
    )
    command.add_argument("--to", action="append", default=[], dest="targets", metavar="NAME", help="only to")


def add_format(command: argparse.ArgumentParser) -> None:
    """Text or JSON."""
    command.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    command.add_argument("--json", action="store_const", const="json", dest="format", help="--format json")


def probe(parsed: argparse.Namespace, version: int | None = None) -> Probe:
    """The service that was asked for; over IPv6 if it was asked for or nothing else is possible."""
    from netverify.reachability.probe import Probe

    chosen = 6 if parsed.ipv6 else version or 4
    for protocol in ("tcp", "udp"):
        port = getattr(parsed, protocol)
        if port is not None:
            return Probe(protocol, port, chosen)
    return Probe("icmp", version=chosen)


def subject(parsed: argparse.Namespace, where: str | None) -> Subject:
    """What is asked about: a file, or this host."""
    from netverify.model import sources
    from netverify.model.bare import GivenLink
    from netverify.model.errors import QuestionError

    if where is None:
        if parsed.link:
            raise QuestionError("--link describes the host of a bare ruleset; with --live it is this one")
        from netverify.kernel import collect

        return sources.snapshot(collect.collect())
    return sources.read(where, [GivenLink.parse(text) for text in parsed.link])


def split_where(parsed: argparse.Namespace, words: list[str], names: tuple[str, ...]) -> list[str | None]:
    """WHERE (None with --live) and what follows it. Another number of words is a usage error."""
    wanted = names[1:] if parsed.live else names
    if len(words) != len(wanted):
        what = " ".join(wanted) or "nothing"
        parsed.command.error(
            f"expected {what}" + (" after --live" if parsed.live else "") + f", got {len(words)}"
        )
    return [None, *words] if parsed.live else [*words]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)
