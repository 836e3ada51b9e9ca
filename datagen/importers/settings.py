"""What all readers of published sets share: where one lies, what of it is wanted, how clean it must be."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from datagen.cleaning import Cleaning
from datagen.importers.archives import Archive, archives_in
from datagen.importers.paths import Paths
from datagen.importers.records import Choice, Condition, Record
from datagen.importers.scratch import spill
from datagen.importers.source import Source, SourceError
from datagen.importers.stage import ImportStage, Reader
from datagen.importers.wanted import Wanted
from datagen.unusable import UnusableError
from shards.ledger import Ledger
from shards.listing import ListingError, expand
from shards.manifest import ManifestError
from shards.plan import Refused, Unused, planned_rows
from shards.sample import Json
from shards.settings import PLAN, RUN, PlanInt
from shards.stage import IndexRow, Planned
from shards.storage import Storage
from shards.worker_step import WorkerStep


class PublishedSettings(WorkerStep):
    """Settings of every step that reads a published set."""

    path: Annotated[str, Field(**RUN)] = Field(
        description="the set's folder or s3:// URI; $NAME comes from the environment"
    )
    licence: str = Field(default="", description="of the set; the publisher's unless set")
    where: Annotated[Mapping[str, Condition], Field(**PLAN)] = Field(
        default={}, description="conditions on the metadata: a value, a list of values, or {min, max, not}"
    )
    sample: Annotated[int | None, Field(**PLAN)] = Field(
        default=None, ge=1, description="take so many of them, drawn"
    )
    seed: PlanInt = Field(default=0, ge=0, description="of the drawing; the recipe's seed unless set")
    columns: Mapping[str, str] = Field(default={}, description="our name of a column: the name in the set")

    @cached_property
    def source(self) -> Source:
        """The set's folder."""
        return Source(Storage(expand(self.path).rstrip("/")))

    def __reduce__(self) -> tuple[Callable[[Any], Self], tuple[dict[str, Any]]]:
        """Travel to a worker without the listing."""
        return type(self).model_validate, (self.model_dump(by_alias=True),)

    def missing(self) -> list[str]:
        """What must be there and is not."""
        try:
            self.check()
        except (ListingError, ManifestError, OSError) as error:
            return [str(error)]
        return []

    def check(self) -> None:
        """Look at names alone.

        Raises:
            SourceError: the set is not there or lacks a file.
        """
        self.source.some("*")

    def computed(self) -> dict[str, Json]:
        """The settings, and what the set is, wherever it lies."""
        try:
            listing = self.identity()
        except (
            ListingError,
            ManifestError,
            OSError,
        ):  # `bakery check` where it is not; a run says so at once
            listing = None
        return {**super().computed(), "listing": listing}

    def identity(self) -> Json:
        """What tells the set from another: its files' names, sizes and samples of their bytes."""
        return self.source.digest

    @abstractmethod
    def records(self) -> Iterator[Record | Refused]:
        """The set's metadata, in its order."""


class ImportSettings(PublishedSettings):
    """Settings of every importer."""

    VERSION: ClassVar[int] = 2
    SOURCE: ClassVar[str]
    LICENCE: ClassVar[str] = ""  # the publisher's, facts/data.md 4

    prefix: str = Field(default="", pattern=r"^[a-z0-9_-]{0,40}$", description="of the keys; the set's name")
    clean: Cleaning = Field(default=Cleaning(), description="which samples are clean enough")

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once."""
        return 8

    def plan(self, rows: Iterable[IndexRow] = ()) -> Iterator[Planned | Refused | Unused]:  # noqa: ARG002
        """The chosen records; no image is read."""
        self.check()
        self._check_licence()
        choice = Choice(
            prefix=self.prefix or self.SOURCE.lower().replace(".", "-"),
            where=self.where,
            sample=self.sample,
            seed=self.seed,
            check=self._check_record,
        )
        yield from choice.plan(self.records)

    def _check_licence(self) -> None:
        try:
            self.clean.check_licence(self.licence_of(""))
        except UnusableError as error:
            raise SourceError(
                f"{self.SOURCE}: {error}; leave the set out or set `clean: {{allow_non_commercial: true}}`"
            ) from error

    def _check_record(self, record: Record) -> None:
        self.clean.check_licence(self.licence_of(record.licence))
        instruction, images = record.spec.get("instruction"), record.spec.get("images")
        if isinstance(instruction, str) and isinstance(images, list):
            self.clean.check_instruction(instruction, len(images) - 1)

    def licence_of(self, own: str) -> str:
        """The licence of a record."""
        return own or self.licence or self.LICENCE


class CleanedSettings(ImportSettings):
    """Settings of a set whose records are read with their pictures, and cleaned, on a worker."""

    @abstractmethod
    def reader(self) -> Reader:
        """What reads a record's pictures."""

    def build(self, ledger: Ledger) -> ImportStage:  # noqa: ARG002, nothing is paid for
        """The stage."""
        return ImportStage(self.SOURCE, self.clean, self.licence_of, self.reader())


class ArchivedSettings(PublishedSettings):
    """Settings of a set whose records name images in archives or beside them."""

    archives: Mapping[str, str] = Field(
        default={}, description="a path's beginning: pattern of the archives that hold it; found unless set"
    )
    threads: Annotated[int, Field(**RUN)] = Field(
        default_factory=lambda: min(8, os.cpu_count() or 1), ge=1, description="archives read at once"
    )
    scratch: Annotated[str, Field(**RUN)] = Field(
        default="", description="set by the run: where chosen members were spilt"
    )

    @cached_property
    def archive_list(self) -> Mapping[str, Archive]:
        """The set's archives by name, parts joined."""
        return archives_in(self.source.sizes)

    @cached_property
    def paths(self) -> Paths:
        """Resolves records' paths."""
        return Paths(self.source, self.archive_list, self.archives)

    def check(self) -> None:
        """As for all, no part of an archive is missing, and what the recipe maps is there."""
        super().check()
        self.paths.check_mapping()

    def prepared(self, storage: Storage) -> Self:
        """Spill the members that the plan names, archives side by side."""
        spill(
            self.source, self.archive_list, _in_archives(storage), storage, self.threads, list(self.archives)
        )
        return self.model_copy(update={"scratch": storage.uri})


class ArchiveSettings(ArchivedSettings, CleanedSettings):
    """Settings of an importer of such a set."""

    VERSION: ClassVar[int] = 4


def _in_archives(storage: Storage) -> Wanted:
    """What a plan names of archives."""
    specs: Iterator[Any] = (row.spec for row in planned_rows(storage))
    images = (image for spec in specs for image in spec.get("images", ()) if "archives" in image)
    return Wanted((tuple(image["archives"]), image["path"]) for image in images)
