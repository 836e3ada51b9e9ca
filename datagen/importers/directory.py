"""Our own finished directories, of another output or another machine: samples as they are, keys and all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import model_validator

from datagen.cleaning import Cleaning
from datagen.importers.records import Record
from datagen.importers.settings import ImportSettings
from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.index import Directory
from shards.ledger import Ledger
from shards.manifest import FILE, FileRecord, read_manifest, record
from shards.plan import Refused
from shards.sample import Json, Sample, SampleError
from shards.stage import Reject, Stage, Work
from shards.storage import Storage, StorageError
from shards.tar import TarError


class DirectorySettings(ImportSettings):
    """Settings of `import_directory`; `where` asks for columns of the index.

    Samples come as they are: of `clean` only `allow_non_commercial` counts.
    """

    SOURCE: ClassVar[str] = "bakery"

    @model_validator(mode="after")
    def _as_they_are(self) -> DirectorySettings:
        """Refuse what would be set in vain."""
        named = [name for name in ("columns", "licence", "prefix") if getattr(self, name)]
        usual = self.clean.model_copy(update={"allow_non_commercial": True})
        changed = [name for name, value in Cleaning() if getattr(usual, name) != value]
        if vain := [*named, *(f"clean.{name}" for name in changed)]:
            raise ValueError(f"samples as they are, so no {', '.join(vain)}: leave it out")
        return self

    def check(self) -> None:
        """There is a manifest of samples."""
        if FILE not in self.source.sizes:
            raise SourceError(
                f"{self.source.where}: expected a finished directory with its {FILE}, got "
                f"{self.source.sketch()}; set `path` to OUT/STEP-HASH"
            )
        manifest = read_manifest(self.source.storage)
        if manifest is None or manifest.kind != "samples":
            got = manifest.kind if manifest else "none"
            raise SourceError(
                f"{self.source.where}: expected a directory of samples, got one of {got}; "
                "`pack` makes samples of a selection"
            )
        for name, file in manifest.files.items():
            self._check_file(name, file)

    def _check_file(self, name: str, file: FileRecord) -> None:
        """A file has its manifest's size, an index also its hash; pictures are checked when they are read."""
        got = self.source.sizes.get(name)
        if got != file.size:
            raise SourceError(
                f"{self.source.where}: {name}: expected {file.size} bytes, as its manifest says, got "
                f"{'none' if got is None else got}; copy the directory again"
            )
        if name.startswith("index/") and record(self.source.storage, name).digest != file.digest:
            raise SourceError(
                f"{self.source.where}: {name}: expected the bytes that its manifest names, got others; "
                "copy the directory again"
            )

    def identity(self) -> Json:
        """What the directory holds, by the hashes in its manifest: neither when nor how fast it was made."""
        self.check()
        manifest = read_manifest(self.source.storage)
        assert manifest is not None
        return {name: file.digest for name, file in sorted(manifest.files.items())}

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
                    "category": row.category,
                    "source": row.source,
                    "licence": row.licence,
                    "references": row.references,
                },
                licence=row.licence,
            )

    def build(self, ledger: Ledger) -> DirectoryStage:  # noqa: ARG002, nothing is paid for
        """The stage that hands samples on."""
        return DirectoryStage(self.source.storage)


class DirectoryStage(Stage):
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
        except StorageError as error:
            return Reject(reason="missing_image", detail=str(error))
        except (SampleError, UnusableError) as error:
            return Reject(reason="bad_metadata", detail=str(error))
