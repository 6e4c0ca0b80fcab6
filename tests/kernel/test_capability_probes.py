"""The probes behind `capabilities` find what is missing, and are not fooled by what only looks right."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from netverify.kernel import capabilities, firewall, sandbox
from netverify.kernel.capabilities import devices, examination, extensions, filters, programs
from netverify.kernel.capabilities.examination import Throwaway
from netverify.kernel.capabilities.extensions import EXTENSIONS, Extension, version_of
from netverify.kernel.capabilities.programs import Refused
from netverify.kernel.namespace import Visitor

T = TypeVar("T")
LEGACY, NFT, LEGACY6, NFT6 = filters.PROGRAMS


class Inside:
    """Runs one probe in a fresh namespace."""

    def __init__(self, place: Throwaway) -> None:
        self._place = place

    def __call__(self, probe: Callable[[], T]) -> T:
        return self._place.run(probe)


@pytest.fixture
def inside() -> Iterator[Inside]:
    if sandbox.current() is None and os.geteuid() != 0:
        sandbox.enter()
    with Visitor() as visitor:
        visitor.call(examination._leave)
        yield Inside(Throwaway(visitor))


def test_probe_has_a_place_to_itself(inside: Inside) -> None:
    """Neither another probe's devices nor the machine's /run, where iptables-legacy would leave its lock."""
    inside(lambda: devices.probe_device("veth"))
    assert inside(socket.if_nameindex) == [(1, "lo")]
    assert inside(lambda: list(Path("/run").iterdir())) == []


# --- extensions: one load, halved on failure ---------------------------------------------------------------

BOGUS = Extension("match bogus", "filter INPUT", "-m bogus", "xt_bogus")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every load that iptables-restore was started for."""
    seen: list[str] = []

    def counting(name: str, *arguments: str, text: str = "", **more: object) -> str:
        seen.append(f"{name}\n{text}")
        return programs.run(name, *arguments, text=text)

    monkeypatch.setattr(extensions, "run", counting)
    return seen


def test_all_extensions_take_one_load_a_program(inside: Inside, loads: list[str]) -> None:
    refusals = inside(lambda: extensions.try_extensions(EXTENSIONS))
    assert refusals == {program: {} for program in filters.PROGRAMS}
    assert [load.partition("\n")[0] for load in loads] == [
        f"{program}-restore" for program in filters.PROGRAMS
    ]
    expected = [sum(version_of(name) in item.versions for item in EXTENSIONS) for name in filters.PROGRAMS]
    assert [load.count("\n-A ") for load in loads] == expected


def test_refused_extension_is_found_by_halving(inside: Inside, loads: list[str]) -> None:
    suspects = (*EXTENSIONS[:20], BOGUS, *EXTENSIONS[20:])
    refusals = inside(lambda: extensions.try_extensions(suspects))
    assert refusals.keys() == set(filters.PROGRAMS)
    for program, refused in refusals.items():
        assert list(refused) == ["match bogus"], program
        assert "bogus" in refused["match bogus"]
    assert len(loads) <= 4 * 13, "45 rules: 2 loads a halving, not one a rule"


def test_extension_that_the_kernel_refuses_is_found(inside: Inside) -> None:
    """A rule that every program can read and only the kernel refuses: REJECT belongs to the table filter."""
    late = Extension("match late", "nat PREROUTING", "-j REJECT", "none")
    refusals = inside(lambda: extensions.try_extensions((*EXTENSIONS, late)))
    assert {program: list(refused) for program, refused in refusals.items()} == {
        program: ["match late"] for program in filters.PROGRAMS
    }


def test_program_that_does_not_work_is_left_out(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "PROGRAMS", (NFT, "iptables-none"))
    assert inside(lambda: extensions.try_extensions((EXTENSIONS[0], BOGUS))).keys() == {NFT}


