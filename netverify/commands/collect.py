"""`netverify collect`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from netverify.commands import arguments

if TYPE_CHECKING:
    from netverify.host import Parts

EPILOG = """\
Nothing is changed, and no environment variable, label or command of a container is kept. What cannot be
collected is noted with its reason; answers that depend on it are unknown.

URL names a host as pytest-testinfra does (pip install 'netverify[remote]'): ssh://root@web-7:22?sudo=true,
docker://NAME, podman://NAME, local://, or ansible://GROUP for all hosts of a group of an inventory. Nobody is
asked for a password: ssh needs a key. Several hosts are asked at once, and -o is then a folder.

--redact gives containers, networks, bridges, the host and public addresses other names, the same everywhere
in the snapshot. Private addresses, ports and rules stay, and so does the answer to every question, up to
names. With --salt the new names are the same whenever the old ones are; without it nobody finds them again.

examples
  sudo netverify collect -o host.json
  netverify collect --dry-run
  netverify collect --print-script > collect.sh; ssh root@web-7 sh -s < collect.sh > web-7.tar
  netverify collect --from web-7.tar -o web-7.json --redact
  netverify collect --host ssh://root@web-7 --host ssh://root@web-8 -o snapshots/
  netverify collect --host ansible://docker_hosts --inventory hosts.yaml -o snapshots/ -j 16

exit codes
  0  done
  2  bad input or usage
  3  a host could not be reached, or a part on which every answer depends is missing (what could be collected
     is written, and says what is missing)
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "collect",
        summary="write a snapshot of this host or of others that can be asked about; only reads",
        description="Writes what a host's tools say of its network into one file. Only reads.",
        epilog=EPILOG,
        usage="[-o FILE|DIR] [--redact] "
        "[--host URL ... | --from DIR|TAR | --dry-run | --print-script | --schema]",
    )
    where = "where to (default: standard output); for several hosts a folder with NAME.json for each"
    command.add_argument("-o", "--output", metavar="FILE|DIR", default="-", help=where)
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--host", dest="hosts", action="append", metavar="URL", help="another host (repeatable); see below"
    )
    which.add_argument("--from", dest="source", metavar="DIR|TAR", help="what was collected by other means")
    which.add_argument("--dry-run", action="store_true", help="only say what would be run")
    which.add_argument(
        "--print-script", action="store_true", help="a shell script that does it on a host without Python"
    )
    which.add_argument("--schema", action="store_true", help="the JSON schema of what is written")
    command.add_argument("--inventory", metavar="FILE", help="the inventory of ansible://")
    command.add_argument(
        "-j", "--jobs", type=_jobs, default=8, metavar="N", help="hosts that are asked at once (default: 8)"
    )
    command.add_argument("--redact", action="store_true", help="under other names; see below")
    command.add_argument("--salt", metavar="TEXT", help="what --redact draws names from (default: chance)")
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Collect, and write."""
    from netverify.model import sources

    if parsed.salt is not None and not (parsed.redact and parsed.salt):
        parsed.command.error("--salt TEXT is what --redact draws names from")
    if parsed.inventory is not None and not parsed.hosts:
        parsed.command.error("--inventory is for --host ansible://GROUP")
    if parsed.dry_run:
        from netverify.kernel import collect

        text = "".join(f"{command}\n" for command in (*collect.commands(), *collect.BESIDES))
    elif parsed.print_script:
        from netverify.kernel.collect_script import script

        text = script()
    elif parsed.schema:
        from netverify.host import schema

        text = schema.text()
    elif parsed.hosts:
        return _remote(parsed)
    elif parsed.source is not None:
        from netverify.host.kept import without_secrets

        # Whoever collected it may have kept more of the engine's words than is kept here.
        return _write(_redacted(without_secrets(sources.parts(parsed.source)), parsed), parsed.output)
    else:
        from netverify.kernel import collect

        return _write(_redacted(collect.collect(), parsed), parsed.output)
    sources.write(text, parsed.output)
    return 0


def _remote(parsed: argparse.Namespace) -> int:
    """Other hosts, as they come in; one that cannot be reached does not stop the others."""
    from netverify.host import SnapshotError
    from netverify.kernel import collect_remote
    from netverify.model import sources

    codes = [0]
    with collect_remote.targets(parsed.hosts, parsed.inventory) as targets:
        in_folder = sources.is_folder(parsed.output)
        if len(targets) > 1 and not in_folder:
            if parsed.output == "-":
                parsed.command.error(f"these are {len(targets)} hosts: say with -o DIR where their files go")
            in_folder = True
        if in_folder:
            sources.make_folder(parsed.output)
        for number, (target, found) in enumerate(collect_remote.collect_all(targets, parsed.jobs), 1):
            progress = f"[{number}/{len(targets)}]"
            if isinstance(found, collect_remote.Unreachable):
                _say(f"{progress} {found}")
                codes.append(3)
                continue
            output = collect_remote.file_in(parsed.output, target) if in_folder else parsed.output
            to = "" if output == "-" else f" -> {output}"
            try:
                codes.append(_write(_redacted(found, parsed), output, f"{target.shown}: "))
            except SnapshotError as error:  # what its tools printed makes no sense, and cannot be redacted
                _say(f"{progress} {target.shown}: {error}")
                codes.append(3)
            else:
                _say(f"{progress} {target.shown}: done, {len(found.texts)} parts{to}")
    return max(codes)


def _redacted(parts: Parts, parsed: argparse.Namespace) -> Parts:
    if not parsed.redact:
        return parts
    import secrets

    from netverify.host.redaction import redact

    return redact(parts, parsed.salt.encode() if parsed.salt else secrets.token_bytes(32))


def _write(parts: Parts, output: str, about: str = "") -> int:
    """Write a snapshot, and say what is missing in it."""
    from netverify.model import sources
    from netverify.model.facts import NEEDED

    sources.write(parts.as_json(), output)
    for part, reason in parts.missing.items():
        _say(f"{about}{part} was not collected: {reason}")
    return 3 if any(part in parts.missing for part in NEEDED) else 0


def _say(text: str) -> None:
    import sys

    from netverify.reachability.text import printable

    print(f"netverify: {printable(text)}", file=sys.stderr, flush=True)


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 256):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 256")
    return int(text)
