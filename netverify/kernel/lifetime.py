"""Processes that must not outlive netverify, however it ends.

A lab's namespaces live as long as somebody is in them, so a child that is left over keeps a whole network
alive. The kernel ends such children by itself: PR_SET_PDEATHSIG (prctl(2)) has it send a signal to a process
when the thread that started it ends, SIGKILL included.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence

from netverify.errors import MissingCapability
from netverify.kernel import syscalls


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end at once where that has happened already.

    To be called in the sandbox: entering a user namespace changes the process's credentials, and that clears
    the setting (`commit_creds`, kernel/cred.c).
    """
    syscalls.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def mortal(command: Sequence[str]) -> list[str]:
    """`command`, so that it is killed when the thread that starts it ends (setpriv(1), --pdeathsig).

    No child of ours does it for itself: between fork(2) and execve(2) a process with threads may run no
    Python.
    Raises MissingCapability where this machine has no setpriv.
    """
    if shutil.which("setpriv") is None:
        raise MissingCapability(
            "setpriv", "the program is not installed", "Install it: apt-get install util-linux"
        )
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]
