"""Describing: names the subject and the kind of every reference, so that other steps can plan by case.

Published sets say little of what their references show. Images, keys and truth are handed on as they are.

Source: Scone (arXiv 2512.12675), section 5.1: subject names and scene descriptions are extracted first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, cast

from pydantic import Field

from datagen import prompts
from datagen.answered import check_answered, lacks_answers
from datagen.chat_writer import ChatWriterConfig
from datagen.kinds import joined, known_kind
from datagen.naming import name_of
from datagen.template_writer import TemplateWriterConfig
from datagen.text_checks import BadTextError, check_english, check_line
from datagen.writers import Fields, TextRequest, Writer, Written
from shards.ledger import Ledger
from shards.sample import Candidate, Json, Sample
from shards.served_settings import slices_at_once
from shards.settings import RUN
from shards.stage import IndexRow, Planned, Reject, Stage, Work, keyed_random
from shards.worker_step import WorkerStep


class DescribeConfig(WorkerStep):
    """Settings of `describe`."""

    VERSION: ClassVar[int] = 3

    seed: int = Field(default=0, ge=0, description="of what is asked; the recipe's seed unless set")
    writer: ChatWriterConfig | None = Field(
        default=None, description="a language model that looks; unless set, what is known already must do"
    )
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=64, ge=1, le=1024, description="samples a worker asks about at once"
    )
    tolerate_unanswered: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="samples that may get no answer"
    )

    @property
    def batch_size(self) -> int:
        """Samples in hand at once."""
        return self.samples_at_once if self.writer else 1

    @property
    def at_once(self) -> int:
        """Slices in a worker's hands."""
        return slices_at_once(self.writer) if self.writer else 1

    def computed(self) -> dict[str, Json]:
        """As `Settings`, and the prompts."""
        return {**super().computed(), "prompts": prompts.fingerprint()}

    def content(self) -> dict[str, Json]:
        """As `Settings`, and the prompts."""
        return {**super().content(), "prompts": prompts.fingerprint()}

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Stop a step early that cannot end well.

        Raises:
            UnansweredError: more samples got no answer than are tolerated.
        """
        check_answered("describe", counts, planned, self.tolerate_unanswered)

    def asks_again(self, counts: Mapping[str, float], planned: int) -> bool:
        """Whether an earlier run stopped for want of answers."""
        return lacks_answers(counts, planned, self.tolerate_unanswered)

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample once, in the order of keys."""
        for row in sorted({row.key: row for row in rows}.values(), key=lambda row: row.key):
            yield Planned(key=row.key, parents=(row,))

    def build(self, ledger: Ledger) -> Stage:
        """The stage."""
        return Describer(self.seed, (self.writer or TemplateWriterConfig()).build(ledger))


class Describer(Stage):
    """Asks about samples that do not say all of themselves."""

    def __init__(self, seed: int, writer: Writer) -> None:
        self._seed = seed
        self._writer = writer

    def take_counts(self) -> Mapping[str, float]:
        """What the writer counted."""
        return self._writer.take_counts()

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        samples = [work.parents[0] for work in batch]
        asked = [sample for sample in samples if not all(known_kinds(sample))]
        texts = iter(self._writer.write([self._request(sample) for sample in asked]))
        return [
            described(sample, known_kinds(sample), {})
            if all(known_kinds(sample))
            else _outcome(sample, next(texts))
            for sample in samples
        ]

    def _request(self, sample: Sample) -> TextRequest:
        names: list[Json] = [
            candidates[0].name if len(candidates) == 1 else "" for candidates in sample.subjects
        ]
        kinds = _kinds_of_case(sample)
        known: list[Json] = [
            {"kind": kind if name else "none", "name": name} for kind, name in zip(kinds, names, strict=True)
        ]
        return TextRequest(
            prompt="extract",
            facts={"instruction": sample.instruction, "published_names": names},
            known={"subjects": known},
            images=sample.references,
            seed=keyed_random("describe", self._seed, sample.key).randrange(1 << 31),
            check=partial(_check, len(sample.references)),
        )


def known_kinds(sample: Sample) -> list[str]:
    """The kind of each reference, where its one candidate has a name and a known kind; else ""."""
    return [
        known_kind(candidates[0]) if len(candidates) == 1 and candidates[0].name.strip() else ""
        for candidates in sample.subjects
    ]


def _kinds_of_case(sample: Sample) -> Sequence[str]:
    """The kinds that the case lists, where it lists one for each reference of any order alike."""
    kinds = sample.provenance.case.split("+")
    is_told = len(kinds) == len(sample.references) and len(set(kinds)) == 1 and kinds[0]
    return kinds if is_told else ["none"] * len(sample.references)


def _check(references: int, fields: Fields) -> None:
    if len(_subjects(fields)) != references:
        raise BadTextError("wrong_number", f"subjects: expected {references}, got {len(_subjects(fields))}")
    for number, entry in enumerate(_subjects(fields)):
        if entry["kind"] != "none":
            check_line(name_of(str(entry["name"])), f"subjects[{number}].name", 60)
            check_english(str(entry["name"]), f"subjects[{number}].name")
    if fields["scene"]:
        check_line(str(fields["scene"]), "scene", 200)


def _outcome(sample: Sample, text: Written | Reject) -> Sample | Reject:
    if isinstance(text, Reject):
        return text
    subjects = _subjects(text.fields)
    for number, entry in enumerate(subjects):
        if entry["kind"] == "none":
            return Reject(
                reason="no_subject", detail=f"{sample.key}.ref{number}: nothing in it that can be named"
            )
    named = tuple(
        (_candidate(before, name_of(str(entry["name"])), str(entry["kind"])),)
        for before, entry in zip(sample.subjects, subjects, strict=True)
    )
    kinds = [str(entry["kind"]) for entry in subjects]
    how = {"scene": text.fields["scene"], "made_by": text.made_by}
    return described(replace(sample, subjects=named), kinds, how)


def _candidate(before: Sequence[Candidate], name: str, kind: str) -> Candidate:
    box = before[0].box if len(before) == 1 else None
    return Candidate(name=name, category=kind, phrase=f"the {name}", box=box)


def described(sample: Sample, kinds: Sequence[str], how: Mapping[str, Json]) -> Sample:
    """The sample, its case told by the kinds of its references."""
    counted = "single" if len(kinds) == 1 else "multi"
    made = sample.provenance
    return replace(
        sample,
        provenance=replace(
            made,
            case=joined(kinds),
            task=made.task or f"composition_{counted}",
            origin={**made.origin, "described": how},
        ),
    )


def _subjects(fields: Fields) -> Sequence[Mapping[str, Json]]:
    return cast("Sequence[Mapping[str, Json]]", fields["subjects"])
