"""The books of a step: what was read, planned, made and refused, and that nothing got lost between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class BooksError(ValueError):
    """The books do not balance: a sample was lost or made twice. Nothing is published."""


@dataclass(frozen=True, kw_only=True)
class Books:
    """Counts of one step.

    Attributes:
        read: samples (or a source's entries) that the step found.
        used: of those, the ones its plan makes something of.
        unused: of those, the ones its plan leaves.
        refused: of those, the ones that could not be read.
        planned: samples that the plan names.
        made: of those, the ones made (for a selection: kept).
        failed: of those, the ones that were not made (for a selection: rejected).
        reasons: how many were refused or failed, by reason.
    """

    read: int = 0
    used: int = 0
    unused: int = 0
    refused: int = 0
    planned: int = 0
    made: int = 0
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Raise if the books do not balance.

        >>> Books(read=3, used=2, unused=1, planned=2, made=1, failed=1, reasons={"x": 1}).check("base")
        >>> Books(planned=2, made=1).check("base")
        Traceback (most recent call last):
        ...
        shards.books.BooksError: base: planned = made + failed: expected 2, got 1 + 0

        Raises:
            BooksError: naming the sum that is wrong.
        """
        if self.read != self.used + self.unused + self.refused:
            raise BooksError(
                f"{where}: read = used + unused + refused: expected {self.read}, "
                f"got {self.used} + {self.unused} + {self.refused}"
            )
        if self.planned != self.made + self.failed:
            raise BooksError(
                f"{where}: planned = made + failed: expected {self.planned}, got {self.made} + {self.failed}"
            )
        if sum(self.reasons.values()) != self.refused + self.failed:
            raise BooksError(
                f"{where}: every loss has a reason: expected {self.refused + self.failed} reasons, "
                f"got {sum(self.reasons.values())}"
            )
