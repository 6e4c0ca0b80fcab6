"""Snapshots of other hosts: through real backends of testinfra, with an `ssh` that runs commands here."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from netverify.errors import InputError, MissingCapability, NetverifyError
from netverify.host import Parts, read_snapshot
from netverify.kernel import collect, collect_remote
from netverify.kernel.collect_remote import Unreachable, collect_all, targets
from tests.kernel import fake_engine
from tests.kernel.test_collect_script import comparable

# The command comes last and the host before it; a host whose name says so is not there.
SSH = """\
#!/bin/sh
printf '%s\\n' "$*" >>'@FOLDER@/called'
for word; do host=$command; command=$word; done
case $host in
    gone*) echo "ssh: connect to host $host port 22: Connection refused" >&2; exit 255 ;;
    lost*) case $command in *"nft -j"*) echo "Connection to $host closed." >&2; exit 255 ;; esac ;;
    greeting*) echo "Welcome to $host" ;;
    giver*) [ -e '@FOLDER@/gave' ] || timeout 30 sh -c ": >'@FOLDER@/pipe'" || exit 255; : >'@FOLDER@/gave' ;;
    taker*) [ -e '@FOLDER@/took' ] || timeout 30 cat '@FOLDER@/pipe' || exit 255; : >'@FOLDER@/took' ;;
    closed*) echo "This account is not available."; exit 1 ;;
esac
exec sh -c "$command"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with the program ssh in it, and what it was called with."""
    folder = tmp_path / "bin"
    program(folder, "ssh", SSH.replace("@FOLDER@", str(folder)))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def outcomes(urls: Sequence[str], inventory: str | None = None) -> dict[str, Parts | Unreachable]:
    with targets(urls, inventory) as hosts:
        return {target.shown: found for target, found in collect_all(hosts, 4)}


def parts(found: Any) -> Parts:
    assert isinstance(found, Parts), found
    return found


def reason(found: Any) -> str:
    assert isinstance(found, Unreachable), found
    return found.reason


@pytest.mark.parametrize("url", ["local://", "ssh://root@web-7:2222", "safe-ssh://web-7"])
def test_a_host_says_what_it_says_here(url: str, ssh: Path) -> None:
    found = parts(outcomes([url])[url])
    here = collect.collect()
    assert comparable(found) == comparable(here)
    assert found.missing == here.missing
    theirs, ours = read_snapshot(found), read_snapshot(here)
    assert (theirs.name, theirs.kernel) == (ours.name, ours.kernel)
    if url.startswith("ssh"):
        called = (ssh / "called").read_text()
        assert "-o User=root -o Port=2222" in called
        assert "BatchMode=yes" in called
        assert "ControlPath=" in called


def test_hostile_words_stay_words(ssh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine prints becomes words of the next commands."""
    with fake_engine.first_process() as process:
        fake_engine.install(ssh, process)
        monkeypatch.chdir(tmp_path)
        found = parts(outcomes(["ssh://web"])["ssh://web"])
        assert comparable(found) == comparable(collect.collect())
        (ssh / "networks").write_text("abc;touch${IFS}PWNED\n")
        refused = parts(outcomes(["ssh://web2"])["ssh://web2"])
    assert refused.missing["docker-networks.json"] == "docker network printed what is no identity"
    assert not list(tmp_path.rglob("PWNED"))


def test_words_are_quoted(ssh: Path) -> None:
    with targets(["ssh://web", "local://"]) as hosts:
        for target in hosts:
            word = 'it\'s "$HOME" `id` %s \\ * \n;'
            done = collect_remote._run(target, collect_remote.shlex.join(["printf", "%s", word]))
            assert done.stdout == word
            assert collect_remote._run(target, "(exit 255)").returncode == 254


def test_one_that_is_not_there_does_not_stop_the_others(ssh: Path) -> None:
    found = outcomes(["ssh://gone", "ssh://lost", "ssh://web", "ssh://closed", "ssh://greeting"])
    assert reason(found["ssh://gone"]) == "ssh: connect to host gone port 22: Connection refused"
    assert reason(found["ssh://lost"]) == "Connection to lost closed."
    assert reason(found["ssh://closed"]) == "exit code 1"
    web, greeting = parts(found["ssh://web"]), parts(found["ssh://greeting"])
    assert "addr.json" in web.texts
    assert comparable(greeting) == comparable(web)  # whatever its shell says before every command


