from __future__ import annotations

from itertools import pairwise

import pytest

from netverify.docker import (
    GENERATIONS,
    DockerError,
    DockerHost,
    UnsupportedEngine,
    Version,
    firewaller,
    generation_of,
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("18.05", Version(18, 5)),
        ("18.06.3-ce", Version(18, 6, 3)),
        ("v24.0.7", Version(24, 0, 7)),
        ("20.10.24+dfsg1", Version(20, 10, 24)),
        ("27.0.0-rc.1", Version(27, 0, 0)),
    ],
)
def test_versions_are_read_as_docker_prints_them(text, version):
    assert Version.parse(text) == version


@pytest.mark.parametrize("text", ["", "27", "27.x", "latest", "27.5.1.2", "2 7.5"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(DockerError, match=r"is not a version of Docker: expected one such as 20\.10"):
        Version.parse(text)


@pytest.mark.parametrize("text", ["18.05", "18.09.9", "19.03.11", "20.10", "24.0", "27.5.1"])
def test_versions_print_as_docker_prints_them(text):
    assert str(Version.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["18.05", "18.09.9", "19.03.15", "20.10.24", "23.0", "24.0", "26.1.5", "27.5.1"]
)
def test_the_classic_generation(text):
    assert generation_of(text).name == "A"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("17.06", "A0"),
        ("18.04", "A0"),
        ("28.0.0", "B0"),
        ("28.0.1", "B1"),
        ("28.1.1", "B1"),
        ("28.2", "B2"),
        ("28.5.2", "B2"),
        ("29.0", "C"),
        ("29.7.2", "C"),
    ],
)
def test_generations_by_version(text, name):
    assert generation_of(text).name == name


def test_the_nftables_backend_is_a_generation_of_its_own():
    assert generation_of("29.0", "nftables").name == "N"
    with pytest.raises(UnsupportedEngine, match=r"no nftables rules are known for Docker 28\.5"):
        generation_of("28.5", "nftables")
    with pytest.raises(DockerError, match=r"the nftables backend: not before Docker 29\.0"):
        DockerHost("28.5", backend="nftables")


@pytest.mark.parametrize("text", ["17.05", "30.0"])
def test_other_generations_are_refused_with_what_is_known(text):
    with pytest.raises(UnsupportedEngine) as raised:
        generation_of(text)
    said = str(raised.value)
    assert said.startswith(
        f"no iptables rules are known for Docker {Version.parse(text)}; known versions: 17.06 "
    )
    assert "18.05 to before 28.0 (DOCKER-ISOLATION-STAGE-1/2)" in said
    with pytest.raises(UnsupportedEngine):
        DockerHost(text)


def test_every_generation_has_a_writer_and_none_overlap():
    iptables = [one for one in GENERATIONS if one.backend == "iptables"]
    for generation in iptables:
        assert firewaller(DockerHost(str(generation.first)), "ipv4")
    for one, other in pairwise(iptables):
        assert one.until == other.first
    with pytest.raises(UnsupportedEngine, match="generation N writes no iptables rules"):
        firewaller(DockerHost("29.0", backend="nftables"), "ipv4")
