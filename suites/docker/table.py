"""Who must reach whom: the expectations, release by release, which test_grid.py holds against the kernel.

They were written down from Docker's documentation, tests and sources, not from what a lab showed. A row is
one question of the grid; [SETTING] stands above the rows of a setting. The answers over IPv4, and then those
over IPv6 where something is expected, stand in the order of `RELEASES`:

    17.06-18.04, 18.05-26, 27, 28.0.0, 28.0.1-28.1, 28.2-28.5, 29 iptables, 29 nftables

`y` reached and answered, `n` did not arrive, `>` arrived and no answer came back, `-` no such option then.
`{bridge}` is the address of br-web, `{loopback}` 127.0.0.1 or ::1. Port 80 is published on all addresses, 81
on the loopback, 82 on one address, UDP 53 on all, 83 nowhere.

The second table says which source the service sees; `2: A, B` is A for the first two releases and B for the
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from netverify.reachability.probe import Probe
from suites.docker.grid import Question
from suites.docker.releases import RELEASES, Release

_REACH = """
[default]
same network                                | web2 -> web1 tcp/83                      | yyyyyyyy | yyyyyyyy
other network to the container, published   | other -> web1 tcp/80                     | nnnnnnnn | yynnnnnn
other network to the container, unpublished | other -> web1 tcp/83                     | nnnnnnnn | yynnnnnn
other network to the container, ping        | other -> web1 icmp                       | nnnnnnnn | yynnnnnn
container to another network's container    | web1 -> other tcp/83                     | nnnnnnnn | yynnnnnn
other network to a port of the host         | other -> host:8080 tcp/80                | yyyyyyyy | yyyyyyyy
other network to a port of the host, udp    | other -> host:5353 udp/53                | >>>yyyyy | >>>yyyyy
container to its own published port         | web1 -> host:8080 tcp/80                 | yyyyyyyy | yyyyyyyy
container to its neighbour's published port | web2 -> host:8080 tcp/80                 | yyyyyyyy | yyyyyyyy
container to the internet                   | web1 -> internet tcp/80                  | yyyyyyyy | >>yyyyyy
container to a service of its host          | web1 -> host tcp/83                      | yyyyyyyy | yyyyyyyy
host to the container, any port             | host -> web1 tcp/83                      | yyyyyyyy | yyyyyyyy
host to a published port                    | host -> host:8080 tcp/80                 | yyyyyyyy | yyyyyyyy
host to a published port by loopback        | host -> host@{loopback}:8080 tcp/80      | yyyyyyyy | yyyyyyyy
host to a port published on its loopback    | host -> host@{loopback}:8081 tcp/81      | yyyyyyyy | yyyyyyyy
LAN to a port published on all addresses    | neighbour -> host:8080 tcp/80            | yyyyyyyy | yyyyyyyy
LAN to a UDP port published                 | neighbour -> host:5353 udp/53            | yyyyyyyy | yyyyyyyy
LAN to a port published on one address      | neighbour -> host:8082 tcp/82            | yyyyyyyy | yyyyyyyy
LAN to that port on another address         | neighbour -> host@{bridge}:8082 tcp/82   | nnnnnnnn | nnnnnnnn
internet to a published port                | internet -> host:8080 tcp/80             | yyyyyyyy | yyyyyyyy
LAN to a port published on the loopback     | neighbour -> host@{loopback}:8081 tcp/81 | yyynnnnn |
LAN to the container, published             | neighbour -> web1 tcp/80                 | yyynnnnn | yyynnnnn
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | nnnnnnnn | yynnnnnn
LAN to the container, ping                  | neighbour -> web1 icmp                   | nnnnnnnn | yynnnnnn
LAN to the bridge's own address             | neighbour -> host@{bridge} icmp          | yyyyyyyy | yyyyyyyy

[icc=false]
same network                                | web2 -> web1 tcp/83                      | nnnnnnnn | yynnnnnn
container to its neighbour's published port | web2 -> host:8080 tcp/80                 | yyyyyyyy | yyyyyyyy
container to a service of its host          | web1 -> host tcp/83                      | yyyyyyyy | yyyyyyyy

