"""Every error that netverify raises on purpose, and whose fault it is.

Two families: `InputError` says that what a person gave us (a file, a value) is wrong, and where;
`KernelError` says that this machine's kernel or tools refused something, and what would help.
Anything else that escapes is a bug in netverify.
"""

from __future__ import annotations

from dataclasses import dataclass


class NetverifyError(Exception):
    """Base of all errors that netverify raises on purpose."""


class InputError(NetverifyError):
    """Something that a person gave us is wrong; the message says what was expected."""


class KernelError(NetverifyError):
    """The kernel, or a tool that configures it, refused an operation."""


class SandboxError(KernelError):
    """The process could not move into namespaces of its own, or has not done so."""


class MissingCapability(KernelError):
    """This machine lacks something that the operation needs.

    `capability` is its name as `netverify doctor` prints it, `remedy` what a person can do about it.
    """

    def __init__(self, capability: str, reason: str, remedy: str) -> None:
        super().__init__(f"this machine has no {capability}: {reason}. {remedy}")
        self.capability = capability
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Place:
    """Where in a person's file something stands: file name, 1-based line and column, key path."""

    file: str
    line: int | None = None
    column: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        text = self.file
        if self.line is not None:
            text += f":{self.line}"
            if self.column is not None:
                text += f":{self.column}"
        return f"{text}: {self.key}" if self.key else text
