#!/usr/bin/env python3
"""Compare what netverify says Docker writes with what real Docker engines write: `make engines`.

Debian's releases ship three generations of Docker. Each engine is fetched with apt-get from the Debian
archive that this machine's own apt uses, unpacked into a temporary folder (no maintainer script runs,
nothing is installed), and `pytest suites/engine` runs against it. Needs root, for an engine's namespaces
and control groups.

Exits with 0 if all engines agree, with 1 otherwise. Nothing is left behind, but for the packages if --cache
says where to keep them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RELEASES = ("bookworm", "trixie", "forky")
"""Debian's releases whose docker.io is compared: 20.10, 26.1 and 28.5 when this was written."""

AUDIT = "suites/engine/test_audit.py"
PARTS = {"rules and cells": ("suites/engine", f"--ignore={AUDIT}", "-n", "2"), "audit": (AUDIT,)}
"""What is run against each engine, one after the other; the first mostly waits, so two workers do."""
PACKAGES = ("docker.io", "iptables", "nftables", "busybox-static", "libc-bin")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MERGED = ("bin", "sbin", "lib", "lib64")  # what Debian's base-files makes links of
APPLETS = ("env", "sh", "cat", "kill")  # of busybox: what is started in the engine's root beside the engine


class Unavailable(Exception):
    """An engine cannot be had; the message says why."""


def main() -> int:
    """Parse the command line; fetch all, then compare one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "releases", nargs="*", metavar="RELEASE", help=f"Debian's releases (default: {' '.join(RELEASES)})"
    )
    parser.add_argument("--mirror", help="a Debian archive's address (default: the one that apt here uses)")
    parser.add_argument("--cache", type=Path, help="keep the packages in this folder, and use what is there")
    options = parser.parse_args()
    releases: Sequence[str] = options.releases or RELEASES
    if os.geteuid() != 0:
        print("engines: needs root: try `sudo make engines`", file=sys.stderr)
        return 1
    failed = 0
    lines = []
    with tempfile.TemporaryDirectory(prefix="netverify-engines-") as name:
        try:
            mirror = options.mirror or own_mirror()
            with ThreadPoolExecutor() as pool:
                cache = options.cache or Path(name, "packages")
                found = [pool.submit(fetch, release, mirror, cache / release) for release in releases]
                packages = {release: job.result() for release, job in zip(releases, found, strict=True)}
        except Unavailable as error:
            print(f"engines: {error}", file=sys.stderr)
            return 1
        for release, archives in packages.items():
            root = unpack(archives, Path(name, release))
            for what, arguments in PARTS.items():
                began = time.monotonic()
                status = compare(root, arguments)
                verdict = "agrees" if status == 0 else "DIFFERS"
                took = f"{time.monotonic() - began:4.0f} s"
                lines.append(f"{version(root):24} {release:10} {what:16} {verdict:8} {took}")
                failed += status != 0
            shutil.rmtree(root)
    print("\n".join(lines))
    return 1 if failed else 0


def own_mirror() -> str:
    """The Debian archive that this machine's apt fetches from. Raises Unavailable where that is none."""
    listing = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages")
    for line in listing.splitlines():
        address, _, label = line.partition(" ")
        if label == "Debian":
            return address
    raise Unavailable("apt here knows no Debian archive; name one: tools/engines.py --mirror ADDRESS")


def fetch(release: str, mirror: str, folder: Path) -> list[Path]:
    """The release's packages and all that they depend on, as files. Raises Unavailable."""
    for name in ("state/lists/partial", "archives/partial", "etc/preferences.d"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    source = f"deb [signed-by={KEYRING}] {mirror} {release} main\n"
    (folder / "etc/sources.list").write_text(source)
    settings = {
        "Dir::State": folder / "state",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::archives": folder / "archives",
        "Dir::Etc": folder / "etc",
        "Dir::Etc::sourcelist": folder / "etc/sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", "-y", *(f"-o{key}={value}" for key, value in settings.items())]
    run(*apt, "update")
    run(*apt, "--download-only", "install", *PACKAGES)
    return sorted((folder / "archives").glob("*.deb"))


def unpack(archives: Sequence[Path], root: Path) -> Path:
    """The packages' files in a folder, with what their maintainer scripts would have added."""
    for name in ("proc", "sys", "dev", "run", "tmp", "etc", "var/lib", *(f"usr/{name}" for name in MERGED)):
        (root / name).mkdir(parents=True)
    for name in MERGED:
        (root / name).symlink_to(f"usr/{name}")
    for archive in archives:
        content = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        subprocess.run(
            ["tar", "-x", "-C", root, "--keep-directory-symlink"], stdin=content.stdout, check=True
        )
        content.wait()
    for family in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            link(root / "usr/sbin" / f"{family}{suffix}", "xtables-nft-multi")
    for name in APPLETS:
        link(root / "usr/bin" / name, "busybox")
    link(root / "var/run", "/run")
    return root


def link(path: Path, target: str) -> None:
    """A symbolic link, unless the packages brought something of that name."""
    if not path.exists() and not path.is_symlink():
        path.symlink_to(target)


def compare(root: Path, arguments: Sequence[str]) -> int:
    """Run a part of the suite against the engine in that folder; returns pytest's exit code."""
    environment = {**os.environ, "NETVERIFY_ENGINE_ROOT": str(root)}
    command = [sys.executable, "-m", "pytest", *arguments, "-q"]
    return subprocess.run(command, env=environment, check=False).returncode


def version(root: Path) -> str:
    """The engine's version, as it prints it itself."""
    said = run("chroot", str(root), "/usr/sbin/dockerd", "--version")
    return said.partition(",")[0].strip()


def run(*command: str | Path) -> str:
    """What a command prints. Raises Unavailable with its own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