[internal]
same network                                | web2 -> web1 tcp/83                      | yyyyyyyy | yyyyyyyy
host to the container, any port             | host -> web1 tcp/83                      | yyyyyyyy | yyyyyyyy
internal network to another                 | web1 -> other tcp/83                     | nnnnnnnn | ynnnnnnn
internal network to the internet            | web1 -> internet tcp/80                  | nnnnnnnn | >nnnnnnn
internal network to its bridge's address    | web1 -> host@{bridge} icmp               | yyyyyyyy | yyyyyyyy
internal network to another host address    | web1 -> host icmp                        | ynnnnnnn | ynnnnnnn
other network to an internal one            | other -> web1 tcp/83                     | nnnnnnnn |
LAN to an internal network                  | neighbour -> web1 tcp/83                 | nnnnnnnn |

[isolated]
same network                                | web2 -> web1 tcp/83                      | ---yyyyy | ---yyyyy
host to the container, any port             | host -> web1 tcp/83                      | ---nnnnn | ---nnnnn
isolated network to its gateway's address   | web1 -> host@{bridge} icmp               | ---nnnnn | ---nnnnn

[host forwarded before]
other network to the container, unpublished | other -> web1 tcp/83                     | nnnnnnnn | yynnnnnn
LAN to the container, published             | neighbour -> web1 tcp/80                 | yyynnnnn | yyynnnnn
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | yyynnnnn | yynnnnnn
LAN to the container, ping                  | neighbour -> web1 icmp                   | yyynnnnn | yynnnnnn

[routed]
other network to a routed one, published    | other -> web1 tcp/80                     | --nyyyyy | --nyyyyy
other network to a routed one, unpublished  | other -> web1 tcp/83                     | --nnnnnn | --nnnnnn
other network to a routed one, ping         | other -> web1 icmp                       | --nyyyyy | --nyyyyy
container to the internet                   | web1 -> internet tcp/80                  | -->>>>>> | -->>>>>>
LAN to a routed network, published          | neighbour -> web1 tcp/80                 | --yyyyyy | --yyyyyy
LAN to a routed network, unpublished        | neighbour -> web1 tcp/83                 | --nnnnnn | --nnnnnn
LAN to a routed network, ping               | neighbour -> web1 icmp                   | --nyyyyy | --nyyyyy

[nat-unprotected]
other network to an unprotected one         | other -> web1 tcp/83                     | ---nnnyy | ---nnnyy
container to the internet                   | web1 -> internet tcp/80                  | ---yyyyy | ---yyyyy
LAN to an unprotected network               | neighbour -> web1 tcp/83                 | ---yyyyy | ---yyyyy

[no proxy]
other network to a port of the host         | other -> host:8080 tcp/80                | nnnnnnyy | >>nnnnyy
other network to a port of the host, udp    | other -> host:5353 udp/53                | nnnnnnyy | >>nnnnyy
container to its own published port         | web1 -> host:8080 tcp/80                 | yyyyyyyy | >>yyyyyy
container to its neighbour's published port | web2 -> host:8080 tcp/80                 | yyyyyyyy | >>yyyyyy
host to a port published on its loopback    | host -> host@{loopback}:8081 tcp/81      | yyyyyyyy |
LAN to a port published on all addresses    | neighbour -> host:8080 tcp/80            | yyyyyyyy | >>yyyyyy
host to a published port by loopback        | host -> host@{loopback}:8080 tcp/80      | yyyyyyyy |

[no masquerading]
container to the internet                   | web1 -> internet tcp/80                  | >>>>>>>> | >>>>>>>>

[host_binding=127.0.0.1]
LAN to a port published by default binding  | neighbour -> host:8080 tcp/80            | nnnnnnnn | nnnnnnnn
LAN to a loopback port by default binding   | neighbour -> host@{loopback}:8080 tcp/80 | yyynnnnn |

[no raw rules]
LAN to a port published on the loopback     | neighbour -> host@{loopback}:8081 tcp/81 | ----yyy- |
LAN to the container, published             | neighbour -> web1 tcp/80                 | ----yyy- | ----yyy-
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | ----nnn- | ----nnn-

[allow-direct-routing]
LAN to the container, published             | neighbour -> web1 tcp/80                 | -----yyy | -----yyy
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | -----nnn | -----nnn

[trusted eth0]
LAN to the container, published             | neighbour -> web1 tcp/80                 | -----yyy | -----yyy
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | -----nnn | -----nnn

[ip6tables on]
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | -n------ | -n------

[ip6tables off]
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | --nnnnnn | --yyyyyy

