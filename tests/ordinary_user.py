"""Run a command as an ordinary user, wherever root keeps Python and this checkout.

    python tests/ordinary_user.py [--uid UID] [--scratch DIRECTORY]... [--] COMMAND...

Root becomes one by dropping to another uid. In a user namespace that has no other uid (a rootless sandbox)
root enters a further user namespace, in which its own uid has the wanted number. Either way the command has
that uid and no capabilities. Who is an ordinary user already runs the command as it is.

Root's Python and checkout often lie below directories that others may not enter (/root is one). The command
therefore runs in a mount namespace of its own, in which an empty tmpfs covers each such directory, and only
what the command needs (Python, its environment, the checkout) is mounted back at its old path. Files stay as
they are: what others may not read, the command cannot read either. It owns an empty HOME, which is its TMPDIR
too, and every `--scratch` directory (an existing one, covered by an empty tmpfs). All that is mounted goes
with the command.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from netverify.kernel import syscalls

NOBODY = 65534  # the traditional uid and gid of somebody who owns nothing
CHECKOUT = Path(__file__).resolve().parents[1]
HOMES = ("/mnt", "/media", "/srv", "/opt")  # the first that nothing needed lies below becomes the empty HOME


def command(*words: str | Path, uid: int = NOBODY) -> list[str]:
    """The command line that runs `words` as an ordinary user."""
    return [sys.executable, str(Path(__file__).resolve()), f"--uid={uid}", "--", *map(str, words)]


def is_mapped(uid: int) -> bool:
    """Whether a uid exists in this process's user namespace (user_namespaces(7): first, outside, length)."""
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(first <= uid < first + length for first, _outside, length in ranges)


def needed_directories() -> list[Path]:
    """Where Python, its environment and this checkout are, without those that lie inside another."""
    interpreter = Path(sys.executable)
    wanted = {
        Path(sys.prefix),
        Path(sys.base_prefix),
        CHECKOUT,
        interpreter.parent,
        interpreter.resolve().parent,
    }
    resolved = {path.resolve() for path in wanted} | {path.absolute() for path in wanted}
    return sorted(path for path in resolved if not any(other in path.parents for other in resolved))


def is_closed(directory: Path) -> bool:
    """Whether others may not enter and list a directory."""
    others = stat.S_IROTH | stat.S_IXOTH
    return directory.stat().st_mode & others != others


def closed_ancestor(directory: Path) -> Path | None:
    """The topmost closed directory above `directory`, if there is one."""
    return next((parent for parent in reversed(directory.parents) if is_closed(parent)), None)


def open_the_way(directories: Iterable[Path]) -> None:
    """Make `directories` reachable for others, in the private mount namespace that we are in.

    Raises SystemExit where one is closed itself: a mount does not change its mode.
    """
    with ExitStack() as stack:
        kept: dict[Path, list[tuple[Path, int]]] = {}
        for directory in directories:
            if is_closed(directory):
                raise SystemExit(f"{directory} is closed to others: chmod o+rx it, or choose another")
            if (cover := closed_ancestor(directory)) is not None:
                # The descriptor still leads there when the directories above are covered.
                fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                kept.setdefault(cover, []).append((directory, fd))
        for cover, members in kept.items():
            syscalls.mount("ordinary-user", str(cover), "tmpfs", 0, "mode=755")
            for directory, fd in members:
                directory.mkdir(parents=True)
                flags = syscalls.MS_BIND | syscalls.MS_REC
                syscalls.mount(f"/proc/self/fd/{fd}", str(directory), "", flags)


def become(uid: int, scratch: Iterable[Path]) -> None:
    """Prepare mounts and environment, then drop to `uid`; its next execve(2) leaves no capability."""
    mapped = is_mapped(uid)
    owner = uid if mapped else 0
    needed = needed_directories()
    home = next(
        path
        for path in map(Path, HOMES)
        if path.is_dir() and not any(path in (d, *d.parents) for d in needed)
    )
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    if mapped:
        open_the_way(needed)
    for directory in (home, *scratch):
        syscalls.mount("ordinary-user", str(directory), "tmpfs", 0, f"mode=755,uid={owner},gid={owner}")
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR"), str(home)))
    # Root's name would lead programs to what root left in /tmp (pytest-of-root, which they may not enter).
    os.environ.update(dict.fromkeys(("USER", "LOGNAME"), f"uid{uid}"))
    if mapped:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    else:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} 0 1")
        Path("/proc/self/gid_map").write_text(f"{uid} 0 1")


def main(arguments: Sequence[str]) -> None:
    """Become an ordinary user and turn into the command."""
    parser = argparse.ArgumentParser(description="Run a command as an ordinary user.")
    parser.add_argument("--uid", type=int, default=NOBODY)
    parser.add_argument("--scratch", type=Path, action="append", default=[], metavar="DIRECTORY")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    if os.geteuid() == 0:
        become(options.uid, options.scratch)
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main(sys.argv[1:])
