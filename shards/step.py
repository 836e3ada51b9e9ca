"""What a recipe sets for one step of any kind, and what the recipe's check may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from shards.settings import Settings


class StepSettings(Settings):
    """Settings of a step.

    Attributes:
        VERSION: of the code that computes it, raised with every change of its results.
        SOURCE: name of the published set that it reads; "" if it reads none.
    """

    VERSION: ClassVar[int] = 1
    SOURCE: ClassVar[str] = ""

    def missing(self) -> list[str]:
        """What must be there and is not, for `bakery check`; nothing for a step that reads no source."""
        return []

    def problems_with(self, inputs: Mapping[str, Sequence[str]]) -> list[str]:  # noqa: ARG002, as above
        """What cannot work with these inputs (names of steps, by role), for the recipe's check."""
        return []

    def sample_bytes(self) -> float | None:
        """About what one of its samples takes on a disk; None: what one that it reads takes, or unknown."""
        return None

    def samples_each(self) -> int | None:
        """How many samples it makes at most of each that it reads; None where no such number holds."""
        return None

    def tables(self) -> Sequence[str] | None:
        """Names of the score tables that the step writes; None where only its run can tell."""
        return None

    def reads_tables(self) -> Sequence[str]:
        """Names of the score tables that the step asks of its `scores`, for the recipe's check."""
        return ()
