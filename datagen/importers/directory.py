"""Our own finished directories, of another output or another machine: samples as they are, keys and all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from datagen.importers.records import Record
from datagen.importers.settings import ImportSettings
from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.index import Directory
from shards.ledger import Ledger
from shards.manifest import FILE, read_manifest
from shards.plan import Refused
from shards.sample import Sample, SampleError
from shards.stage import Reject, Work
from shards.storage import Storage
from shards.tar import TarError


class DirectorySettings(ImportSettings):
    """Settings of `import_directory`; `where` asks for columns of the index."""

    SOURCE: ClassVar[str] = "bakery"

    def check(self) -> None:
        """There is a manifest of samples."""
        self.source.some(FILE)
        manifest = read_manifest(self.source.storage)
        if manifest is None or manifest.kind != "samples":
            raise SourceError(f"{self.source.where}: expected a finished directory of samples")

    def records(self) -> Iterator[Record | Refused]:
        """A record a row of the index."""
        for row in Directory(self.source.storage).rows():
            yield Record(
                place=f"{row.shard}:{row.row}",
                identity=row.key,
                key=row.key,
                spec={"shard": row.shard, "row": row.row, "source": row.source},
                columns={
                    "key": row.key,
                    "task": row.task,
                    "case": row.case,
                    "source": row.source,
                    "licence": row.licence,
                    "references": row.references,
                },
                licence=row.licence,
            )

    def build(self, ledger: Ledger) -> DirectoryStage:  # type: ignore[override]  # noqa: ARG002, no ledger
        """The stage that hands samples on."""
        return DirectoryStage(self.source.storage)


class DirectoryStage:
    """Reads samples where the plan found them."""

    def __init__(self, storage: Storage) -> None:
        self._directory = Directory(storage)

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return [self.make(work) for work in batch]

    def make(self, work: Work) -> Sample | Reject:
        """One sample, or why there is none."""
        spec: Mapping[str, object] = work.spec
        try:
            return self._directory.sample(int(str(spec["shard"])), int(str(spec["row"])))
        except TarError as error:
            return Reject(reason=error.reason, detail=str(error))
        except (SampleError, UnusableError) as error:
            return Reject(reason="bad_metadata", detail=str(error))
