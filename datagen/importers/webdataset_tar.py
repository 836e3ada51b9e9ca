"""Imports WebDataset tars of another hand: every member is checked, and what cannot be used says why."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from datagen.importers.foreign_tar import Fault
from datagen.importers.source import SourceError
from datagen.importers.webdataset_members import Entry, scan
from shards.image import ImageError, ImageFacts, check_image
from shards.ledger import Ledger
from shards.listing import probe
from shards.plan import Refused
from shards.sample import (
    KEY_PATTERN,
    EncodedImage,
    Json,
    Provenance,
    Sample,
    SampleError,
    parse_json,
    parse_sample,
)
from shards.settings import RUN
from shards.stage import IndexRow, Outcome, Planned, Reject, Stage, Work, content_key
from shards.storage import Storage
from shards.worker_step import WorkerStep


class ImportConfig(WorkerStep):
    """Settings of `import`."""

    VERSION: ClassVar[int] = 1

    paths: tuple[str, ...] = Field(
        min_length=1,
        description="tars, or patterns such as sets/*.tar",
        json_schema_extra=RUN["json_schema_extra"],
    )
    source: str = Field(min_length=1, description="name of the published set")
    licence: str = Field(default="", description="of samples whose JSON names none")
    min_side_px: int = Field(default=1, ge=1, description="of every image")
    max_aspect: float = Field(default=16, ge=1, description="long side over short side of every image")

    @field_validator("paths")
    @classmethod
    def _absolute(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        """A worker elsewhere must find the same files."""
        return tuple(str(Path(path).absolute()) for path in paths)

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once."""
        return 8

    @cached_property
    def tars(self) -> dict[str, Path]:
        """The tars by their names, sorted.

        Raises:
            SourceError: a pattern matches nothing, or two tars have one name.
        """
        found: dict[str, Path] = {}
        for told in self.missing():
            raise SourceError(told)
        for pattern in self.paths:
            for path in _matches(pattern):
                if found.setdefault(path.name, path) != path:
                    raise SourceError(
                        f"import: paths: expected each name once, got {found[path.name]} and {path}; "
                        "import them in two steps"
                    )
        return dict(sorted(found.items()))

    def missing(self) -> list[str]:
        """Patterns that no tar fits."""
        return [
            f"import: paths: expected tars, got none at {pattern!r}; see where they are"
            for pattern in self.paths
            if not _matches(pattern)
        ]

    def computed(self) -> dict[str, Json]:
        """The settings, and what the sources are: where they lie does not matter."""
        if self.missing():  # `bakery check` where they are not; a run says so at once
            return super().computed() | {"sources": None}
        sources: list[Json] = [
            [name, *probe(Storage(str(path.parent)), path.name, path.stat().st_size)]
            for name, path in self.tars.items()
        ]
        return super().computed() | {"sources": sources}

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned | Refused]:  # noqa: ARG002, it has no inputs
        """Every group of members that may be a sample; reads headers and no contents."""
        seen: dict[str, str] = {}
        for name, path in self.tars.items():
            for group in _groups(name, path):
                entry = _planned(name, path.stat().st_size, group)
                if (
                    isinstance(entry, Planned)
                    and (first := seen.setdefault(entry.key, group.origin)) != group.origin
                ):
                    entry = Refused(
                        origin=group.origin, reason="duplicate_key", detail=f"{first} has the same key"
                    )
                yield entry

    def build(self, ledger: Ledger) -> Stage:  # noqa: ARG002, nothing is paid for
        """The stage that reads and checks one sample after the other."""
        return Importer(self)


def _matches(pattern: str) -> list[Path]:
    return [Path(match) for match in glob.glob(pattern)]  # noqa: PTH207, Path.glob takes no absolute pattern


# Headers to plan


class _Group:
    """Members of one key, and where the first of them is."""

    def __init__(self, tar: str, key: str) -> None:
        self.key = key
        self.origin = f"{tar}:{key}"
        self.parts: dict[str, Entry] = {}
        self.fault: Fault | None = None

    def add(self, entry: Entry) -> None:
        if entry.fault:
            self._blame(entry.fault)
            return
        part = entry.name.rpartition("/")[2].partition(".")[2].lower()
        if part in self.parts:
            self._blame(Fault("duplicate_member", f"{entry.name} is there twice"))
        self.parts[part] = entry

    def _blame(self, fault: Fault) -> None:
        self.fault = self.fault or fault


def _groups(tar: str, path: Path) -> list[_Group]:
    """Members of one tar by key, in order; a key that comes back later is a split sample or a duplicate."""
    groups: list[_Group] = []
    by_key: dict[str, _Group] = {}
    for entry in scan(path):
        if not groups or groups[-1].key != entry.key:
            groups.append(_Group(tar, entry.key))
        groups[-1].add(entry)
        first = by_key.setdefault(entry.key, groups[-1])
        if first is not groups[-1]:
            _separate(first, groups[-1], tar)
    return groups


def _separate(first: _Group, again: _Group, tar: str) -> None:
    if first.parts.keys() & again.parts.keys():
        again.fault = Fault("duplicate_key", f"{tar} has {first.key!r} before, with the same members")
    else:
        again.fault = Fault("split_sample", f"{tar}: members of {first.key!r} do not lie side by side")
        first.fault = first.fault or again.fault


