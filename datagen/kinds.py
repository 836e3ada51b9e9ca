"""Kinds: which of a sample's references show a character, an object, a scene, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from datagen.cases import CASES
from datagen.catalogue import EMBEDDED, KINDS, load_catalogue
from datagen.parents import UnfitParentError
from shards.sample import Candidate, Sample
from shards.stage import IndexRow

ADD_CASES = (
    "character+character",
    "character+object",
    "object+object",
    "character+scene",
    "object+scene",
)
SWAP_CASES = ("character", "object")
"""The case types of multi-candidate samples. Source: Scone (arXiv 2512.12675), section 5.1: two with one
subject, made by swap, and five with several, made by add."""


@dataclass(frozen=True)
class Named:
    """The one candidate of a reference.

    Attributes:
        name: what it is called.
        kind: character, object or scene.
        phrase: how the instruction speaks of it.
        category: as the sample has it.
    """

    name: str
    kind: str
    phrase: str
    category: str


def joined(kinds: Sequence[str]) -> str:
    """The case of a sample with these kinds, one for each reference.

    >>> joined(["object", "scene", "character", "object"])
    'character+object+object+scene'
    """
    return "+".join(sorted(kinds, key=KINDS.index))


def kinds_of_row(row: IndexRow) -> list[str] | None:
    """The kind of each reference in no order, where the index tells them all.

    A case lists every reference ("object+object"), or each kind once ("object", of three references).
    """
    kinds = row.case.split("+")
    if any(kind not in KINDS for kind in kinds):
        return None
    if len(kinds) == row.references:
        return kinds
    placed = [kind for kind in CASES.get(row.case, ()) if kind != "scene"]
    if len(placed) != 1 or row.references < len(kinds):
        return None
    return placed * (row.references - kinds.count("scene")) + ["scene"] * kinds.count("scene")


def add_case(kinds: Sequence[str]) -> str:
    """The case type of what `add` makes of a sample with these kinds; "" for none of the five.

    >>> add_case(["object"] * 3), add_case(["character", "object", "scene"]), add_case(["object"])
    ('object+object', '', '')
    """
    placed = sorted(kind for kind in kinds if kind != "scene")
    different = sorted(set(placed))
    if len(placed) < len(kinds):
        case = "+".join([*different, "scene"])
    else:
        case = "+".join(different * 2 if len(different) == 1 and len(placed) > 1 else different)
    return case if case in ADD_CASES else ""


def name_all(sample: Sample) -> list[Named]:
    """Each reference's one candidate.

    Raises:
        UnfitParentError: a reference has not exactly one, it has no name, or its kind is unknown.
    """
    return [_named(f"{sample.key}.ref{n}", found) for n, found in enumerate(sample.subjects)]


def _named(where: str, candidates: Sequence[Candidate]) -> Named:
    if len(candidates) != 1:
        reason = "several_candidates" if candidates else "no_subject"
        raise UnfitParentError(reason, f"{where}: expected one candidate, got {len(candidates)}")
    (candidate,) = candidates
    kind = known_kind(candidate)
    if not kind or not candidate.name.strip():
        raise UnfitParentError(
            "no_subject", f"{where}: expected a name and a kind, got {candidate.name!r}; run `describe` first"
        )
    phrase = candidate.phrase or f"the {candidate.name}"
    return Named(candidate.name, kind, phrase, candidate.category or kind)


def known_kind(candidate: Candidate) -> str:
    """What kind a candidate is, by its category or by the embedded catalogue; "" where neither tells."""
    if candidate.category in KINDS:
        return candidate.category
    return _catalogue_kinds().get((candidate.name, candidate.category), "")


@cache
def _catalogue_kinds() -> dict[tuple[str, str], str]:
    return {(s.name, s.category): s.kind for s in load_catalogue(EMBEDDED).subjects}
