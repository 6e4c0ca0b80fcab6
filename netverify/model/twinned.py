"""The model's answers beside those of a twin: where they agree, where they differ, and what nobody asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from netverify.model.matrix import Pair, Reach
from netverify.reachability.probe import Cell, Outcome
from netverify.reachability.symbols import symbol_of


@dataclass(frozen=True)
class Twinned:
    """All pairs of a question, each answered by the model and by packets in a twin.

    `cells` are the twin's, in the order of `reach.pairs`, None where the twin lacks something that the pair
    depends on; `not_twinned` says what. `notes` are what the twin does in another way than the host. `built`
    and `asked` are seconds.
    """

    reach: Reach
    cells: tuple[Cell | None, ...]
    not_twinned: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    built: float = 0.0
    asked: float = 0.0

    @cached_property
    def differences(self) -> tuple[tuple[Pair, Cell], ...]:
        """The pairs about which the two disagree. Neither may be unknown: then nothing was compared."""
        return tuple(
            (pair, cell) for pair, cell in self._compared() if symbol_of(pair.cell) != symbol_of(cell)
        )

    @cached_property
    def agreements(self) -> int:
        """About how many pairs the two agree."""
        return sum(1 for _ in self._compared()) - len(self.differences)

    @cached_property
    def unmeasured(self) -> tuple[Cell, ...]:
        """The twin's answers that are none: the measurement failed."""
        return tuple(cell for cell in self.cells if cell is not None and cell.outcome is Outcome.ERROR)

    @property
    def left_out(self) -> int:
        """How many pairs are not twinned."""
        return sum(1 for cell in self.cells if cell is None)

    @property
    def is_complete(self) -> bool:
        """Whether the two were compared on every pair that is twinned, and on one at least."""
        known = not self.unmeasured and not self.reach.lacks
        return known and self.left_out < len(self.cells)

    def _compared(self) -> Iterator[tuple[Pair, Cell]]:
        for pair, cell in zip(self.reach.pairs, self.cells, strict=True):
            known = pair.cell.outcome is not Outcome.ERROR
            if cell is not None and known and cell.outcome is not Outcome.ERROR:
                yield pair, cell
