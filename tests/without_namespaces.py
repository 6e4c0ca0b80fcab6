"""Run a command as somebody who may not make namespaces: `python tests/without_namespaces.py COMMAND...`

In a user namespace of its own a process sets limits of its own; the machine's stay what they are. The command
is an ordinary user there, uid 1000, without any capability.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from netverify.kernel import syscalls

LIMIT = Path("/proc/sys/user/max_user_namespaces")


def command(*words: str | Path) -> list[str]:
    """The command line that runs `words` so."""
    return [sys.executable, str(Path(__file__).resolve()), *map(str, words)]


if __name__ == "__main__":
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"1000 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"1000 {gid} 1")
    LIMIT.write_text("0")
    os.execvp(sys.argv[1], sys.argv[1:])
