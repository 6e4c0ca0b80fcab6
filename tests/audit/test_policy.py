"""Policies: what a file says of each pair, and what it says of mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.audit.policy import Policy, PolicyRule, Rest, Service, Verb, dumps, loads
from netverify.errors import InputError

TEXT = """
groups:
  frontend: [web, "nginx-*"]
rules:
  - web -> db tcp/22 deny
  - web -> db tcp/5432 udp/53 allow
  - internet -> frontend tcp/443 only
  - web -> db tcp allow
  - monitoring -> * icmp allow
  - "* -> vault deny"
  - everything else between networks deny
"""


def decided(
    policy: Policy, source: str, target: str, protocol: str, port: int | None, *, same: bool = False
) -> bool | None:
    """What the first clause about a packet says; None where the packet is free."""
    clauses = policy.clauses(source, target, share_a_network=same)
    return next((clause.allowed for clause in clauses if clause.speaks_of(protocol, port)), None)


@pytest.mark.parametrize(
    ("source", "target", "protocol", "port", "same", "expected"),
    [
        ("web", "db", "tcp", 22, False, False),
        ("web", "db", "tcp", 5432, False, True),
        ("web", "db", "udp", 53, False, True),
        ("web", "db", "tcp", 80, False, True),
        ("web", "db", "udp", 54, False, False),
        ("web", "db", "udp", 54, True, None),
        ("internet", "web", "tcp", 443, False, True),
        ("internet", "web", "tcp", 80, True, False),
        ("internet", "nginx-7", "icmp", None, True, False),
        ("internet", "nginx", "tcp", 443, True, None),
        ("monitoring", "vault", "icmp", None, True, True),
        ("monitoring", "vault", "tcp", 1, True, False),
        ("db", "web", "tcp", 5432, False, False),
    ],
)
def test_the_first_rule_decides(
    source: str, target: str, protocol: str, port: int | None, same: bool, expected: bool | None
) -> None:
    assert decided(loads(TEXT, "policy.yaml"), source, target, protocol, port, same=same) is expected


def test_a_rule_knows_its_line() -> None:
    assert [rule.line for rule in loads(TEXT, "policy.yaml").rules] == [5, 6, 7, 8, 9, 10]


def test_names_that_mean_nobody() -> None:
    assert loads(TEXT, "policy.yaml").strangers(["web", "db", "internet", "monitoring"]) == ("vault",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "policy.yaml: it is empty; expected a policy"),
        ("rules: []", "the policy has no rule"),
        ("rules: [web db allow]", "policy.yaml:1:9: rules[0]: 'web db allow' is no rule; expected SOURCE ->"),
        ("rules:\n  - web -> db tcp/80", "y.yaml:2:5: rules[0]: the rule ends with 'tcp/80'; expected allow"),
        ("rules:\n  - web -> db allow", "it names no service to allow"),
        ("rules:\n  - web -> db tcp/0 allow", "'tcp/0' has ports that cannot be"),
        ("rules:\n  - web -> db tcp/90-80 allow", "'tcp/90-80' has ports that cannot be"),
        ("rules:\n  - web -> db icmp/8 allow", "'icmp/8' is no service"),
        ("rules:\n  - web -> db http allow", "'http' is no service; expected a service such as tcp/443"),
        ("rules:\n  - 'we\\x1bb -> db tcp allow'", "is no name"),
        (
            "rules:\n  - everything else deny\n  - everything else deny",
            "rules[1]: a second `everything else`",
        ),
        ("ruels:\n  - a -> b deny", "the key 'ruels' is unknown"),
        ("groups:\n  a: [b c]\nrules:\n  - a -> b deny", "groups.a[0]: 'b c' is no name"),
    ],
)  # fmt: skip
def test_mistakes_are_located(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(text, "policy.yaml")
    assert said in str(caught.value)


NAMES = st.text("abcxyz019._-", min_size=1, max_size=8)
PORTS = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda two: (min(two), max(two)))
SERVICES = st.builds(Service, st.sampled_from(["tcp", "udp", "sctp"]), st.none() | PORTS) | st.just(
    Service("icmp")
)
RULES = st.builds(
    PolicyRule, NAMES, NAMES, st.lists(SERVICES, min_size=1, max_size=3).map(tuple), st.sampled_from(Verb)
)
POLICIES = st.builds(
    Policy,
    st.lists(RULES, min_size=1, max_size=5).map(tuple),
    st.sampled_from(Rest),
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3).map(tuple)
    ),
)


@given(POLICIES)
def test_what_is_written_reads_the_same(policy: Policy) -> None:
    again = loads(dumps(policy), "policy.yaml")
    assert [str(rule) for rule in again.rules] == [str(rule) for rule in policy.rules]
    assert (again.rest, again.groups) == (policy.rest, policy.groups)


@given(st.text(max_size=200))
def test_no_text_harms(text: str) -> None:
    try:
        assert loads(text, "policy.yaml").rules is not None
    except InputError as error:
        said = str(error)
    else:
        return
    assert "policy.yaml" in said