def _planned(tar: str, size: int, group: _Group) -> Planned | Refused:
    fault = group.fault or _incomplete(group.parts)
    if fault:
        return Refused(origin=fault.origin or group.origin, reason=fault.reason, detail=fault.detail)
    members: list[Json] = [[part, entry.offset, entry.size] for part, entry in sorted(group.parts.items())]
    key = group.key if KEY_PATTERN.fullmatch(group.key) else content_key("import", group.key)
    return Planned(key=key, spec={"tar": tar, "tar_size": size, "key": group.key, "members": members})


def _incomplete(parts: Mapping[str, Entry]) -> Fault | None:
    images = [part.partition(".")[0] for part in parts if part != "json"]
    references = sorted(name for name in images if name != "target")
    if "json" not in parts:
        return Fault("missing_json", f"expected KEY.json, got {', '.join(sorted(parts))}")
    if "target" not in images:
        return Fault("missing_target", f"expected KEY.target.jpg, got {', '.join(sorted(parts))}")
    if len(set(images)) != len(images):
        return Fault("duplicate_member", f"expected one image a name, got {', '.join(sorted(parts))}")
    if not references or references != sorted(f"ref{number}" for number in range(len(references))):
        return Fault(
            "missing_reference", f"expected ref0, ref1, ... and target, got {', '.join(sorted(parts))}"
        )
    return None


# Plan to samples


class Importer(Stage):
    """Reads the members of planned samples and checks every image to its last pixel."""

    def __init__(self, config: ImportConfig) -> None:
        self._config = config
        self._tars = config.tars

    def __call__(self, batch: Sequence[Work]) -> list[Outcome]:
        """A sample or a reject for each."""
        return [self._outcome(work) for work in batch]

    def _outcome(self, work: Work) -> Outcome:
        try:
            members = self._read(work.spec)
            text = members.pop("json")
            images = {
                part.partition(".")[0]: EncodedImage(data, part.rpartition(".")[2])
                for part, data in members.items()
            }
            sample = self._sample(work, images, text)
            for name, image in images.items():
                self._check(f"{work.key}.{name}", image)
        except SampleError as error:
            return Reject(reason="bad_json", detail=str(error)[:500])
        except ImageError as error:
            return Reject(reason=error.reason, detail=str(error)[:500])
        return sample

    def _read(self, spec: Mapping[str, Any]) -> dict[str, bytes]:
        found = {}
        with self._tars[spec["tar"]].open("rb") as file:
            for part, offset, size in spec["members"]:
                file.seek(offset)
                found[part] = file.read(size)
                if len(found[part]) < size:
                    raise ImageError("truncated", f"{spec['tar']}: {part}: cut off since it was planned")
        return found

    def _check(self, where: str, image: EncodedImage) -> None:
        try:
            facts = check_image(image)
        except ImageError as error:
            raise ImageError(error.reason, f"{where}: {error}") from error
        short, long = sorted((facts.width, facts.height))
        if short < self._config.min_side_px:
            raise ImageError(
                "too_small", f"{where}: expected {self._config.min_side_px} pixels, got {_shown(facts)}"
            )
        if long > self._config.max_aspect * short:
            raise ImageError(
                "too_elongated",
                f"{where}: expected at most {self._config.max_aspect:g}:1, got {_shown(facts)}",
            )

    def _sample(self, work: Work, images: Mapping[str, EncodedImage], text: bytes) -> Sample:
        where = f"{work.spec['tar']}:{work.spec['key']}"
        value = parse_json(text, where)
        if not isinstance(value, Mapping):
            raise SampleError(f"{where}: expected an object, got {type(value).__name__}")
        if "provenance" in value:
            return self._ours(work, images, text)
        return self._plain(work, images, value, where)

    def _ours(self, work: Work, images: Mapping[str, EncodedImage], text: bytes) -> Sample:
        sample = parse_sample(work.key, images, text)
        if sample.provenance.licence or not self._config.licence:
            return sample
        provenance = Provenance(**{**vars(sample.provenance), "licence": self._config.licence})
        return Sample(**{**vars(sample), "provenance": provenance})

    def _plain(
        self, work: Work, images: Mapping[str, EncodedImage], value: Mapping[str, Json], where: str
    ) -> Sample:
        instruction, licence = value.get("instruction"), value.get("licence", value.get("license"))
        if not isinstance(instruction, str):
            raise SampleError(f"{where}: instruction: expected text, got {instruction!r:.80}")
        references = tuple(images[f"ref{number}"] for number in range(len(images) - 1))
        return Sample(
            key=work.key,
            instruction=instruction,
            references=references,
            target=images["target"],
            subjects=((),) * len(references),
            provenance=Provenance(
                source=self._config.source,
                licence=licence if isinstance(licence, str) and licence else self._config.licence,
                task="composition_multi" if len(references) > 1 else "composition_single",
                origin={"tar": work.spec["tar"], "key": work.spec["key"]},
            ),
        )


def _shown(facts: ImageFacts) -> str:
    return f"{facts.width}x{facts.height}"
