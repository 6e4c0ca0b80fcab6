"""The collector's shell script: it writes what the Python collector writes, and obeys nobody's names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netverify.host import Parts, kept, read_snapshot, read_tar
from netverify.kernel import collect, collect_engine
from netverify.kernel.collect_script import script
from netverify.kernel.lab import Lab
from netverify.topology.model import Topology
from tests.kernel import fake_engine

Documented = Callable[[str], Topology]
APPLETS = (
    "awk",
    "sed",
    "tr",
    "tar",
    "grep",
    "cat",
    "mktemp",
    "mkfifo",
    "mkdir",
    "rm",
    "date",
    "uname",
    "timeout",
)


@pytest.fixture(params=["sh", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """How the script is started; tools that only that kind of host has stand first on PATH."""
    if request.param == "sh":
        return ["sh"]
    program = shutil.which("busybox")
    if program is None:
        reason = "busybox is not installed; to get it: apt-get install busybox"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    tools = tmp_path / "tools"
    tools.mkdir()
    for applet in APPLETS:
        (tools / applet).symlink_to(program)
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    return [program, "sh"]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test does to PATH is undone."""
    monkeypatch.setenv("PATH", os.environ["PATH"])


@pytest.fixture
def host(lab: Lab, documented: Documented) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """`host(["sh"], ...)` runs a program on a lab's Docker host."""
    lab.up(documented("docker-published"))

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return lab.visit("host", lambda: subprocess.run(command, capture_output=True, check=False, **options))

    return run


def file(folder: Path) -> str:
    path = folder / "collect.sh"
    path.write_text(script())
    return str(path)


def by_python(lab: Lab) -> Parts:
    return collect.collect(lambda command: lab.visit("host", lambda: collect.run_here(command)))


def comparable(parts: Parts) -> Mapping[str, Any]:
    """JSON as values, texts without the times at which they were printed; no timers of bridges that run."""
    return {
        name: json.loads(re.sub(r'_timer":[0-9. ]+', '_timer":0', text))
        if name.endswith(".json")
        else re.sub(r"(?m)^# (Gen|Comp).*$", "", text)
        for name, text in parts.texts.items()
        if name != "meta.json"
    }


@pytest.fixture
def process() -> Iterator[int]:
    with fake_engine.first_process() as number:
        yield number


