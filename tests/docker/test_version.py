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


@pytest.mark.parametrize("text", ["17.05", "17.06", "18.04", "28.0.0", "28.5.2", "29.0"])
def test_other_generations_are_refused_with_what_is_known(text):
    with pytest.raises(UnsupportedEngine) as raised:
        generation_of(text)
    assert str(raised.value) == (
        f"no rules are known for Docker {Version.parse(text)}; "
        "known versions: 18.05 to before 28.0 (DOCKER-ISOLATION-STAGE-1/2)"
    )
    with pytest.raises(UnsupportedEngine):
        DockerHost(text)


def test_every_generation_has_a_writer_and_none_overlap():
    for generation in GENERATIONS:
        assert firewaller(DockerHost(str(generation.first)), "ipv4")
    for one, other in pairwise(GENERATIONS):
        assert one.until <= other.first
