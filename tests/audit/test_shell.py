"""Commands that a report proposes: what comes from a host stays a word."""

from __future__ import annotations

import shlex

import pytest

from netverify.audit.shell import command, iptables, words_of
from netverify.docker import Daemon
from tests.audit.hosts import findings, usual


@pytest.mark.parametrize(
    "word", ["br0;reboot", "$(reboot)", "`id`", "a b", "'", '"', "x\ny", "", "&", "|x", "~"]
)
def test_words_stay_words(word: str) -> None:
    assert shlex.split(command("echo", word)) == ["echo", word]
    assert shlex.split(iptables(4, "-I", "FORWARD", "-i", word, table="raw"))[-1] == word


def test_usual_words_are_left_as_they_are() -> None:
    rule = "-d 172.17.0.2/32 ! -i docker0 -p tcp -m tcp --dport 80 -j DROP"
    assert iptables(6, "-D", "DOCKER", *words_of(rule)) == f"ip6tables -D DOCKER {rule}"


def test_a_rule_whose_comment_is_a_command() -> None:
    daemon = Daemon.started(usual("26.1.4"))
    rule = '-i br-front -o br-back -m comment --comment "$(reboot) `id`" -j ACCEPT'
    opened = daemon.ipv4.with_rule_inserted("filter", "FORWARD", 1, rule)
    hit = findings(daemon, "networks-not-isolated", "isolation-bypassed", ipv4=opened)
    assert len(hit) == 2
    for each in hit:
        words = shlex.split(each.remedy[0], comments=True)
        assert words[words.index("--comment") + 1] == "$(reboot) `id`"
        assert "'$(reboot) `id`'" in each.remedy[0]
