"""Phrases for the candidates of one image, as a writer gives them: each fits one, few rest on a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from datagen.candidate_boxes import Sought
from datagen.naming import phrase_of, rests_on_position, tells_nothing
from datagen.text_checks import BadTextError, check_phrase
from datagen.writers import Fields, TextRequest
from shards.sample import EncodedImage, Json


@dataclass(frozen=True)
class Worded:
    """Words for one candidate, and what they rest on: name, attribute, size or position."""

    phrase: str
    cue: str


def ask_phrases(
    sought: Sequence[Sought],
    images: tuple[EncodedImage, ...],
    picture: int,
    seed: int,
    *,
    may_use_position: bool,
) -> TextRequest:
    """The request for a phrase for each candidate; the first one's is the instruction's.

    Candidates may be called the same: the writer is told them as it is when it is asked for their boxes. The
    boxes are left out, so that no phrase depends on whether they were asked for.

    Args:
        sought: the candidates.
        images: that the writer is shown.
        picture: number, from 1, of the image that shows them.
        seed: of the request.
        may_use_position: whether the first phrase may rest on a position alone.
    """
    allowed: list[Json] = ["attribute", "size", *(["position"] if may_use_position else [])]
    told = [each.as_json(number) for number, each in enumerate(sought, start=1)]
    return TextRequest(
        prompt="phrases",
        facts={"picture": picture, "subjects": told, "allowed": allowed},
        images=images,
        seed=seed,
        check=partial(_check, [each.name for each in sought], may_use_position),
    )


def _check(names: Sequence[str], may_use_position: bool, fields: Fields) -> None:
    phrases = _phrases(fields)
    if len(phrases) != len(names):
        raise BadTextError("wrong_number", f"phrases: expected {len(names)}, got {len(phrases)}")
    for phrase in phrases:
        check_phrase(phrase, "phrase")
    if len({phrase.lower() for phrase in phrases}) < len(phrases):
        raise BadTextError("ambiguous_phrase", f"phrases: expected all different, got {', '.join(phrases)}")
    bare = {f"the {name.lower()}" for name in names[1:]}
    if phrases[0].lower() in bare or tells_nothing(phrases[0], names[0], names[1:]):
        raise BadTextError(
            "ambiguous_phrase", f"expected words that fit {names[0]!r} alone, got {phrases[0]!r}"
        )
    if not may_use_position and rests_on_position(phrases[0], names):
        raise BadTextError("position", f"expected no position alone, got {phrases[0]!r}")


def read_phrases(fields: Fields, names: Sequence[str]) -> list[Worded]:
    """The phrases; what rests on a position alone says so, whatever the writer says."""
    cues = [str(entry["cue"]) for entry in _entries(fields)]
    return [
        Worded(phrase, "position" if rests_on_position(phrase, names) else _other_cue(cue))
        for phrase, cue in zip(_phrases(fields), cues, strict=True)
    ]


def _phrases(fields: Fields) -> list[str]:
    return [phrase_of(str(entry["phrase"])) for entry in _entries(fields)]


def _other_cue(cue: str) -> str:
    return "attribute" if cue == "position" else cue


def _entries(fields: Fields) -> Sequence[Mapping[str, Json]]:
    return cast("Sequence[Mapping[str, Json]]", fields["phrases"])
