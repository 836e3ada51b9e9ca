"""The right answers: what a judge should say of a rendered sample, by what is true of its pictures."""

from __future__ import annotations

from collections.abc import Mapping

from filters.multi_answers import is_multi, multi_answer
from shards.sample import Sample

CLEAN = "none"

# How bad each fault is on the scale of 0 to 4; a fault that is not named here is as bad as can be.
CONSISTENCY: Mapping[str, float] = {
    CLEAN: 4,
    "colour_variant": 2,
    "other_design": 2,
    "extra_subject": 2,
    "swapped_order": 2,
    "wrong_subject": 1,
    "copy_paste": 1,
}
FOLLOWING: Mapping[str, float] = {
    CLEAN: 4,
    "colour_variant": 4,
    "other_design": 4,
    "extra_subject": 2,
    "swapped_order": 2,
    "wrong_subject": 2,
    "missing_subject": 1,
}


WHOLE_SAMPLE = ("consistency", "instruction_following", "copy_paste")
OF_A_REFERENCE = ("presence", "identity", "colour")


def right_answer(question: str, sample: Sample, reference: int = -1, candidate: int = -1) -> float | None:
    """The value of the right label; None where the truth is not known or does not tell.

    Args:
        question: id of a shipped question.
        sample: with its truth.
        reference: asked about, from 0; -1 for the whole sample.
        candidate: asked about, from 0; -1 for the whole reference.
    """
    truth = sample.provenance.truth
    if not truth:
        return None
    if is_multi(sample):
        found = multi_answer(question, sample, reference, candidate)
        if found is not None or question not in (*WHOLE_SAMPLE, *OF_A_REFERENCE):
            return found
    fault = str(truth.get("fault") or CLEAN)
    if question == "consistency":
        return CONSISTENCY.get(fault, 0)
    if question == "instruction_following":
        return FOLLOWING.get(fault, 0)
    if question == "copy_paste":
        return float(fault == "copy_paste")
    if reference < 0:
        return None
    is_shown = _is_shown(sample, fault, reference)
    if question == "target_shows":
        return float(is_shown and sample.subjects[reference][candidate].is_target)
    other = {"presence": "", "identity": "other_design", "colour": "colour_variant"}.get(question)
    if other is None:
        return None
    return float(is_shown and not (fault == other and _faulty(sample) == reference))


def _is_shown(sample: Sample, fault: str, reference: int) -> bool:
    """Whether the target shows what the reference gives."""
    if fault == "copy_paste":
        return sample.provenance.truth.get("copied_reference") == reference
    return not (fault in ("wrong_subject", "missing_subject") and _faulty(sample) == reference)


def _faulty(sample: Sample) -> int:
    """The reference that the fault is about; truth counts subjects, and a scene is none."""
    number = sample.provenance.truth.get("faulty")
    held = sample.provenance.truth.get("references")
    if not isinstance(number, int) or not isinstance(held, list):
        return -1
    return [place for place, subjects in enumerate(held) if subjects][number]
