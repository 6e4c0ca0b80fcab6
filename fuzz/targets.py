"""What is fuzzed: functions of any bytes that must end, and must end well.

Each target takes the bytes of one input. An error of the input's (InputError) is an answer as good as any.
Any other exception, a broken promise (what was read cannot be written and read again) or an endless run is a
find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from netverify.dataplane.algebra import OnePacket
from netverify.dataplane.evaluator import Evaluator
from netverify.dataplane.packet import Packet
from netverify.dataplane.program import Program, compile_rules
from netverify.dataplane.sets import PacketSets
from netverify.dataplane.view import HostView, Link
from netverify.errors import InputError
from netverify.ruleset import NftRuleset, Ruleset, RulesetSyntaxError
from netverify.ruleset.vocabulary import BUILTIN_CHAINS
from netverify.topology.dump import dump
from netverify.topology.load import loads

MOST_RULES = 60  # sets of more rules are not made: a fuzzer wants many inputs a second
NODES = 1 << 18

HOST = HostView(
    "host",
    (
        Link.of("lo", "127.0.0.1/8", "::1/128"),
        Link.of("eth0", "192.0.2.1/24", "2001:db8::1/64"),
        Link.of("br0", "10.0.0.1/16", is_bridge=True),
    ),
).with_connected_routes()


class BrokenPromise(Exception):
    """Something was read that is not what it says, or an error that does not say where it is."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _parsed(text: str) -> Ruleset | None:
    try:
        return Ruleset.parse(text)
    except RulesetSyntaxError as error:
        lines = text.split("\n")
        if not (1 <= error.line <= len(lines) and error.column >= 1 and error.expected):
            raise BrokenPromise(f"no place in the text: line {error.line}, column {error.column}") from error
        return None
    except InputError:
        return None


def save(data: bytes) -> None:
    """The format of iptables-save: what is read is read again from what is written, and nothing is lost."""
    text = _text(data)
    rules = _parsed(text)
    if rules is None:
        return
    if Ruleset.parse(rules.render(), family=rules.family) != rules:
        raise BrokenPromise("written and read again, the ruleset is another one")
    read = sum(1 for _place, rule in rules.rules())
    stood = sum(1 for line in text.split("\n") if re.match(r"[ \t]*(\[|-)", line))
    if read < stood:  # lists of addresses make several rules of one line
        raise BrokenPromise(f"{stood} lines of rules, and {read} rules")


def nft(data: bytes) -> None:
    """The JSON of `nft -j list ruleset`."""
    try:
        rules = NftRuleset.parse(_text(data))
    except InputError:
        return
    if NftRuleset.parse(rules.render()) != rules:
        raise BrokenPromise("written and read again, the ruleset is another one")


def topology(data: bytes) -> None:
    """A topology's YAML: read, resolved, written and read again."""
    try:
        read = loads(_text(data))
        resolved = read.resolved()
    except InputError:
        return
    if loads(dump(read)) != read:
        raise BrokenPromise("written and read again, the topology is another one")
    if resolved.resolved() != resolved:
        raise BrokenPromise("resolved twice, the topology is another one")


def evaluator(data: bytes) -> None:
    """Rules made ready and run over single packets and over all packets, with one result."""
    rules = _parsed(_text(data))
    if rules is None or sum(1 for _ in rules.rules()) > MOST_RULES:
        return
    try:
        program = compile_rules(rules, HOST)
    except InputError:
        return
    sets = PacketSets.of(program, capacity=NODES)
    for chain in _kernel_chains(program):
        exits = Evaluator(program, sets).run(*chain, sets.everything)
        if program.chains[chain].rewrites:
            continue  # these show packets as they leave
        for packet in _packets(sets.version):
            one = OnePacket(packet)
            (ending,) = Evaluator(program, one).run(*chain, True)
            inside = [each for each, members in exits.items() if sets.contains(members, packet, one.assumed)]
            if inside != [ending]:
                raise BrokenPromise(f"{chain}: {packet} ends in {ending}, and is in the sets of {inside}")


def _kernel_chains(program: Program) -> Iterator[tuple[str, str]]:
    return ((table, name) for table, name in program.chains if name in BUILTIN_CHAINS[table])


def _packets(version: int) -> Iterator[Packet]:
    near, far = ("10.0.0.2", "203.0.113.7") if version == 4 else ("2001:db8::2", "2001:db8:1::7")
    for devices in (("eth0", "br0"), ("br0", ""), ("", "eth0")):
        names = {"in_interface": devices[0], "out_interface": devices[1]}
        for protocol, ports in (("tcp", {"dport": 80}), ("udp", {"dport": 53}), ("icmp", {})):
            yield Packet.of(far, near, protocol, **names, **ports, state=1, tracked=1)
            yield Packet.of(near, far, protocol, **names, **ports, state=2, tracked=1)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "save": save,
    "nft": nft,
    "topology": topology,
    "evaluator": evaluator,
}
"""Name -> what is called with each input."""
