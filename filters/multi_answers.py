"""The right answers about multi-candidate samples, by what is true of their pictures and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from filters.checks import ALL, CHECKS
from shards.sample import Json, Sample

FAULTS_OF: Mapping[str, tuple[str, ...]] = {
    "check_original": ("original_changed",),
    "check_candidates": ("nothing_added", "wrong_category"),
    "check_phrase": ("ambiguous_phrase",),
    "check_numbers": ("wrong_index",),
    "check_target": ("target_shows_distractor", "two_candidates"),
    "check_copy": ("copy_paste",),
}
"""The faults that each check is there to find. A fault may fail another check too: a copied reference shows
every candidate of it."""


def is_multi(sample: Sample) -> bool:
    """Whether a sample's references show several candidates."""
    return sample.provenance.task.startswith("distinction")


def multi_answer(question: str, sample: Sample, reference: int, candidate: int) -> float | None:
    """The value of the right label; None where the truth is not known or does not tell.

    A fault that came with the parent says nothing here: what of it is still to be seen is not recorded.
    """
    truth = sample.provenance.truth
    if truth.get("inherited"):
        return None
    fault = str(truth.get("fault"))
    if question in CHECKS or question == ALL:
        return _check(question, sample, fault, reference)
    if question in ("numbers_right", "copy_paste"):
        return float((fault != "wrong_index") if question == "numbers_right" else (fault == "copy_paste"))
    if question in ("original_kept", "edit_raw_first", "edit_raw_last") and reference >= 0:
        return float(truth.get("changed_reference") != reference)
    if candidate < 0 or not _ids(truth, reference):
        return None
    return _of_candidate(question, sample, reference, candidate)


def _of_candidate(question: str, sample: Sample, reference: int, candidate: int) -> float | None:
    truth = sample.provenance.truth
    if question == "candidate_present":
        return _is_present(truth, reference, candidate)
    if question == "phrase_describes":
        return float(_is_described(sample, str(truth.get("fault")), reference, candidate))
    if question == "target_shows":
        return _is_shown(truth, reference, candidate)
    return None


def _check(check: str, sample: Sample, fault: str, reference: int) -> float | None:
    """1 where all is well."""
    if check == ALL:
        found = [_check(name, sample, fault, place) for name in CHECKS for place in _places(name, sample)]
        if 0 in found:
            return 0.0
        return None if None in found else 1.0
    if check in ("check_numbers", "check_copy"):
        return float(fault not in FAULTS_OF[check])
    candidates = range(len(sample.subjects[reference]))
    truth = sample.provenance.truth
    if check == "check_original":
        return float(truth.get("changed_reference") != reference)
    if check == "check_phrase":
        return float(fault != "ambiguous_phrase" or len(candidates) < 2)
    if not _ids(truth, reference):
        return 1.0  # a scene
    if check == "check_candidates":
        present = [_is_present(truth, reference, number) for number in candidates]
        return 0.0 if 0 in present else None if None in present else 1.0
    shown = [_is_shown(truth, reference, number) for number in candidates]
    if None in shown:
        return None
    wanted = [float(candidate.is_target) for candidate in sample.subjects[reference]]
    return float(shown == wanted)


def _places(check: str, sample: Sample) -> Sequence[int]:
    return (-1,) if check in ("check_numbers", "check_copy") else range(len(sample.references))


def _ids(truth: Mapping[str, Json], reference: int) -> Sequence[str]:
    """What a reference really shows, in the order of its candidates."""
    held = truth.get("references")
    return cast("Sequence[Sequence[str]]", held)[reference] if isinstance(held, Sequence) else ()


def _is_present(truth: Mapping[str, Json], reference: int, candidate: int) -> float | None:
    """Whether a reference shows a candidate; what an editor put in its place may be called the same."""
    if candidate >= len(_ids(truth, reference)):
        return 0.0  # nothing was added
    if truth.get("changed_reference") == reference and candidate == 0 and truth.get("change") == "subject":
        return None
    return float((truth.get("faulty_reference"), truth.get("faulty_candidate")) != (reference, candidate))


def _is_shown(truth: Mapping[str, Json], reference: int, candidate: int) -> float | None:
    """Whether the target shows a candidate as its reference does; one that the editor changed is none that
    the target could show or not."""
    if truth.get("changed_reference") == reference and candidate == 0:
        return None
    ids = _ids(truth, reference)
    shown = [entry["subject"] for entry in cast("Sequence[Mapping[str, Json]]", truth.get("target", ()))]
    return float(candidate < len(ids) and ids[candidate] in shown)


def _is_described(sample: Sample, fault: str, reference: int, candidate: int) -> bool:
    """An ambiguous phrase is a word that the chosen one shares with others: of its category, if any is."""
    candidates = sample.subjects[reference]
    asked = candidates[candidate]
    if asked.is_target or fault != "ambiguous_phrase":
        return asked.is_target
    category = next(c.category for c in candidates if c.is_target)
    alike = [c for c in candidates if not c.is_target and c.category == category]
    return asked in alike or not alike