def test_it_says_what_the_collector_says(
    lab: Lab, host: Any, shell: list[str], tmp_path: Path, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an engine whose containers have hostile names: nothing obeys them, and nothing secret is kept."""
    fake_engine.install(tmp_path / "bin", process)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    folder = tmp_path / "work"
    folder.mkdir()
    done = host([*shell, file(tmp_path)], cwd=folder)
    assert done.returncode == 0, done.stderr
    script_says, python_says = read_tar(done.stdout, "x.tar"), by_python(lab)
    assert comparable(script_says) == comparable(python_says)
    assert script_says.missing == python_says.missing
    assert script_says.name == python_says.name
    assert read_snapshot(script_says).kernel == read_snapshot(python_says).kernel
    assert not [*tmp_path.rglob("PWNED"), *Path.cwd().glob("PWNED")]
    assert list(folder.iterdir()) == []
    assert b"hunter2" not in done.stdout
    names = [container.name for container in read_snapshot(script_says).containers]
    hostile = ["container-" + f"{number:02x}" * 6 for number in range(1, len(fake_engine.NAMES))]
    assert names == ["web", *hostile, "beside", "nobody"]
    inside = json.loads(script_says.texts["containers/web/addr.json"])
    assert [a["local"] for a in inside[0]["addr_info"]][:2] == ["127.0.0.1", "10.9.8.7"]
    assert "containers/beside/addr.json" not in {*script_says.texts, *script_says.missing}
    assert script_says.missing["containers/nobody/route.json"].startswith("the engine does not say")


def test_its_tar_has_the_names_of_parts_alone(host: Any, tmp_path: Path, process: int) -> None:
    fake_engine.install(tmp_path / "bin", process)
    os.environ["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = host(["sh", file(tmp_path), "host.tar"], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    with tarfile.open(tmp_path / "host.tar") as archive:
        members = {member.name: member for member in archive}
    assert not [name for name in members if ".." in name or name.startswith(("/", "./"))]
    assert {name for name, member in members.items() if not member.isdir() and "/" not in name} == {
        *("iptables-save.txt", "iptables-legacy-save.txt", "ip6tables-save.txt", "ip6tables-legacy-save.txt"),
        *("nft.json", "addr.json", "route.json", "rule.json", "sysctl.txt", "ipset.txt", "listen.txt"),
        *("docker-info.json", "docker-networks.json", "docker-containers.json", "meta.json"),
    }
    assert all(member.isfile() or member.isdir() for member in members.values())
    assert {member.mode & 0o077 for member in members.values()} == {0}


def test_it_can_come_from_standard_input(host: Any) -> None:
    """As `ssh root@host sh -s < collect.sh` starts it: no program of it eats the rest of the script."""
    done = host(["sh", "-s"], input=script().encode())
    assert done.returncode == 0
    assert "addr.json" in read_tar(done.stdout, "x").texts


def test_it_starts_what_a_dry_run_names(
    host: Any, tmp_path: Path, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tool is replaced by one that notes how it was called."""
    asked = fake_engine.install(tmp_path / "bin", process)
    asked.write_text("")
    for tool in {command.split()[0] for command in collect.commands()} - {"docker", "cat"}:
        real = shutil.which(tool)
        assert real is not None, tool
        (tmp_path / "bin" / tool).write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"{tool} $*\" >>'{asked}'\nexec {real} \"$@\"\n"
        )
        (tmp_path / "bin" / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = host(["sh", file(tmp_path)])
    assert done.returncode == 0, done.stderr
    # What is started inside a container is noted twice: by nsenter, and by the tool that this starts.
    said = re.sub(rf"/proc/{process}/", "/proc/PID/", asked.read_text())
    said = re.sub(r"( inspect)( [0-9a-f]{64})+", r"\1 ID", said)
    assert set(said.splitlines()) - set(collect.commands()) == set()
    unused = set(collect.commands()) - set(said.splitlines())
    assert {command.split()[0] for command in unused - {"sysctl -a"}} <= {
        "cat",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
    }


def test_what_is_missing_is_said_as_the_collector_says_it(
    lab: Lab, host: Any, shell: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool, text in (
        ("nft", 'echo >&2; echo "  netlink: \\"Error\\" \\\\ cache" >&2; echo more >&2; exit 1'),
        ("ipset", "echo on standard output; exit 3"),
        ("ss", "exit 4"),
        ("docker", "echo 'Cannot connect' >&2; exit 1"),
        ("ip", f'[ "$3" != rule ] && [ "$4" != rule ] && exec {shutil.which("ip")} "$@"; exit 255'),
    ):
        (folder / tool).write_text(f"#!/bin/sh\n{text}\n")
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    done = host([*shell, file(tmp_path)])
    parts, python = read_tar(done.stdout, "x"), by_python(lab)
    assert parts.missing == python.missing
    assert parts.missing["nft.json"] == 'nft: netlink: "Error" \\ cache'
    assert parts.missing["ipset.txt"] == "ipset: on standard output"
    assert parts.missing["ss" if "ss" in parts.missing else "listen.txt"] == "ss: exit code 4"
    assert parts.missing["docker-containers.json"] == "docker ps: Cannot connect"
    assert set(parts.texts) == set(python.texts)
    for part, reason in parts.missing.items():
        assert f"netverify: {part} was not collected: {reason}\n" in done.stderr.decode()


@pytest.mark.parametrize("text", ["oops", "{}", '[{"Id": "a"'])
def test_an_engine_that_prints_no_json(
    lab: Lab, host: Any, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine.install(tmp_path / "bin", 1)
    (tmp_path / "bin" / "networks.json").write_text(text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    parts, python = read_tar(host(["sh", file(tmp_path)]).stdout, "x"), by_python(lab)
    assert set(parts.texts) == set(python.texts)
    expected = "docker network inspect printed no JSON"
    assert parts.missing["docker-networks.json"] == expected
    assert python.missing["docker-networks.json"].startswith(expected)


def test_a_host_with_podman(lab: Lab, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker is installed there and does not answer: the engine is whoever does."""
    fake_engine.install(tmp_path / "bin", 1, "podman")
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done = host(["sh", file(tmp_path)])
    parts, python = read_tar(done.stdout, "x"), by_python(lab)
    assert comparable(parts) == comparable(python)
    assert parts.missing == python.missing
    assert "docker-info.json" in parts.texts


WORDS = """
    Name Id State Running Pid Config Env ExposedPorts HostConfig NetworkMode NetworkSettings Networks Ports
    a/b IPAddress State/Running Swarm LocalNodeState host security rootless version Version Warnings Labels *
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def objects(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    values = st.recursive(
        LEAVES | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | texts, inner, max_size=4),
        max_leaves=10,
    )
    return st.dictionaries(KEYS, values, max_size=5)


few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
OBJECTS = objects(st.text(max_size=4))
NAMES = st.sampled_from(["/web", "web-1", "/", "", "/a b", 5, None, "x" * 201, "/\x1b", "/é"])


def awk(tree: Mapping[str, Any], text: str, **words: str) -> Any:
    """What the script's filter makes of a text; None where it takes it for no JSON."""
    environment = {**os.environ, "LC_ALL": "C", "list": "", "many": "0", **words}
    done = subprocess.run(
        ["awk", (files("netverify.kernel") / "collect.awk").read_text("utf-8")],
        input=text.encode("utf-8", "surrogatepass"),
        capture_output=True,
        check=False,
        env=environment | {"tree": " ".join(kept.leaves(tree))},
    )
    assert done.stderr == b""
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.parametrize(
    "text",
    ['[{"Id" "a"}]', "[}", "{]", '[{"Id": "a"}] x', '["a" "b"]', '[{"Id": "a}]', "{}", "01", "[,]", "]"],
)
def test_what_the_filter_takes_for_no_list(text: str) -> None:
    assert awk(kept.NETWORK, text, many="1") is None


@few
@given(OBJECTS, st.sampled_from([None, 4]), st.booleans())
def test_both_keep_the_same_of_an_object(document: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert awk(kept.INFO, text) == kept.kept(document, kept.INFO)


@few
@given(st.lists(st.tuples(OBJECTS, NAMES), max_size=4), st.sampled_from([None, 4]), st.integers(0, 2))
def test_both_keep_the_same_of_containers(
    tmp_path_factory: pytest.TempPathFactory, found: list[Any], indent: int | None, groups: int
) -> None:
    """In one list or in several, each with the name that is good for a file."""
    documents = [document | {"Name": name} for document, name in found]
    texts = [json.dumps(documents[:groups], indent=indent), json.dumps(documents[groups:], indent=indent)]
    listed = tmp_path_factory.mktemp("listed") / "containers"
    printed = awk(kept.CONTAINER, "\n".join(texts), many="1", list=str(listed))
    expected = [kept.kept(document, kept.CONTAINER) for document in documents]
    for position, container in enumerate(expected):
        container["Name"] = collect_engine._name(container, position)
    assert printed == expected
    lines = listed.read_text().splitlines() if listed.exists() else []
    assert {line.split(" ")[1] for line in lines} <= {container["Name"] for container in expected}


@few
@given(st.data())
def test_damaged_json_is_none_for_both(data: st.DataObject) -> None:
    """Outside of strings, that is: what is wrong with an escape in one, its reader says."""
    text = json.dumps(data.draw(objects(st.sampled_from(["a", "b c"]))))
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = (
        text[:place] + data.draw(st.sampled_from(['"', ",", ":", "{", "]", "x", "", "1"])) + text[place + 1 :]
    )
    try:
        expected = kept.kept(json.loads(damaged), kept.INFO)
    except json.JSONDecodeError:
        assert awk(kept.INFO, damaged) is None
    else:
        if isinstance(json.loads(damaged), dict):
            assert awk(kept.INFO, damaged) == expected


def test_it_is_posix() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--shell=sh", "-"],
        input=script(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert not re.findall(r"@[A-Z_]+@", script())


def test_half_a_script_does_nothing(tmp_path: Path) -> None:
    text = script()
    half = text[: text.index("tar -cf - -- *")]
    done = subprocess.run(["sh", "-s"], input=half, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == ""
    assert "unexpected end of file" in done.stderr.lower() or "expecting" in done.stderr
    assert list(tmp_path.iterdir()) == []
