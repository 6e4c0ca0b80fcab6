"""What this room writes, the kernel takes, and gives back in the same words: both backends, both families.

Each load happens in a network namespace of its own that ends with the process that made it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from netverify.ruleset import Family, Ruleset
from tests.ruleset import namespace, samples
from tests.strategies.ruleset import loadable_rulesets

COMMANDS = {"ipv4": "iptables", "ipv6": "ip6tables"}
DOCKER = (Path(__file__).parent / "docker_three_bridges.rules").read_text()


@pytest.fixture(params=["legacy", "nft"])
def backend(request, tmp_path):
    """A backend that works in a namespace here, as a function that loads rules and reads them back."""
    kind, lock = request.param, tmp_path / "xtables.lock"
    namespace.need(f"iptables-{kind}-restore && iptables-{kind}-save", "*filter\nCOMMIT\n", lock)

    def load(text: str, family: Family, *, counters: bool = False) -> str:
        command, flag = COMMANDS[family], " -c" if counters else ""
        done = namespace.run(f"{command}-{kind}-restore{flag} && {command}-{kind}-save{flag}", text, lock)
        numbered = "".join(f"{number}: {line}\n" for number, line in enumerate(text.split("\n"), 1))
        assert done.returncode == 0, f"{done.stderr}\n{numbered}"
        return done.stdout

    return load


def by_name(ruleset: Ruleset) -> Ruleset:
    """The same tables in the order of their names, which is the kernel's own affair."""
    return Ruleset(ruleset.family, tuple(sorted(ruleset.tables, key=lambda table: table.name)))


@settings(
    max_examples=15,
    deadline=None,  # each example starts processes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ruleset=loadable_rulesets())
def test_generated_rulesets_come_back_in_the_same_words(backend, ruleset):
    returned = Ruleset.parse(backend(ruleset.render(), ruleset.family))
    assert by_name(returned).render() == ruleset.render()
    assert by_name(returned) == ruleset


def test_dockers_rules_come_back_with_their_counters(backend):
    ruleset = Ruleset.parse(DOCKER)
    returned = by_name(Ruleset.parse(backend(ruleset.render(counters=True), "ipv4", counters=True)))
    assert returned == by_name(ruleset)
    for table in ruleset.tables:
        for chain in table.chains:
            assert returned.chain(table.name, chain.name).counters == chain.counters


@pytest.mark.parametrize(
    ("sample", "family"),
    [(samples.LOADABLE_IPV4, "ipv4"), (samples.LOADABLE_IPV6, "ipv6")],
    ids=["ipv4", "ipv6"],
)
def test_every_extension_comes_back_in_the_same_words(backend, sample, family):
    ruleset = samples.ruleset(sample, family)
    returned = by_name(Ruleset.parse(backend(ruleset.render(), family)))
    assert returned.render().splitlines() == ruleset.render().splitlines()


OTHER_WORDS = r"""*filter
:INPUT ACCEPT [0:0]
:X - [0:0]
-A INPUT -s ! 10.0.0.0/255.0.0.0 -p ! tcp -j ACCEPT
-A INPUT -i ! eth+ -p tcp --dport ! 80 -j X
-A INPUT -p tcp -m multiport --dport 80,443 -m tcp --source-port 5 -j ACCEPT
-A INPUT -p tcp --tcp-flags ! SYN,RST SYN -m state --state NEW --dport 22 -j LOG --log-prefix "it's \"x\""
-A INPUT -s 10.1.1.1,10.1.1.2 -d 10.2.0.0/16,10.3.0.0/16 -g X
-A INPUT -m mac --mac 02:00:00:00:00:01 --jump REJECT
COMMIT
"""


IN_THE_KERNELS_WORDS = r"""
-A INPUT ! -s 10.0.0.0/8 ! -p tcp -j ACCEPT
-A INPUT ! -i eth+ -p tcp -m tcp ! --dport 80 -j X
-A INPUT -p tcp -m multiport --dports 80,443 -m tcp --sport 5 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 ! --tcp-flags SYN,RST SYN -m state --state NEW -j LOG --log-prefix "it\'s \"x\""
-A INPUT -s 10.1.1.1/32 -d 10.2.0.0/16 -g X
-A INPUT -s 10.1.1.1/32 -d 10.3.0.0/16 -g X
-A INPUT -s 10.1.1.2/32 -d 10.2.0.0/16 -g X
-A INPUT -s 10.1.1.2/32 -d 10.3.0.0/16 -g X
-A INPUT -m mac --mac-source 02:00:00:00:00:01 -j REJECT --reject-with icmp-port-unreachable
"""  # noqa: E501


def test_other_words_are_loaded_with_the_same_meaning(backend):
    """Old negations, which today's iptables refuses, and abbreviations become words that it takes."""
    first = Ruleset.parse(backend(Ruleset.parse(OTHER_WORDS).render(), "ipv4"))
    assert [str(rule) for _, rule in first.rules()] == IN_THE_KERNELS_WORDS.split("\n")[1:-1]
    assert Ruleset.parse(backend(first.render(), "ipv4")) == first
