"""How long a full matrix takes: 100 endpoints over 4 bridges that Docker's rules keep apart.

9,900 ordered pairs, three quarters of them blocked. netverify's time is for all of them, proofs included (and
for the 100 cells of the diagonal). The peers ping, as people do: a blocked pair costs them the second that
`-W1` allows, so they ask a sample of pairs, open and blocked ones apart, and what the whole matrix would take
is scaled up from that. A ping that is not answered proves nothing yet; the peers stop there.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import _measure
import _nets
from netverify.kernel import sandbox
from netverify.kernel.firewall import default_backend
from netverify.kernel.lab import Lab
from netverify.reachability.probe import Outcome, Probe, icmp, tcp, udp
from netverify.topology.model import Topology

WHOLE, PER_PAIR = 1.0, 100.0  # at most so many seconds, so many microseconds
BRIDGES = 4
OPEN_SAMPLE, BLOCKED_SAMPLE, AT_ONCE = 40, 4, 200  # pairs
MININET_PYTHON = "/usr/bin/python3"  # Debian's package serves this one
MININET_HOSTS, MININET_ACROSS = 20, 3
PROBES = {"netverify, udp": udp(5000), "netverify, icmp": icmp(), "netverify, tcp": tcp(80)}
OWN = "netverify, udp"
Names = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """The ordered pairs of a topology; those on one network are open, the others blocked."""

    opened: tuple[Names, ...]
    blocked: tuple[Names, ...]
    addresses: dict[str, str]

    @classmethod
    def of(cls, topology: Topology) -> Pairs:
        """Every pair of its containers."""
        topology = topology.resolved()
        network = {one.name: one.endpoints[0].network for one in topology.containers}
        every = [(a, b) for a in network for b in network if a != b]
        return cls(
            tuple((a, b) for a, b in every if network[a] == network[b]),
            tuple((a, b) for a, b in every if network[a] != network[b]),
            {name: str(topology.addresses_of(name, 4)[0]) for name in network},
        )

    def __len__(self) -> int:
        return len(self.opened) + len(self.blocked)

    def scaled(self, opened: float, blocked: float) -> float:
        """What the whole matrix would take at these seconds for one open and one blocked pair."""
        return len(self.opened) * opened + len(self.blocked) * blocked

    def sample(self, opened: int, blocked: int) -> tuple[list[Names], list[Names]]:
        """The same few pairs in each round."""
        choose = random.Random(1)
        return choose.sample(self.opened, opened), choose.sample(self.blocked, blocked)

    def ping(self, pair: Names) -> subprocess.Popen[bytes]:
        """Start one ping."""
        source, target = pair
        command = ["ip", "netns", "exec", source, "ping", "-q", "-n", "-c1", "-W1", self.addresses[target]]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def with_netverify(lab: Lab, probe: Probe, pairs: Pairs) -> float:
    """All pairs; every verdict is checked, outside the measured time."""
    found = []
    took = _measure.timed(lambda: found.append(lab.reachability(probe, list(pairs.addresses))))
    (matrix,) = found
    for expected, asked in ((Outcome.DELIVERED, pairs.opened), (Outcome.FILTERED, pairs.blocked)):
        wrong = [cell for cell in (matrix.cell(*pair) for pair in asked) if cell.outcome is not expected]
        if wrong:
            raise SystemExit(f"{probe}: {len(wrong)} of {len(asked)} are not {expected.value}: {wrong[0]}")
    return took


def one_after_the_other(pairs: Pairs) -> float:
    """`ip netns exec ping`, each pair when the one before has ended."""

    def each(sample: Sequence[Names], code: int) -> float:
        return _measure.timed(lambda: _expect(code, (pairs.ping(pair) for pair in sample))) / len(sample)

    opened, blocked = pairs.sample(OPEN_SAMPLE, BLOCKED_SAMPLE)
    return pairs.scaled(each(opened, 0), each(blocked, 1))


def all_at_once(pairs: Pairs) -> float:
    """The same, `AT_ONCE` processes side by side, three quarters of them blocked."""
    opened, blocked = pairs.sample(AT_ONCE // 4, AT_ONCE - AT_ONCE // 4)

    def run() -> None:
        started = [pairs.ping(pair) for pair in (*opened, *blocked)]
        _expect(0, started[: len(opened)])
        _expect(1, started[len(opened) :])

    return _measure.timed(run) / AT_ONCE * len(pairs)


def _expect(code: int, pings: Iterator[subprocess.Popen[bytes]] | Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for each; ping(8) exits with 0 when it was answered, with 1 when not."""
    codes = [ping.wait() for ping in pings]
    if any(one != code for one in codes):
        raise SystemExit(f"ping: expected exit code {code}, got {codes}")