def test_hosts_are_asked_at_once(ssh: Path) -> None:
    """Two that wait for each other: the one has to write into a pipe while the other reads from it."""
    os.mkfifo(ssh / "pipe")
    found = outcomes(["ssh://giver", "ssh://taker"])
    assert "addr.json" in parts(found["ssh://giver"]).texts
    assert "addr.json" in parts(found["ssh://taker"]).texts


def test_programs_that_are_not_there_or_hang(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "LIMIT", 1.0)
    program(ssh, "nft", "#!/bin/sh\nexec sleep 60\n")
    program(ssh, "ipset", "#!/bin/sh\nexit 255\n")
    found = parts(outcomes(["ssh://web"])["ssh://web"])
    assert found.missing["nft.json"] == "nft: took longer than 1 s"
    assert found.missing["ipset.txt"] == "ipset: exit code 254"


INVENTORY = {
    "all": {"children": ["docker_hosts", "ungrouped"]},
    "docker_hosts": {"hosts": ["web-7", "gone-8", "here"]},
    "ungrouped": {"hosts": ["other"]},
    "_meta": {
        "hostvars": {
            "web-7": {"ansible_host": "10.0.0.7", "ansible_user": "root"},
            "here": {"ansible_connection": "local"},
        }
    },
}


def test_hosts_of_an_inventory(ssh: Path, tmp_path: Path) -> None:
    """What ansible-inventory prints is testinfra's; here a program prints it that needs no ansible."""
    (tmp_path / "inventory.json").write_text(json.dumps(INVENTORY))
    program(ssh, "ansible-inventory", '#!/bin/sh\n[ "$1 $2" = "--list -i" ] && exec cat "$3"\nexit 1\n')
    found = outcomes(["ansible://docker_hosts"], str(tmp_path / "inventory.json"))
    assert set(found) == {"ansible://web-7", "ansible://gone-8", "ansible://here"}
    assert "Connection refused" in reason(found["ansible://gone-8"])
    assert "addr.json" in parts(found["ansible://web-7"]).texts
    assert "addr.json" in parts(found["ansible://here"]).texts
    assert "-o User=root" in (ssh / "called").read_text()
    with pytest.raises(InputError, match=r"ansible://nobody: no host or group of the inventory"):
        outcomes(["ansible://nobody"], str(tmp_path / "inventory.json"))


def test_ansible_that_is_not_there_or_refuses(ssh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(ssh, "ansible-inventory", "#!/bin/sh\necho 'ERROR! no such inventory' >&2\nexit 4\n")
    with pytest.raises(NetverifyError, match=r"ansible://all: ERROR! no such inventory$"):
        outcomes(["ansible://all"], "another.yaml")
    (ssh / "ansible-inventory").unlink()
    monkeypatch.setenv("PATH", str(ssh))
    with pytest.raises(MissingCapability, match=r"no ansible: .*pip install ansible-core"):
        outcomes(["ansible://all"])


def test_testinfra_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "testinfra", None)
    with pytest.raises(MissingCapability, match=r"pip install 'netverify\[remote\]'"):
        outcomes(["local://"])


MISTAKES = [
    ("web-7", "'web-7' is no URL; expected such as ssh://root@HOST"),
    ("shh://web-7", "there is no connection 'shh'; expected one of .*did you mean 'ssh'"),
    ("ssh://", "which host"),
    ("ssh://-oProxyCommand=touch", "no host's name begins with `-`"),
    ("ssh://root@-oProxyCommand=touch", "no host's name begins with `-`"),
    ("docker://--privileged", "no host's name begins with `-`"),
    ("ssh://[::1", "Invalid IPv6 URL"),
]


@pytest.mark.parametrize(("url", "expected"), MISTAKES)
def test_urls_that_mean_nothing(url: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        outcomes([url])


def test_passwords_are_not_shown() -> None:
    with targets(["ssh://root:hunter2@web", "ssh://root:hunter2@web?sudo=true"]) as hosts:
        assert [target.shown for target in hosts] == ["ssh://root@web"]


@pytest.mark.parametrize(
    ("urls", "labels"),
    [
        (["ssh://web-7", "docker://web-7"], ["web-7", "web-7-2"]),
        (["ssh://%2e%2e%2fx", "ssh://web%2f..%2f..%2fetc"], ["_x", "web_.._.._etc"]),
        (["ssh://[fe80::1]:22"], ["fe80__1"]),
    ],
)
def test_files_are_called_after_hosts(urls: list[str], labels: list[str]) -> None:
    with targets(urls) as hosts:
        assert [target.label for target in hosts] == labels
        assert all(Path(collect_remote.file_in("x", each)).parent == Path("x") for each in hosts)
