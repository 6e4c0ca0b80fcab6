"""One rule from text and back: spellings, negations, quoting, whose an option is, errors with their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netverify.ruleset import Counters, Match, Option, Rule, RulesetError, RulesetSyntaxError, Target
from tests.ruleset import samples
from tests.strategies.ruleset import respelled, rules

ALL_SAMPLES = [
    rule
    for sample in (samples.LOADABLE_IPV4, samples.LOADABLE_IPV6, samples.WRITABLE)
    for _, rule in samples.lines(sample)
]


@pytest.mark.parametrize("text", ALL_SAMPLES)
def test_what_iptables_writes_is_written_the_same(text):
    assert Rule.parse(text).render() == text


@pytest.mark.parametrize("text", ALL_SAMPLES)
def test_everything_iptables_writes_is_in_the_vocabulary(text):
    rule = Rule.parse(text)
    assert [match.name for match in rule.matches if not match.is_known] == []
    assert rule.target is None or rule.target.is_known


@given(rules())
def test_reading_what_was_written_gives_the_rule(rule):
    assert Rule.parse(rule.render()) == rule


@given(rules())
def test_counters_survive(rule):
    assert Rule.parse(rule.render(counters=True)).counters == rule.counters


@given(st.data())
def test_other_words_for_the_same_rule(data):
    rule = data.draw(rules())
    assert Rule.parse(data.draw(respelled(rule))) == rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("-A I -s ! 10.0.0.0/8", "-A I ! -s 10.0.0.0/8"),
        ("-A I -i ! eth0 -o ! br+", "-A I ! -i eth0 ! -o br+"),
        ("-A I -p ! tcp", "-A I ! -p tcp"),
        ("-A I -p tcp --dport ! 80", "-A I -p tcp -m tcp ! --dport 80"),
        ("-A I -p tcp --tcp-flags ! SYN,RST SYN", "-A I -p tcp -m tcp ! --tcp-flags SYN,RST SYN"),
        ("-A I -m layer7 --level ! high", "-A I -m layer7 ! --level high"),
        ("--append I --source 1.2.3.4 --jump ACCEPT", "-A I -s 1.2.3.4 -j ACCEPT"),
        ("-A I --protocol=tcp --dport=80", "-A I -p tcp -m tcp --dport 80"),
        ("-A I -s10.0.0.0/8 -ptcp", "-A I -s 10.0.0.0/8 -p tcp"),
        ("-A I --proto udp --destination-port 53", "-A I -p udp -m udp --dport 53"),
        ("-A I -p 6 --syn", "-A I -p 6 -m tcp --syn"),
        ("-A I -p TCP --dport 80", "-A I -p TCP -m tcp --dport 80"),
        ("-A I -p icmpv6 --icmpv6-type 128", "-A I -p icmpv6 -m icmp6 --icmpv6-type 128"),
        ("-A I -p tcp -m multiport --dport 80,443", "-A I -p tcp -m multiport --dports 80,443"),
        ("-A I -m mac --mac 02:00:00:00:00:01", "-A I -m mac --mac-source 02:00:00:00:00:01"),
        ("-A I -j REDIRECT --to-port 80", "-A I -j REDIRECT --to-ports 80"),
        ("-A I -p tcp -m state --state NEW --dport 22", "-A I -p tcp -m state --state NEW -m tcp --dport 22"),
        ("-A I -m tcp -m state --dport 22 --state NEW", "-A I -m tcp --dport 22 -m state --state NEW"),
        ("-A I -j DNAT -p tcp --dport 80 --to-destination 1.1.1.1",
         "-A I -p tcp -m tcp --dport 80 -j DNAT --to-destination 1.1.1.1"),
        ("-A I -p tcp -m tcp -j LOG --dport 80 --log-uid", "-A I -p tcp -m tcp --dport 80 -j LOG --log-uid"),
        ("-A I -m policy --pol ipsec --proto esp", "-A I -m policy --pol ipsec --proto esp"),
        ("-A I -m tcp -m udp -m tcp --dport 80", "-A I -m tcp -m udp -m tcp --dport 80"),
        ("-A I -p tcp -m tcp -m layer7 --dport 80", "-A I -p tcp -m tcp -m layer7 --dport 80"),
        ("-A I -c 5 60 -j DROP", "-A I -j DROP"),
        ("\t-A  I\t-j\tDROP ", "-A I -j DROP"),
        ('-A I -m comment --comment "two ""words" -j X', None),
        ('-A I -m comment --comment pre"fix ed" -j X', '-A I -m comment --comment "prefix ed" -j X'),
        ('-A I -m comment --comment "a\\"b\\\\c\\d"', '-A I -m comment --comment "a\\"b\\\\cd"'),
        ("-A I -m comment --comment back\\slash", '-A I -m comment --comment "back\\\\slash"'),
        ("-A I -m layer7 --l7proto skype --l7dir /etc/l7", "-A I -m layer7 --l7proto skype --l7dir /etc/l7"),
        ("-A I -m state --state NEW --zz-new 1 2", "-A I -m state --state NEW --zz-new 1 2"),
        ("-A I -m layer7 --range -1 -j X", "-A I -m layer7 --range -1 -j X"),
        ("-A I -m layer7 --deep=-x ! --flag", '-A I -m layer7 --deep "-x" ! --flag'),
    ],
)  # fmt: skip
def test_spellings_become_one(text, canonical):
    if canonical is None:
        with pytest.raises(RulesetSyntaxError):
            Rule.parse(text)
    else:
        assert Rule.parse(text).render() == canonical


def test_the_parts_of_a_rule():
    rule = Rule.parse(
        "[3:252] -A FORWARD -i br0 ! -o br0 -p tcp -m tcp ! --dport 80:90 -j DNAT --to-destination 1.1.1.1"
    )
    assert rule == Rule(
        "FORWARD",
        (
            Match.core("in-interface", "br0"),
            Match.core("out-interface", "br0", negated=True),
            Match.core("protocol", "tcp"),
            Match("tcp", (Option("dport", ("80:90",), negated=True),)),
        ),
        Target("DNAT", (Option("to-destination", ("1.1.1.1",)),)),
    )
    assert rule.counters == Counters(3, 252)
    assert rule.match("out-interface").negated
    assert rule.match("tcp").option("dport").value == "80:90"
    assert rule.match("udp") is None
    assert rule.target.option("to-destination").values == ("1.1.1.1",)


def test_the_origin_is_the_line_as_it_stood():
    text = "-A  INPUT -s ! 1.2.3.4  -j ACCEPT"
    assert Rule.parse(text).origin.text == text
    assert Rule.parse(text).origin.line == 1


def test_a_rule_without_its_chain():
    assert Rule.parse("-i a -j DROP", chain="X") == Rule.parse("-A X -i a -j DROP", chain="X")
    with pytest.raises(RulesetSyntaxError, match="expected a rule for chain X, found 'Y'"):
        Rule.parse("-A Y -j DROP", chain="X")


@pytest.mark.parametrize(
    ("text", "column", "expected", "found"),
    [
        ("", 1, "-A and a chain's name", ""),
        ("-i eth0 -j ACCEPT", 1, "-A and a chain's name", "-i"),
        ("-I INPUT -j ACCEPT", 1, "-A and a chain's name", "-I"),
        ("-A", 3, "a chain's name", ""),
        ("-A -j DROP", 4, "a chain's name", "-j"),
        ("-A INPUT -s", 12, "a value for -s", ""),
        ("-A INPUT -s -j DROP", 13, "a value for -s", "-j"),
        ("-A INPUT -s !", 14, "a value for -s", ""),
        ("-A INPUT -s ! ! a", 15, "a value for -s", "!"),
        ("-A INPUT -s a -s b -j DROP", 15, "-s only once", "-s"),
        ("-A INPUT ! -s a,b", 15, "one address after '!'", "a,b"),
        ("-A INPUT -s a,b -j DROP", 1, "one rule", "-A"),
        ("-A INPUT -f=1", 10, "-f to stand alone", "-f=1"),
        ("-A INPUT eth0", 10, "an option", "eth0"),
        ('-A INPUT "-s" eth0', 10, "an option", "-s"),
        ("-A INPUT ! ! -s a", 12, "an option after '!'", "!"),
        ("-A INPUT -s a !", 16, "an option after '!'", ""),
        ("-A INPUT ! -m tcp", 12, "an option that can be negated", "-m"),
        ("-A INPUT ! -j DROP", 12, "an option that can be negated", "-j"),
        ("-A INPUT -m", 12, "an extension's name", ""),
        ("-A INPUT -m source", 13, "an extension", "source"),
        ("-A INPUT --dport 80", 10, "an option of iptables or of an extension", "--dport"),
        ("-A INPUT -x", 10, "an option of iptables or of an extension", "-x"),
        ("-A INPUT -p tcp --dport", 24, "a value for --dport", ""),
        ("-A INPUT -p tcp --dport -j DROP", 25, "a value for --dport", "-j"),
        ("-A INPUT -p tcp --dport 80 90", 28, "an option", "90"),
        ("-A INPUT -p tcp --tcp-flags SYN -j DROP", 33, "2 values for --tcp-flags", "-j"),
        ("-A INPUT -p tcp --syn=1", 17, "--syn to stand alone", "--syn=1"),
        ("-A INPUT -j", 12, "a target or a chain's name", ""),
        ("-A INPUT -g", 12, "a chain's name", ""),
        ("-A INPUT -j A -j B", 15, "one target only", "-j"),
        ("-A INPUT -j A -g B", 15, "one target only", "-g"),
        ('-A INPUT -j "a b"', 13, "a target or a chain's name, without spaces", "a b"),
        ('-A INPUT -m "" -j DROP', 13, "an extension's name, without spaces", ""),
        ("-A INPUT -m x --a!b", 15, "an option of iptables or of an extension", "--a!b"),
        ("-A INPUT -m comment --comment a\0b", 32, "one line of text", "\0"),
        ("-A INPUT\n-j DROP", 9, "one line of text", "\n"),
        ("-A a-name-that-is-far-too-long-x -j X", 4, "longer than 28 bytes", "a-name-that-is-far-too-long-x"),
        ('-A INPUT -m comment --comment "abc -j DROP', 31, "a closing quote", '"'),
        ('-A INPUT -m comment --comment "abc\\"', 31, "a closing quote", '"'),
        ("[3] -A INPUT", 1, "counters [packets:bytes]", "[3]"),
        ("[3:x] -A INPUT", 1, "counts of packets and bytes", "[3:x]"),
        ("[3:99999999999999999999] -A INPUT", 1, "64 bits", "[3:99999999999999999999]"),
        ("-A INPUT -c 5", 14, "a number of bytes", ""),
        ("-A INPUT -c 5 x", 15, "counts of packets and bytes", "x"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_was_expected(text, column, expected, found):
    with pytest.raises(RulesetSyntaxError) as raised:
        Rule.parse(text)
    error = raised.value
    assert (error.line, error.column, error.found) == (1, column, found)
    assert expected in error.expected
    assert error.text == text


def test_a_long_line_is_shown_around_the_fault():
    with pytest.raises(RulesetSyntaxError) as raised:
        Rule.parse("-A INPUT " + "-m tcp " * 100 + "oops " + "-m udp " * 100)
    assert "oops" in str(raised.value)
    assert max(map(len, str(raised.value).splitlines())) < 110


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Option("--dport"), "no option name"),
        (lambda: Option("a b"), "no option name"),
        (lambda: Option("dport", ("a\nb",)), "line break"),
        (lambda: Match("tcp", (Option("dport"),)), "takes 1 value"),
        (lambda: Match("tcp", (Option("source-port", ("80",)),)), "write --source-port as --sport"),
        (lambda: Match("layer7", (Option("source", ("x",)),)), "option of iptables itself"),
        (lambda: Match("source"), "expected the one option source"),
        (lambda: Match.core("source"), "with 1 value"),
        (lambda: Match.core("fragment", "x"), "with 0 value"),
        (lambda: Match.core("source", "1.1.1.1,2.2.2.2"), "one address"),
        (lambda: Match.core("sauce", "x"), "no core field"),
        (lambda: Match("a b"), "no match name"),
        (lambda: Match("tcp").value, "has 0 options"),
        (lambda: Target("!x"), "no target name"),
        (lambda: Target("X", (Option("a"),), goto=True), "takes no options"),
        (lambda: Rule("-x"), "no chain name"),
        (lambda: Rule("x" * 29), "longer than 28"),
        (lambda: Rule("X", (Match.core("source", "a"), Match.core("source", "b"))), "tested twice"),
        (
            lambda: Rule("X", (Match("tcp"), Match("state", (Option("dport", ("80",)),)))),
            "another extension's",
        ),
        (lambda: Rule("X", (Match("tcp", (Option("spor", ("80",)),)),)), "read as --sport"),
        (lambda: Rule("X", (Match("tcp", (Option("proto", ("80",)),)),)), "another extension's"),
        (lambda: Counters(-1, 0), "64 bits"),
    ],
)
def test_what_cannot_be_written_cannot_be_made(make, message):
    with pytest.raises(RulesetError, match=message):
        make()
