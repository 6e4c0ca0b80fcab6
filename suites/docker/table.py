"""Who must reach whom: the expectations, release by release, which test_grid.py holds against the kernel.

They were written down from Docker's documentation, tests and sources, not from what a lab showed. A row is one
question of the grid in one setting; its answers stand in the order of `RELEASES`:

    17.06-18.04, 18.05-26, 27, 28.0.0, 28.0.1-28.1, 28.2-28.5, 29 iptables, 29 nftables

`y` reached and answered, `n` did not arrive, `>` arrived and no answer came back, `-` no such option then.
`{bridge}` is the address of br-web, `{loopback}` 127.0.0.1 or ::1. Without answers for IPv6 nothing is expected
of it. Port 80 is published on all addresses, 81 on the loopback, 82 on one address, UDP 53 on all, 83 nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from netverify.reachability.probe import Probe
from suites.docker.grid import Question
from suites.docker.releases import RELEASES, Release

_REACH = """
what | setting | asked | IPv4     | IPv6

same network | default | web2 -> web1 tcp/83 | yyyyyyyy | yyyyyyyy
same network | icc=false | web2 -> web1 tcp/83 | nnnnnnnn | yynnnnnn
same network | internal | web2 -> web1 tcp/83 | yyyyyyyy | yyyyyyyy
same network | isolated | web2 -> web1 tcp/83 | ---yyyyy | ---yyyyy

other network to the container, published | default | other -> web1 tcp/80 | nnnnnnnn | yynnnnnn
other network to the container, unpublished | default | other -> web1 tcp/83 | nnnnnnnn | yynnnnnn
other network to the container, ping | default | other -> web1 icmp | nnnnnnnn | yynnnnnn
other network to the container, unpublished | host forwarded before | other -> web1 tcp/83 | nnnnnnnn | yynnnnnn
other network to a routed one, published | routed | other -> web1 tcp/80 | --nyyyyy | --nyyyyy
other network to a routed one, unpublished | routed | other -> web1 tcp/83 | --nnnnnn | --nnnnnn
other network to a routed one, ping | routed | other -> web1 icmp | --nyyyyy | --nyyyyy
other network to an unprotected one | nat-unprotected | other -> web1 tcp/83 | ---nnnyy | ---nnnyy
container to another network's container | default | web1 -> other tcp/83 | nnnnnnnn | yynnnnnn

other network to a port of the host | default | other -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
other network to a port of the host | no proxy | other -> host:8080 tcp/80 | nnnnnnyy | >>nnnnyy
other network to a port of the host, udp | default | other -> host:5353 udp/53 | yyyyyyyy | yyyyyyyy
other network to a port of the host, udp | no proxy | other -> host:5353 udp/53 | nnnnnnyy | >>nnnnyy
container to its own published port | default | web1 -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
container to its own published port | no proxy | web1 -> host:8080 tcp/80 | yyyyyyyy | >>yyyyyy
container to its neighbour's published port | default | web2 -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
container to its neighbour's published port | no proxy | web2 -> host:8080 tcp/80 | yyyyyyyy | >>yyyyyy
container to its neighbour's published port | icc=false | web2 -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy

container to the internet | default | web1 -> internet tcp/80 | yyyyyyyy | >>yyyyyy
container to the internet | no masquerading | web1 -> internet tcp/80 | >>>>>>>> | >>>>>>>>
container to the internet | routed | web1 -> internet tcp/80 | -->>>>>> | -->>>>>>
container to the internet | nat-unprotected | web1 -> internet tcp/80 | ---yyyyy | ---yyyyy
container to a service of its host | default | web1 -> host tcp/83 | yyyyyyyy | yyyyyyyy
container to a service of its host | icc=false | web1 -> host tcp/83 | yyyyyyyy | yyyyyyyy

host to the container, any port | default | host -> web1 tcp/83 | yyyyyyyy | yyyyyyyy
host to the container, any port | internal | host -> web1 tcp/83 | yyyyyyyy | yyyyyyyy
host to the container, any port | isolated | host -> web1 tcp/83 | ---nnnnn | ---nnnnn
host to a published port | default | host -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
host to a port published everywhere, by lo | default | host -> host@{loopback}:8080 tcp/80 | yyyyyyyy | yyyyyyyy
host to a port published on its loopback | default | host -> host@{loopback}:8081 tcp/81 | yyyyyyyy | yyyyyyyy
host to a port published on its loopback | no proxy | host -> host@{loopback}:8081 tcp/81 | yyyyyyyy |

LAN to a port published on all addresses | default | neighbour -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
LAN to a port published on all addresses | no proxy | neighbour -> host:8080 tcp/80 | yyyyyyyy | >>yyyyyy
LAN to a UDP port published | default | neighbour -> host:5353 udp/53 | yyyyyyyy | yyyyyyyy
LAN to a port published on one address | default | neighbour -> host:8082 tcp/82 | yyyyyyyy | yyyyyyyy
LAN to that port on another address | default | neighbour -> host@{bridge}:8082 tcp/82 | nnnnnnnn | nnnnnnnn
LAN to a port published by default binding | host_binding=127.0.0.1 | neighbour -> host:8080 tcp/80 | nnnnnnnn | nnnnnnnn
internet to a published port | default | internet -> host:8080 tcp/80 | yyyyyyyy | yyyyyyyy
LAN to a port published on the loopback | default | neighbour -> host@{loopback}:8081 tcp/81 | yyynnnnn |
LAN to a port published on the loopback | no raw rules | neighbour -> host@{loopback}:8081 tcp/81 | ----yyy- |
LAN to a loopback port by default binding | host_binding=127.0.0.1 | neighbour -> host@{loopback}:8080 tcp/80 | yyynnnnn |