def test_no_ip_sets_no_set_match(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Refused("the kernel makes no ip set")

    monkeypatch.setattr(extensions, "make_ip_sets", refuse)
    refusals = inside(lambda: extensions.try_extensions(EXTENSIONS))
    assert refusals == {program: {"match set": "the kernel makes no ip set"} for program in filters.PROGRAMS}


def test_extension_missing_in_one_program_is_not_available() -> None:
    refusals = {LEGACY: {"match tcp": "no"}, NFT: {}, NFT6: {}}
    tcp = next(item for item in EXTENSIONS if item.name == "match tcp")
    found = examination._extension(tcp, refusals, "")
    assert (found.available, found.works_in, found.fails_in) == (False, (NFT, NFT6), (LEGACY,))
    assert found.detail == "iptables-legacy: no"


def test_extension_without_any_program_is_not_available() -> None:
    found = examination._extension(EXTENSIONS[0], {}, "no program")
    assert (found.available, found.detail, found.works_in, found.fails_in) == (False, "no program", (), ())


# --- probes that must not be fooled ------------------------------------------------------------------------


def test_br_netfilter_has_to_take_effect(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A switch that can be written to, and to which nothing is connected."""
    dead = tmp_path / "bridge-nf-call-iptables"
    dead.write_text("1")
    monkeypatch.setattr(devices, "_SWITCH", dead)
    with pytest.raises(Refused, match="does not follow bridge-nf-call-iptables=0"):
        inside(devices.probe_br_netfilter)
    monkeypatch.setattr(devices, "_SWITCH", tmp_path / "none")
    with pytest.raises(Refused, match=r"there is no sysctl net.bridge.bridge-nf-call-iptables"):
        inside(devices.probe_br_netfilter)


def test_program_that_loads_nothing_is_noticed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_programs(tmp_path, **{"iptables-nft-restore": "exit 0"})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Refused, match="iptables-nft lists 0 of 4 rules"):
        inside(lambda: filters.probe_iptables(NFT))


def test_default_backend_that_contradicts_itself_is_noticed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = firewall.default_backend()
    other = next(backend for backend in firewall.Backend if backend is not real)
    fake_programs(tmp_path, iptables=f'exec iptables-{other.value} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Refused, match=f"says that it is {real.value}, but its rules appear in {other.value}"):
        inside(filters.probe_default_backend)


def test_small_neighbour_table_counts_as_missing(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    small = capabilities.NeighbourTable(socket.AF_INET, 1023, 5)
    monkeypatch.setattr(devices, "neighbour_tables", lambda: (small,))
    with pytest.raises(Refused, match=r"IPv4 1023 \(5 in use\); the default is 1024"):
        inside(devices.probe_neighbours)


def test_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="No module named 'no_such_package'"):
        programs.run_python("import no_such_package")


# --- programs ----------------------------------------------------------------------------------------------


def fake_programs(folder: Path, **scripts: str) -> None:
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


def test_programs_that_are_there_tell_their_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    emulator = f"qemu-system-{os.uname().machine}"
    fake_programs(tmp_path, dockerd="echo Docker version 27.0", **{emulator: "echo QEMU emulator 9"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.probe_dockerd() == "Docker version 27.0"
    assert programs.probe_qemu().startswith("QEMU emulator 9, with")


def test_program_beside_the_path_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match=r"sbin/nft is there, but .*sbin is not on PATH"):
        programs.find_program("nft")
    with pytest.raises(Refused, match="there is no program no-such-program on PATH"):
        programs.find_program("no-such-program")


def test_program_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_programs(
        tmp_path, loud="echo 'no way' >&2; echo 'Try `loud -h` for more' >&2; exit 3", silent="exit 4"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match=r"^no way$"):
        programs.run("loud")
    with pytest.raises(Refused, match=r"^silent: exit code 4$"):
        programs.run("silent")


def test_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PATIENCE", 0.05)
    read, write = os.pipe()  # nobody will ever write into it
    try:
        with pytest.raises(Refused, match="cat did not end"):
            programs.run("cat", f"/proc/{os.getpid()}/fd/{read}")
    finally:
        os.close(read)
        os.close(write)
