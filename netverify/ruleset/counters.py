"""How many packets and bytes passed a rule, or ended at a chain's policy."""

from __future__ import annotations

from dataclasses import dataclass

from netverify.ruleset.errors import RulesetError


@dataclass(frozen=True, slots=True, order=True)
class Counters:
    """Packets and bytes, counted by the kernel in 64 bits each."""

    packets: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.packets < 1 << 64 and 0 <= self.bytes < 1 << 64):
            raise RulesetError(f"counters {self} are outside the kernel's 64 bits")

    def __bool__(self) -> bool:
        return bool(self.packets or self.bytes)

    def __add__(self, other: Counters) -> Counters:
        return Counters(self.packets + other.packets, self.bytes + other.bytes)

    def __sub__(self, other: Counters) -> Counters:
        """What was added since `other`. Raises RulesetError when `other` is the larger one."""
        return Counters(self.packets - other.packets, self.bytes - other.bytes)

    def __str__(self) -> str:
        return f"[{self.packets}:{self.bytes}]"