[ip-forward-no-drop]
LAN to the container, unpublished           | neighbour -> web1 tcp/83                 | ---nnnnn | ---nnnnn

[routed, host forwarded before]
LAN to a routed network, unpublished        | neighbour -> web1 tcp/83                 | --ynnnnn | --nnnnnn
LAN to a routed network, ping               | neighbour -> web1 icmp                   | --yyyyyy | --nyyyyy
"""

_SEEN = """
[default]
container to the internet | web1 -> internet tcp/80 | IPv4 | 198.51.100.10
container to the internet | web1 -> internet tcp/80 | IPv6 | 2: fd00:18::2, 2001:db8:1::10
LAN to a published port | neighbour -> host:8080 tcp/80 | IPv4 | 198.51.100.20
LAN to a published port | neighbour -> host:8080 tcp/80 | IPv6 | 1: 172.18.0.1, 1: fd00:18::1, 2001:db8:1::20
container to its own published port | web1 -> host:8080 tcp/80 | IPv4 | 172.18.0.1
container to its own published port | web1 -> host:8080 tcp/80 | IPv6 | 1: 172.18.0.1, fd00:18::1
host to a published port by loopback | host -> host@{loopback}:8080 tcp/80 | IPv4 | 172.18.0.1
host to a published port by loopback | host -> host@{loopback}:8080 tcp/80 | IPv6 | 1: 172.18.0.1, fd00:18::1

[no masquerading]
container to the internet | web1 -> internet tcp/80 | IPv4 | 172.18.0.2
container to the internet | web1 -> internet tcp/80 | IPv6 | fd00:18::2

[routed]
container to the internet | web1 -> internet tcp/80 | IPv4 | 172.18.0.2
container to the internet | web1 -> internet tcp/80 | IPv6 | fd00:18::2

[nat-unprotected]
container to the internet | web1 -> internet tcp/80 | IPv4 | 198.51.100.10
container to the internet | web1 -> internet tcp/80 | IPv6 | 2001:db8:1::10

[no proxy]
LAN to a published port | neighbour -> host:8080 tcp/80 | IPv4 | 198.51.100.20
container to its own published port | web1 -> host:8080 tcp/80 | IPv4 | 172.18.0.1
host to a published port by loopback | host -> host@{loopback}:8080 tcp/80 | IPv4 | 172.18.0.1
"""


@dataclass(frozen=True)
class Row:
    """One question in one setting, over one IP version, and what is expected of each release."""

    what: str
    setting: str
    question: Question
    answers: tuple[str, ...]

    def expected(self, release: Release) -> str:
        """What this release must answer."""
        titles = [one.title for one in RELEASES]
        return self.answers[titles.index(release.title)]


_ASKED = re.compile(r"(?P<source>\S+) -> (?P<target>\S+) (?P<protocol>[a-z]+)(?:/(?P<port>\d+))?")
_PLACES = {
    4: {"bridge": "172.18.0.1", "loopback": "127.0.0.1"},
    6: {"bridge": "[fd00:18::1]", "loopback": "[::1]"},
}


def _question(text: str, version: int) -> Question:
    found = _ASKED.fullmatch(text.format(**_PLACES[version]))
    if found is None:
        raise ValueError(f"{text!r}: expected SOURCE -> TARGET PROTOCOL[/PORT]")
    port = None if found["port"] is None else int(found["port"])
    return Question(Probe(found["protocol"], port, version), found["source"], found["target"])


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line's setting and parts."""
    setting = ""
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            setting = line.strip("[]")
        else:
            yield setting, [part.strip() for part in line.split("|")]


def _reach() -> Iterator[Row]:
    for setting, (what, asked, *answers) in _lines(_REACH):
        for version, answer in zip((4, 6), answers, strict=True):
            if answer:
                yield Row(what, setting, _question(asked, version), tuple(answer))


def _seen() -> Iterator[Row]:
    for setting, (what, asked, version, addresses) in _lines(_SEEN):
        yield Row(what, setting, _question(asked, int(version.removeprefix("IPv"))), _sources(addresses))


def _sources(text: str) -> tuple[str, ...]:
    """`2: A, B` is A for the first two releases and B for the others."""
    found: list[str] = []
    for part in text.split(", "):
        count, colon, address = part.partition(": ")
        found += [address] * int(count) if colon else [part] * (len(RELEASES) - len(found))
    return tuple(found)


REACH, SEEN = tuple(_reach()), tuple(_seen())
