"""The checks of multi-candidate samples: from a judge's answers to one value a reference or sample; pure.

Each check is a table as a question's is, so that `select` decides over it. Its value is the probability that
all is well, of the least sure answer that it rests on: at 0.5 every answer is on the right side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from filters.judge import WHOLE, Row
from filters.wording import number_fault
from shards.sample import Candidate, Sample

SCENE = "scene"  # category of a reference that gives the place and no subject

QUESTIONS = (
    "candidate_present",
    "phrase_describes",
    "target_shows",
    "numbers_right",
    "copy_paste",
    "original_kept",
    "edit_raw_first",
    "edit_raw_last",
)
"""What a judge is asked, in this order: the last ones show other pictures, and end the use of its cache."""

CHECKS: Mapping[str, str] = {
    "check_original": "the editor left the original candidate as it was",
    "check_candidates": "every claimed candidate is there, and of its category",
    "check_phrase": "the phrase fits exactly one candidate",
    "check_numbers": "image numbers in the instruction are right",
    "check_target": "the target shows the chosen candidate and no other",
    "check_copy": "the target is no copy of a reference",
}
ALL = "check_all"
"""The least of a sample's checks."""
LIKENESS = "original_likeness"
"""Measured beside a served judge's answers: the original candidate of an edited reference against the raw one
(filters/likeness.py)."""
LEAST_LIKENESS = 0.5
"""Below it the original is another thing, whatever a judge says. Of 228 crops of photographs and cut-outs,
drifted by up to 6 % and lit by up to a tenth more, none was below 0.6; of 114 that held another picture's
content 94 were below 0.5."""
POSITION = "rests_on_position"
"""Of each sample whether a phrase of its instruction tells its candidate by a position alone: 1 or 0, as its
builder says; 0 where nobody does."""

Read: TypeAlias = Mapping[str, Any]  # a row as an engine or a table gives it
Rows: TypeAlias = Mapping[str, Sequence[Read]]


@dataclass(frozen=True)
class Answers:
    """A sample's answers by question and place."""

    rows: Mapping[tuple[str, int, int], Read]

    @classmethod
    def of(cls, rows: Rows) -> Answers:
        return cls(
            {(q, row["reference"], row["candidate"]): row for q, found in rows.items() for row in found}
        )

    def at(self, question: str, reference: int = WHOLE, candidate: int = WHOLE) -> list[Read]:
        """The answer at a place; nothing where it was not asked."""
        row = self.rows.get((question, reference, candidate))
        return [] if row is None else [row]


def is_asked(sample: Sample, question: str, reference: int, candidate: int, known: Iterable[int]) -> bool:
    """Whether `verify` asks a question at a place: only where its answer can decide something.

    Args:
        sample: that is verified.
        question: of `QUESTIONS`.
        reference: from 0; -1 for the whole sample.
        candidate: from 0; -1 for the whole reference.
        known: references of which it is known what they were before, edited or not.
    """
    if reference == WHOLE:
        return True
    candidates = sample.subjects[reference]
    if candidate != WHOLE and candidates[candidate].category == SCENE:
        return False
    if question == "phrase_describes":
        return len(candidates) > 1 and any(c.is_target for c in candidates)
    if question == "original_kept":
        return len(candidates) > 1 and not is_swap(sample) and reference not in known
    return True


def is_swap(sample: Sample) -> bool:
    """Whether no pixel of a sample was edited: its references and target are its parent's, exchanged."""
    return sample.provenance.origin.get("method") == "swap"


def position_row(sample: Sample) -> Row:
    """The row of `POSITION`.

    Builders say what a phrase rests on, of a swap in its origin, of an addition in those of its edits.
    """
    origin = sample.provenance.origin
    edits = origin.get("edits")
    said = [origin, *(edits if isinstance(edits, Sequence) else ())]
    rests = any(isinstance(each, Mapping) and each.get("cue") == "position" for each in said)
    place = {"key": sample.key, "reference": WHOLE, "candidate": WHOLE}
    value = float(rests)
    return place | {"probabilities": [], "mode": value, "expected": value, "label_mass": 1.0, "status": "ok"}


def check_rows(sample: Sample, rows: Rows) -> dict[str, list[Row]]:
    """Rows of every check, and of the least of them.

    Args:
        sample: that was asked about.
        rows: of the questions, and of what was measured, by name, of this sample alone.
    """
    answers = Answers.of(rows)
    found: dict[str, list[Row]] = {name: [] for name in CHECKS}
    for reference, candidates in enumerate(sample.subjects):
        place = {"key": sample.key, "reference": reference, "candidate": WHOLE}
        found["check_original"].append(place | _original(answers, reference))
        found["check_candidates"].append(
            place | _all_yes(answers, "candidate_present", reference, candidates)
        )
        found["check_phrase"].append(place | _only_target(answers, "phrase_describes", reference, candidates))
        found["check_target"].append(place | _only_target(answers, "target_shows", reference, candidates))
    whole = {"key": sample.key, "reference": WHOLE, "candidate": WHOLE}
    parsed = float(not number_fault(sample.instruction, sample.subjects))
    found["check_numbers"].append(whole | _least(answers.at("numbers_right"), limit=parsed))
    found["check_copy"].append(whole | _least([], answers.at("copy_paste")))
    return found | {ALL: [whole | _least([row for each in found.values() for row in each])]}


def _original(answers: Answers, reference: int) -> Row:
    asked = ("edit_raw_first", "edit_raw_last", "original_kept")
    found = [row["expected"] for row in answers.at(LIKENESS, reference) if row["status"] == "ok"]
    limit = min((value for value in found if value < LEAST_LIKENESS), default=1.0)
    return _least([row for question in asked for row in answers.at(question, reference)], limit=limit)


def _all_yes(answers: Answers, question: str, reference: int, candidates: Sequence[Candidate]) -> Row:
    return _least(
        [row for number in range(len(candidates)) for row in answers.at(question, reference, number)]
    )


def _only_target(answers: Answers, question: str, reference: int, candidates: Sequence[Candidate]) -> Row:
    """Yes of the target, no of each other."""
    yes = [row for n, c in enumerate(candidates) if c.is_target for row in answers.at(question, reference, n)]
    no = [
        row for n, c in enumerate(candidates) if not c.is_target for row in answers.at(question, reference, n)
    ]
    return _least(yes, no)


def _least(yes: Sequence[Read], no: Sequence[Read] = (), *, limit: float = 1.0) -> Row:
    """The least sure of answers that should be yes and of those that should be no; unreadable if one is.

    Where nothing was asked, nothing can be wrong, and the value is `limit`.
    """
    rows = [*yes, *no]
    unread = next((row for row in rows if row["status"] != "ok"), None)
    mass = min((row["label_mass"] for row in rows), default=1.0)
    if unread:
        return unread_row(unread["status"], mass)
    value = min([limit, *(row["expected"] for row in yes), *(1 - row["expected"] for row in no)])
    return value_row(value, mass)


def value_row(value: float, mass: float) -> Row:
    """A row of a value in 0..1 that was found."""
    return {
        "probabilities": [1 - value, value],
        "mode": float(value >= 0.5),
        "expected": value,
        "label_mass": mass,
        "status": "ok",
    }


def unread_row(status: str, mass: float) -> Row:
    """A row without a value, and why."""
    return {"probabilities": [], "mode": None, "expected": None, "label_mass": mass, "status": status}
