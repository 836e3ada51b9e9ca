"""What the cases of all benchmarks share: the columns of a row, and the keys that they go by."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, cast

from datagen.importers.paths import Paths
from datagen.importers.records import Condition, Record
from datagen.importers.rows import RowShape
from datagen.importers.settings import ArchivedSettings
from datagen.importers.stage import Reader
from shards.plan import Refused
from shards.sample import Json

# A published key that a sample can have, with room for a round's ending.
FIT = re.compile(r"[a-z0-9_-]{1,76}")
ROUND = re.compile(r"-r\d+$")


class Benchmark(ABC):
    """A benchmark as it lies in a folder.

    Attributes:
        FILES: patterns of its files, one set of them a form in which it is published.
        WHERE: conditions that hold unless a recipe sets them otherwise.

    Args:
        settings: where it lies.
        patterns: of its files; () for those that are known.
    """

    FILES: ClassVar[Sequence[Sequence[str]]]
    WHERE: ClassVar[Mapping[str, Condition]] = {}

    def __init__(self, settings: ArchivedSettings, patterns: Sequence[str]) -> None:
        self.settings = settings
        self._patterns = patterns

    @cached_property
    def files(self) -> list[str]:
        """Names of its files; of the first form that is there.

        Raises:
            SourceError: there are none.
        """
        source = self.settings.source
        forms = [self._patterns] if self._patterns else self.FILES
        found = next((names for form in forms if (names := source.matching(*form))), None)
        return found or source.some(*(pattern for form in forms for pattern in form))

    def records(self) -> Iterator[Record | Refused]:
        """Its cases, each under the key that it was published with, where that can be."""
        return with_own_keys(self.cases)

    @abstractmethod
    def cases(self) -> Iterator[Record | Refused]:
        """Its cases, each with its published key, whatever that is."""

    @abstractmethod
    def reader(self) -> Reader:
        """What reads a case's pictures on a worker."""


class CaseShape(RowShape):
    """The columns of a case."""

    ROLES: ClassVar[Sequence[str]] = ("key", "instruction", "references", "task", "case", "licence")
    NEEDED: ClassVar[Sequence[str]] = ("instruction", "references", "task")

    def record(self, row: Mapping[str, Any], paths: Paths, place: str, file: str) -> Record:
        """The record of one row.

        Raises:
            UnusableError: the row is none.
        """
        record = super().record(row, paths, place, file)
        key = published_key(row.get(self.names["key"]))
        origin = cast("Mapping[str, Json]", record.spec["origin"])
        return replace(
            record,
            key=key,
            identity=[key, record.identity],
            spec={**record.spec, "origin": {**origin, "key": key}},
        )


def published_key(value: object) -> str:
    """A case's key as text; "" where it has none.

    >>> published_key(7), published_key("fox 1"), published_key(None), published_key(True)
    ('7', 'fox 1', '', '')
    """
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def with_own_keys(cases: Callable[[], Iterator[Record | Refused]]) -> Iterator[Record | Refused]:
    """Cases under their published keys; without one where a sample cannot have it or several cases do.

    So no key hangs on which of two cases comes first. The cases are read twice.
    """
    times = Counter(case.key for case in cases() if isinstance(case, Record))
    for case in cases():
        if isinstance(case, Record) and not (times[case.key] == 1 and _is_fit(case.key)):
            yield replace(case, key="")
        else:
            yield case


def _is_fit(key: str) -> bool:
    """Whether a sample can have a key, and no round of another case has it.

    >>> [_is_fit(key) for key in ("fox-1", "fox-r1", "Fox", "fox.1")]
    [True, False, False, False]
    """
    return bool(FIT.fullmatch(key)) and not ROUND.search(key)