def with_mininet(pairs: Pairs) -> float:
    """Mininet's pingall in namespaces of its own."""
    command = ["unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", MININET_PYTHON]
    command += [str(Path(__file__).with_name("_mininet.py"))]
    command += map(str, (MININET_HOSTS, BRIDGES, MININET_ACROSS))
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures = json.loads(said)
    return pairs.scaled(*(took / count for count, took in (figures["within"], figures["across"])))


def has_mininet() -> bool:
    """Whether the system's Python can import it."""
    try:
        done = subprocess.run([MININET_PYTHON, "-c", "import mininet"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@contextmanager
def iproute2(topology: Topology) -> Iterator[None]:
    """The same network by `ip -batch` and iptables-restore, for the pings."""
    _nets.batch(_nets.on_the_host(topology))
    for name, commands in _nets.inside(topology).items():
        _nets.batch(commands, "-n", name)
    subprocess.run(
        [f"iptables-{default_backend().value}-restore"],
        input=_nets.docker_rules(topology),
        text=True,
        check=True,
    )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    try:
        yield
    finally:
        _nets.take_down(topology)


def main() -> None:
    """Measure and print."""
    chosen = _measure.arguments(__doc__.partition("\n")[0], rounds=3, endpoints=100)
    sandbox.enter()
    topology = _nets.isolated_bridges(chosen.endpoints, BRIDGES)
    pairs = Pairs.of(topology)
    with Lab() as lab, iproute2(topology):
        lab.up(topology)
        candidates: dict[str, Callable[[], float]] = {
            name: partial(with_netverify, lab, probe, pairs) for name, probe in PROBES.items()
        }
        candidates["ip netns exec ping -c1 -W1 (scaled)"] = partial(one_after_the_other, pairs)
        candidates[f"the same, {AT_ONCE} at once (scaled)"] = partial(all_at_once, pairs)
        if has_mininet():
            candidates["Mininet pingall, timeout 1 (scaled)"] = partial(with_mininet, pairs)
        found = _measure.interleave(candidates, chosen.rounds)
    report(found, pairs, chosen.endpoints, chosen.rounds).publish(record=chosen.record)


def report(found: dict[str, list[float]], pairs: Pairs, endpoints: int, rounds: int) -> _measure.Report:
    """The figures as text."""
    own = median(found[OWN])
    text = _measure.Report("matrix").say(
        f"{len(pairs):,} ordered pairs of {endpoints} endpoints over {BRIDGES} bridges,",
        f"{len(pairs.blocked):,} of them blocked by Docker's classic rules;",
        f"iptables-{default_backend().value}, rounds: {rounds}",
        "",
    )
    rows = []
    for name, values in found.items():
        took = median(values)
        rows.append(
            [
                name,
                _measure.seconds(took),
                _measure.spread(values),
                f"{took / len(pairs) * 1e6:,.0f} us",
                f"{took / own:,.1f}",
            ]
        )
    text.table(["", "median", "fastest .. slowest", "a pair", f"x {OWN}"], rows)
    within, across = BRIDGES * _ordered(MININET_HOSTS // BRIDGES), _ordered(MININET_ACROSS)
    text.say(
        "",
        "scaled to the whole matrix:",
        f"- ping, from {OPEN_SAMPLE} open and {BLOCKED_SAMPLE} blocked pairs; at once, from {AT_ONCE} pairs",
        f"- Mininet, from {within} open and {across} blocked pairs of {MININET_HOSTS} hosts",
    )
    if not has_mininet():
        text.say("Mininet is not here: apt-get install mininet bridge-utils")
    text.say(
        "",
        _measure.floor("the whole matrix:", own, WHOLE, "s"),
        _measure.floor("a pair:", own / len(pairs) * 1e6, PER_PAIR, "us"),
    )
    return text


def _ordered(members: int) -> int:
    return members * (members - 1)


if __name__ == "__main__":
    main()