LAN to the container, published | default | neighbour -> web1 tcp/80 | yyynnnnn | yyynnnnn
LAN to the container, unpublished | default | neighbour -> web1 tcp/83 | nnnnnnnn | yynnnnnn
LAN to the container, ping | default | neighbour -> web1 icmp | nnnnnnnn | yynnnnnn
LAN to the container, published | host forwarded before | neighbour -> web1 tcp/80 | yyynnnnn | yyynnnnn
LAN to the container, unpublished | host forwarded before | neighbour -> web1 tcp/83 | yyynnnnn | yynnnnnn
LAN to the container, ping | host forwarded before | neighbour -> web1 icmp | yyynnnnn | yynnnnnn
LAN to the container, published | no raw rules | neighbour -> web1 tcp/80 | ----yyy- | ----yyy-
LAN to the container, unpublished | no raw rules | neighbour -> web1 tcp/83 | ----nnn- | ----nnn-
LAN to the container, published | allow-direct-routing | neighbour -> web1 tcp/80 | -----yyy | -----yyy
LAN to the container, unpublished | allow-direct-routing | neighbour -> web1 tcp/83 | -----nnn | -----nnn
LAN to the container, published | trusted eth0 | neighbour -> web1 tcp/80 | -----yyy | -----yyy
LAN to the container, unpublished | trusted eth0 | neighbour -> web1 tcp/83 | -----nnn | -----nnn
LAN to the container, unpublished | ip6tables on | neighbour -> web1 tcp/83 | -n------ | -n------
LAN to the container, unpublished | ip6tables off | neighbour -> web1 tcp/83 | --nnnnnn | --yyyyyy
LAN to the container, unpublished | ip-forward-no-drop | neighbour -> web1 tcp/83 | ---nnnnn | ---nnnnn
LAN to a routed network, published | routed | neighbour -> web1 tcp/80 | --yyyyyy | --yyyyyy
LAN to a routed network, unpublished | routed | neighbour -> web1 tcp/83 | --nnnnnn | --nnnnnn
LAN to a routed network, ping | routed | neighbour -> web1 icmp | --nyyyyy | --nyyyyy
LAN to a routed network, unpublished | routed, host forwarded before | neighbour -> web1 tcp/83 | --ynnnnn | --nnnnnn
LAN to a routed network, ping | routed, host forwarded before | neighbour -> web1 icmp | --yyyyyy | --nyyyyy
LAN to an unprotected network | nat-unprotected | neighbour -> web1 tcp/83 | ---yyyyy | ---yyyyy
LAN to the bridge's own address | default | neighbour -> host@{bridge} icmp | yyyyyyyy | yyyyyyyy

internal network to another | internal | web1 -> other tcp/83 | nnnnnnnn | ynnnnnnn
internal network to the internet | internal | web1 -> internet tcp/80 | nnnnnnnn | >nnnnnnn
internal network to its bridge's address | internal | web1 -> host@{bridge} icmp | yyyyyyyy | yyyyyyyy
internal network to another host address | internal | web1 -> host icmp | ynnnnnnn | ynnnnnnn
isolated network to its gateway's address | isolated | web1 -> host@{bridge} icmp | ---nnnnn | ---nnnnn
other network to an internal one | internal | other -> web1 tcp/83 | nnnnnnnn |
LAN to an internal network | internal | neighbour -> web1 tcp/83 | nnnnnnnn |
"""

_SEEN = """
what | setting | asked | IPv4 | IPv6

container to the internet | default | web1 -> internet tcp/80 | 198.51.100.10 | 2: fd00:18::2, 2001:db8:1::10
container to the internet | no masquerading | web1 -> internet tcp/80 | 172.18.0.2 | fd00:18::2
container to the internet | routed | web1 -> internet tcp/80 | 172.18.0.2 | fd00:18::2
container to the internet | nat-unprotected | web1 -> internet tcp/80 | 198.51.100.10 | 2001:db8:1::10
LAN to a published port | default | neighbour -> host:8080 tcp/80 | 198.51.100.20 | 1: 172.18.0.1, 1: fd00:18::1, 2001:db8:1::20
LAN to a published port | no proxy | neighbour -> host:8080 tcp/80 | 198.51.100.20 |
container to its own published port | default | web1 -> host:8080 tcp/80 | 172.18.0.1 | 1: 172.18.0.1, fd00:18::1
container to its own published port | no proxy | web1 -> host:8080 tcp/80 | 172.18.0.1 |
host to a port published everywhere, by lo | default | host -> host@{loopback}:8080 tcp/80 | 172.18.0.1 | 1: 172.18.0.1, fd00:18::1
host to a port published everywhere, by lo | no proxy | host -> host@{loopback}:8080 tcp/80 | 172.18.0.1 |
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


def _rows(text: str) -> Iterator[tuple[str, str, Question, str]]:
    for line in text.strip().splitlines()[1:]:
        if line.strip():
            what, setting, asked, *answers = (part.strip() for part in line.split("|"))
            for version, answer in zip((4, 6), answers, strict=True):
                if answer:
                    yield what, setting, _question(asked, version), answer


def _sources(text: str) -> tuple[str, ...]:
    """`2: A, B` is A for the first two releases and B for the others."""
    found: list[str] = []
    for part in text.split(", "):
        count, colon, address = part.partition(": ")
        found += [address] * int(count) if colon else [part] * (len(RELEASES) - len(found))
    return tuple(found)


REACH = tuple(Row(*rest, tuple(answers)) for *rest, answers in _rows(_REACH))
SEEN = tuple(Row(*rest, _sources(answers)) for *rest, answers in _rows(_SEEN))
