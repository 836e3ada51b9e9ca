"""What turns a planned record into a clean sample on a worker, the same for every published set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from datagen.cleaning import Cleaned, Cleaning
from datagen.unusable import UnusableError
from shards.sample import Candidate, Json, Provenance, Sample
from shards.stage import Reject, Stage, Work


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A record with its pictures, as published.

    Attributes:
        instruction: what to generate.
        images: bytes of the references, then of the target; of a benchmark's case there is none.
        origin: what else is known of it: its place, ids, the publisher's scores.
        changed: by place among `images`, what a picture was cut from, where it is not the published file.
        subjects: per reference, what it shows; empty where the set does not tell.
        task: SconeEval's task type; by the number of references unless told.
        case: case type, where the set tells.
        licence: where the set has no one licence.
    """

    instruction: str
    images: Sequence[bytes]
    origin: Mapping[str, Json] = field(default_factory=dict)
    changed: Mapping[int, Mapping[str, Json]] = field(default_factory=dict)
    subjects: Sequence[Sequence[Candidate]] = ()
    task: str = ""
    case: str = ""
    licence: str = ""


class Reader(Protocol):
    """Reads what a plan names."""

    def read(self, spec: Mapping[str, Json]) -> Raw:
        """One record with its pictures.

        Raises:
            UnusableError: it cannot be read.
        """
        ...


class ImportStage(Stage):
    """Reads, cleans and hands on."""

    def __init__(
        self, source: str, clean: Cleaning, licence_of: Callable[[str], str], reader: Reader
    ) -> None:
        self._source = source
        self._clean = clean
        self._licence_of = licence_of
        self._reader = reader

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return [self.make(work) for work in batch]

    def make(self, work: Work) -> Sample | Reject:
        """One sample, or why there is none."""
        try:
            raw = self._reader.read(work.spec)
            self._clean.check_instruction(raw.instruction, len(raw.images) - 1)
            return self._sample(work, raw, self._clean.clean_images(raw.images, raw.instruction))
        except UnusableError as error:
            return Reject(reason=error.reason, detail=told(work.spec, str(error)))

    def _sample(self, work: Work, raw: Raw, images: Sequence[Cleaned]) -> Sample:
        references = tuple(each.image for each in images[:-1])
        subjects = tuple(tuple(candidates) for candidates in raw.subjects) or ((),) * len(references)
        return Sample(
            key=work.key,
            instruction=raw.instruction.strip(),
            references=references,
            target=images[-1].image,
            subjects=subjects,
            provenance=Provenance(
                source=self._source,
                licence=self._licence_of(raw.licence),
                task=raw.task or ("composition_single" if len(references) == 1 else "composition_multi"),
                case=raw.case,
                origin={**raw.origin, **changes(raw, images)},
            ),
        )


def told(spec: Mapping[str, Json], words: str) -> str:
    """What is wrong, after where it stands and which pictures it names: a key is only a hash of those."""
    known = cast("Mapping[str, Any]", spec)
    number = f"{known['file']}:{known['number']}" if "number" in known else ""
    place = known.get("origin", {}).get("place") or number
    images = [str(image.get("file") or image.get("path")) for image in known.get("images", ())]
    where = f"{place} ({', '.join(images)})" if images else place
    return words if not where or words.startswith(where) else f"{where:.300}: {words}"


def changes(raw: Raw, images: Sequence[Cleaned], *, has_target: bool = True) -> dict[str, Json]:
    """What the pictures were before pixels had to change."""
    changed: dict[str, Json] = {}
    for place, each in enumerate(images):
        name = "target" if has_target and place == len(images) - 1 else f"ref{place}"
        found = {**(each.origin or {}), **raw.changed.get(place, {})}
        if found:
            changed[name] = found
    return {"images": changed} if changed else {}
