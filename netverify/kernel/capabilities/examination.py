"""Running checks: each in a network namespace of its own, where nothing outside can notice it.

A helper thread leaves the machine's network and mount namespaces and takes a fresh network namespace for each
check; the main thread stays where it is. That takes privileges over the process's own user namespace. An
ordinary user who is in no sandbox has none, and may have threads, with which no user namespace can be made:
then a child process enters a sandbox and runs the checks there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from netverify.errors import KernelError, MissingCapability
from netverify.kernel import sandbox, syscalls
from netverify.kernel.capabilities.checks import CHECKS, NAMESPACES, Check, Need, is_rootless
from netverify.kernel.capabilities.extensions import (
    EXTENSIONS,
    Extension,
    Refusals,
    try_extensions,
    version_of,
)
from netverify.kernel.capabilities.programs import Refused, run
from netverify.kernel.firewall import default_backend
from netverify.kernel.namespace import Visitor
from netverify.report.doctor import Capability, read_json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Throwaway:
    """Where checks run: a helper thread outside the machine's namespaces, or nowhere, and then why."""

    visitor: Visitor | None
    refusal: str = ""

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a fresh network namespace with a private /run. Raises Refused where there is none."""
        if self.visitor is None:
            raise Refused(self.refusal)
        return self.visitor.call(lambda: _in_fresh_namespace(work))


def examine(names: Collection[str]) -> dict[str, Capability]:
    """Find out about the capabilities with these names, wherever this process stands."""
    with Visitor() as visitor:
        try:
            visitor.call(_leave)
        except PermissionError as error:
            if sandbox.current() is not None:
                return examine_in(Throwaway(None, f"in the sandbox: {error.strerror}"), names)
        except OSError as error:
            return examine_in(
                Throwaway(None, f"cannot make network namespaces here ({error.strerror})"), names
            )
        else:
            return examine_in(Throwaway(visitor), names)
    return _examine_in_child(names)


def examine_in(place: Throwaway, names: Collection[str]) -> dict[str, Capability]:
    """Find out about the capabilities with these names in one place."""
    found = {check.name: _examine(check, place) for check in CHECKS if check.name in names}
    extensions = [extension for extension in EXTENSIONS if extension.name in names]
    return found | (_examine_extensions(extensions, place) if extensions else {})


def _examine_in_child(names: Collection[str]) -> dict[str, Capability]:
    variables = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    said = run(sys.executable, "-P", "-m", "netverify.kernel.capabilities", *names, variables=variables)
    return {capability.name: capability for capability in read_json(said)}


def _leave() -> None:
    """Take the calling thread out of the machine's network and mount namespaces.

    /run becomes private because iptables-legacy locks /run/xtables.lock, which is the machine's.
    """
    syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("netverify", "/run", "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")


def _in_fresh_namespace(work: Callable[[], T]) -> T:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    return work()


def _examine(check: Check, place: Throwaway) -> Capability:
    if check.inside and place.visitor is None and check.name != NAMESPACES:
        available, detail = False, f"not tried: there are no {NAMESPACES}"
    else:
        try:
            available, detail = True, place.run(check.probe) if check.inside else check.probe()
        except (OSError, KernelError) as error:
            available, detail = False, str(error)
    return Capability(
        name=check.name,
        group=check.group,
        available=available,
        needed=_is_needed(check),
        detail=detail,
        consequence=check.consequence,
        remedy=check.remedy,
    )


def _is_needed(check: Check) -> bool:
    match check.need:
        case Need.ALWAYS:
            return True
        case Need.NEVER:
            return False
        case Need.ROOTLESS:
            return is_rootless()
        case Need.BACKEND:
            try:
                return default_backend() is check.backend
            except MissingCapability:
                return False  # the row of `iptables` itself says so, and is needed


def _examine_extensions(extensions: Sequence[Extension], place: Throwaway) -> dict[str, Capability]:
    try:
        refusals: Refusals = place.run(lambda: try_extensions(extensions))
    except (OSError, KernelError) as error:
        refusals, otherwise = {}, f"not tried: {error}"
    else:
        otherwise = "no iptables program works here that could load it"
    return {extension.name: _extension(extension, refusals, otherwise) for extension in extensions}


def _extension(extension: Extension, refusals: Refusals, otherwise: str) -> Capability:
    programs = [program for program in refusals if version_of(program) in extension.versions]
    reasons: dict[str, list[str]] = {}
    for program in programs:
        if (reason := refusals[program].get(extension.name)) is not None:
            reasons.setdefault(reason, []).append(program)
    fails_in = tuple(program for program in programs if extension.name in refusals[program])
    works_in = tuple(program for program in programs if program not in fails_in)
    detail = "; ".join(f"{', '.join(refusing)}: {reason}" for reason, refusing in reasons.items())
    lost = "no twin of a host that uses it can be built, and the model of it is not held against the kernel"
    return Capability(
        name=extension.name,
        group=extension.group,
        available=bool(works_in) and not fails_in,
        needed=extension.needed,
        detail=detail or ("" if works_in else otherwise),
        consequence="Docker's own rules cannot be loaded" if extension.needed else lost,
        remedy=f"let root run `modprobe {extension.module}`, or use a kernel that has it",
        works_in=works_in,
        fails_in=fails_in,
    )
