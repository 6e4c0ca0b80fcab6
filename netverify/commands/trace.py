"""`netverify trace`."""

from __future__ import annotations

import argparse

from netverify.commands import arguments

EPILOG = f"""\
{arguments.WHERE}
FROM is a container, `host`, `lan`, `internet`, or a device (somebody behind it); TO is one of these or an
address, with :PORT if it differs from --tcp or --udp. An unknown name is answered with those that there are.

examples
  netverify trace fixtures/topologies/docker-three-bridges.yaml c18a c19a --tcp 80
  netverify trace rules.txt eth0 172.17.0.2 --tcp 80 --link eth0=192.0.2.1/24 --link docker0=172.17.0.1/16
  netverify trace host.json internet host --tcp 8080 --source 203.0.113.77
  netverify trace --live host 1.1.1.1 --udp 53 --every-rule

exit codes
  0  the request arrives, and so does its answer
  1  one of the two does not; the result says which
{arguments.COMMON_CODES}"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    command = arguments.declare(
        commands,
        "trace",
        summary="follow one packet and its answer through rules, NAT and routing; nothing is sent",
        description="Follows one packet, and the answer to it, through every rule on its way. Sends nothing.",
        epilog=EPILOG,
        usage="(WHERE | --live) FROM TO [options]",
    )
    command.add_argument("words", nargs="+", metavar="WHERE FROM TO", help="see below")
    arguments.add_where(command)
    arguments.add_service(command)
    command.add_argument("--sport", type=int, metavar="PORT", help="source port (default: 40000)")
    command.add_argument(
        "--source", metavar="ADDRESS", help="source address, also one that is not FROM's own"
    )
    command.add_argument("--every-rule", action="store_true", help="show the rules that do not match as well")
    arguments.add_format(command)
    command.set_defaults(run=run, command=command)


def run(parsed: argparse.Namespace) -> int:
    """Ask, and tell."""
    where, source, target = arguments.split_where(parsed, parsed.words, ("WHERE", "FROM", "TO"))
    from netverify.model.questions import Question, ask, read_address, version_of
    from netverify.report import trace

    subject = arguments.subject(parsed, where)
    sender = None if parsed.source is None else read_address(parsed.source)
    probe = arguments.probe(parsed, version_of(subject, source or "", target or ""))
    answer = ask(subject, Question(source or "", target or "", probe, parsed.sport, sender))
    if parsed.format == "json":
        print(trace.render_json(answer))
    else:
        print(trace.render(answer, every_rule=parsed.every_rule))
    return trace.EXIT_CODES[answer.verdict]
