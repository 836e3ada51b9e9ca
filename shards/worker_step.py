"""Steps that workers make: the driver plans, a stage on each worker does what is planned."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from shards.ledger import Ledger
from shards.plan import Refused, Unused
from shards.stage import IndexRow, Planned, Stage
from shards.step import StepSettings
from shards.storage import Storage


class WorkerStep(StepSettings):
    """Settings of a step that makes samples or scores; they travel to the workers with every task.

    The driver calls, in this order: `plan`, `prepared`, `reading`, `asks_again`; then, while workers `build`
    the stage and use it, `check_counts`; at the end `make_beside` and `check_scores`.
    """

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Samples handed to the stage at once; also how many are suspected when a worker dies."""

    @property
    def at_once(self) -> int:
        """How many slices a worker has in hand: 1; or 2, where its stage waits for servers and may be called
        from two threads, so that the second slice's requests follow the first's without a gap."""
        return 1

    @abstractmethod
    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned | Refused | Unused]:
        """What is to be made of the inputs' samples; opens no image."""

    @abstractmethod
    def build(self, ledger: Ledger) -> Stage:
        """The stage, whole, on its worker; a reply that it pays for is committed to `ledger` before anything
        is derived from it."""

    def prepared(self, storage: Storage) -> Self:  # noqa: ARG002, for settings that need it
        """What the workers are given, once the plan lies in the step's directory.

        Called by the driver on every run, so what it puts there is made again where it was lost.
        """
        return self

    def reading(self, inputs: Sequence[Storage]) -> Self:  # noqa: ARG002, for settings that need it
        """The settings with what the input directories were made from."""
        return self

    def check_engine(self, ledger: Ledger) -> None:
        """Raise where whoever the step asks does not answer, or is not what is declared."""

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Raise where a step cannot end well; called with all slices' counts, added up."""

    def asks_again(self, counts: Mapping[str, float], planned: int) -> bool:  # noqa: ARG002, for steps that count
        """Whether a run makes all samples again that an earlier one, with these counts, left behind: it was
        stopped for what may be answered now, and what was paid comes from the ledger."""
        return False

    def make_beside(
        self,
        rows: Iterable[IndexRow],  # noqa: ARG002, for steps that make something
        inputs: Sequence[Storage],  # noqa: ARG002
        ledger: Ledger,  # noqa: ARG002
        target: Storage,  # noqa: ARG002
    ) -> Mapping[str, float]:
        """Make what is in no books, in the step's directory `target`; return what that cost."""
        return {}

    def check_scores(self, storage: Storage) -> None:
        """Raise where the finished tables in the step's directory are not to be believed."""
