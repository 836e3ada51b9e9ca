"""The cases of an evaluation: which sample was drawn for which, and of which there is no picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from filters.benchmarks import COMPOSITION, Picture
from filters.claims import read_claims
from filters.evaluated import Coverage
from filters.prints import samples_below
from filters.scored import read_samples
from shards.driver_step import Input
from shards.finish import read_rejects
from shards.index import Directory
from shards.sample import Json, Sample
from shards.stage import content_key

DRAWN = ("draw", "draw_benchmark")  # types of steps whose rejects are pictures that a model did not draw
NO_CASES = ("duplicate_record",)  # reasons of rejects that are another case once more
ROUND = re.compile(r"-r\d+$")


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the evaluated samples claim, and the cases that there are.

    Attributes:
        by: column that names the subtasks.
        kept: the samples that are evaluated, without their pictures.
        contents: by key what stands for what a sample says.
        cases: of all samples of the directory.
        undrawn: cases of which nothing could be drawn.
        undrawn_pictures: that could not be drawn of the other cases.
        unselected_pictures: that are not evaluated, of cases of which others are.
    """

    by: str
    kept: Sequence[Sample]
    contents: Mapping[str, str]
    cases: frozenset[str]
    undrawn: frozenset[str]
    undrawn_pictures: int
    unselected_pictures: int

    @classmethod
    def of(cls, of: Input, by: str) -> Claims:
        """Of a directory of samples, or of those that a selection keeps."""
        directory = samples_below(of)
        opened = Directory(directory.storage)
        held = list(read_claims(opened, set(opened.places)))
        keys = set(read_samples(of).keys.to_pylist())
        kept = sorted((sample for sample in held if sample.key in keys), key=lambda sample: sample.key)
        rejected: list[str] = []
        if directory.manifest.type in DRAWN:
            rejects = read_rejects(directory.storage)
            rejected = [row["key"] for row in rejects if row["reason"] not in NO_CASES]
        cases = frozenset(map(case_of, held))
        lost = cases_lost(cases, rejected)
        seen = set(map(case_of, kept))
        return cls(
            by=by,
            kept=kept,
            contents={sample.key: _content(opened, sample) for sample in kept},
            cases=cases,
            undrawn=frozenset(lost) - cases,
            undrawn_pictures=sum(case in cases for case in lost),
            unselected_pictures=sum(case_of(sample) in seen for sample in held) - len(kept),
        )

    def place(self, sample: Sample) -> tuple[str, str]:
        """The case that a sample was drawn for, and its subtask."""
        found = sample.provenance
        return case_of(sample), found.task if self.by == "task" else found.case

    def coverage(self, pictures: Sequence[Picture], unread: int) -> Coverage:
        """How many of the cases stand behind the figures."""
        seen = {picture.case for picture in pictures}
        scored = {picture.case for picture in pictures if COMPOSITION in picture.scores}
        return Coverage(
            cases=len(self.cases) + len(self.undrawn),
            scored=len(scored),
            undrawn=len(self.undrawn),
            unselected=len(self.cases - seen),
            unreadable=len(seen - scored),
            undrawn_pictures=self.undrawn_pictures,
            unselected_pictures=self.unselected_pictures,
            pictures=len(pictures),
            unreadable_pictures=unread,
        )


def case_of(sample: Sample) -> str:
    """The key of the case that a sample was drawn for; of one that nobody drew, its own."""
    found = sample.provenance.origin.get("case_key")
    return found if isinstance(found, str) else sample.key


def _content(directory: Directory, sample: Sample) -> str:
    """The same for samples of the same instruction, references and candidates, whatever their targets."""
    members = directory.row(*directory.places[sample.key])["members"]
    references = [each["sha256"].hex() for each in members if each["name"].split(".")[1].startswith("ref")]
    candidates: list[Json] = [[[each.name, each.is_target] for each in some] for some in sample.subjects]
    return content_key("case", sample.instruction, references, candidates)


def cases_lost(drawn: Set[str], rejected: Sequence[str]) -> list[str]:
    """The case of each picture that was rejected.

    A round's key is that of its case with `-r` and its number behind it; a case's key may end so by itself.

    >>> cases_lost({"fox"}, ["fox-r1", "cat", "cat-r1", "hen-r1"])
    ['fox', 'cat', 'cat', 'hen-r1']
    """
    known = drawn | set(rejected)
    firsts = [ROUND.sub("", key) for key in rejected]
    return [first if first in known else key for first, key in zip(firsts, rejected, strict=True)]
