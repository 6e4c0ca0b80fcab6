"""Published ports that are open to more people than somebody thinks."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from netverify.audit.case import Case
from netverify.audit.checks.published import CHECKS
from netverify.audit.finding import Finding
from netverify.audit.run import audit
from netverify.docker import Daemon, DockerHost, PublishedPort
from netverify.ruleset import Ruleset
from tests.audit.hosts import VERSIONS, case, usual

INPUT_CLOSED = """\
*filter
:INPUT DROP [0:0]
:FORWARD {policy} [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


def found(of: Case) -> dict[str, list[Finding]]:
    """Findings by id."""
    by_id: dict[str, list[Finding]] = {}
    for finding in audit(of, CHECKS).findings:
        by_id.setdefault(finding.id, []).append(finding)
    return by_id


def with_input_closed(host: DockerHost) -> Ruleset:
    """The engine's rules on a host whose INPUT lets in ssh alone."""
    rules = Daemon.started(host).ipv4
    closed = Ruleset.parse(INPUT_CLOSED.format(policy="DROP")).chain("filter", "INPUT")
    return rules.with_chain("filter", closed)


def published_on(address: str, version: str) -> DockerHost:
    """The usual host, whose only published port is on one address."""
    host = usual(version)
    port = PublishedPort("front", host.network("front").subnet[2], 443, 8443, "tcp", IPv4Address(address))
    return replace(host, published=(port,))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_port_that_input_closes_and_docker_opens(version: str) -> None:
    host = usual(version)
    by_id = found(case(host, ipv4=with_input_closed(host)))
    beyond = by_id["published-beyond-firewall"]
    assert {finding.subject.split(" from ")[0] for finding in beyond} == {
        "bridge-2 tcp/8080",
        "front-2 tcp/8443",
        "closed-2 udp/5353",
    }
    assert {finding.subject.split(" from ")[1] for finding in beyond} == {"lan", "internet"}
    for finding in beyond:
        chains = [rule.chain for rule in finding.rules]
        assert chains[-1] == "INPUT", chains
        assert finding.evidence is not None
        assert finding.evidence.sending is not None
        assert finding.evidence.sending.arrives
    assert "published-beyond-firewall" not in found(case(host))


def test_a_rule_of_docker_user_ends_it() -> None:
    host = usual("27.5.1")
    rules = with_input_closed(host)
    before = found(case(host, ipv4=rules))["published-beyond-firewall"]
    web = [finding for finding in before if finding.subject == "bridge-2 tcp/8080 from lan"]
    command = web[0].remedy[0].removeprefix("iptables -I DOCKER-USER ")
    closed = rules.with_rule_inserted("filter", "DOCKER-USER", 1, f"-A DOCKER-USER {command}")
    after = found(case(host, ipv4=closed))["published-beyond-firewall"]
    assert {each.subject for each in before} - {each.subject for each in after} == {
        "bridge-2 tcp/8080 from lan",
        "bridge-2 tcp/8080 from internet",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_port_published_on_loopback(version: str) -> None:
    """moby PR 49325: since 28.0 neighbours neither misuse 127.0.0.1 nor the container's own address."""
    host = published_on("127.0.0.1", version)
    # Without the proxy Docker has the bridges route 127.0.0.0/8; the outer link does so on request alone.
    open_link = case(host, sysctl={"net.ipv4.conf.eth0.route_localnet": "1"})
    subjects = {
        finding.subject: finding for finding in found(open_link).get("loopback-publication-reachable", ())
    }
    inside = host.network("front").subnet[2]
    if int(version.split(".", maxsplit=1)[0]) < 28:
        assert set(subjects) == {
            "front-2 tcp/8443 at 127.0.0.1 from lan",
            f"front-2 tcp/8443 at {inside} from lan",
        }
        assert all(finding.rules for finding in subjects.values())
    else:
        assert not subjects


def test_the_remedy_for_a_port_on_loopback_helps() -> None:
    host = published_on("127.0.0.1", "26.1.4")
    findings = found(case(host))["loopback-publication-reachable"]
    rules = [each.remedy[0].removeprefix("iptables -t raw -I PREROUTING ") for each in findings]
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    raw += "".join(f"-A PREROUTING {rule}\n" for rule in rules) + "COMMIT\n"
    helped = Daemon.started(host).ipv4.with_table(Ruleset.parse(raw).table("raw"))
    assert not found(case(host, ipv4=helped))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_port_published_on_one_address(version: str) -> None:
    by_id = found(case(published_on("198.51.100.10", version)))
    if int(version.split(".", maxsplit=1)[0]) < 28:
        (finding,) = by_id["publication-reachable-directly"]
        assert finding.rules[0].chain == "DOCKER"
    else:
        assert not by_id


def test_what_was_not_collected_is_unknown() -> None:
    host = published_on("127.0.0.1", "26.1.4")
    findings = audit(case(host, without=["sysctl.txt"]), CHECKS).findings
    assert {finding.id for finding in findings} == {check.kind.id for check in CHECKS}
    assert all("sysctl.txt" in finding.unknown for finding in findings)
