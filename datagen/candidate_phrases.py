"""Phrases for the candidates of one image, as a writer gives them: each fits one, few rest on a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from datagen.text_checks import BadTextError, check_phrase, rests_on_position
from datagen.writers import Fields, TextRequest
from shards.sample import EncodedImage, Json


@dataclass(frozen=True)
class Worded:
    """Words for one candidate, and what they rest on: name, attribute, size or position."""

    phrase: str
    cue: str


def ask_phrases(
    names: Sequence[str],
    images: tuple[EncodedImage, ...],
    seed: int,
    *,
    may_use_position: bool,
    boxes: Sequence[Sequence[int] | None] = (),
) -> TextRequest:
    """The request for a phrase for each candidate; the first one's is the instruction's.

    Args:
        names: of the candidates of the last image.
        images: the picture, after what it was before candidates were added.
        seed: of the request.
        may_use_position: whether the first phrase may rest on a position alone.
        boxes: where each candidate is, where that is known.
    """
    allowed = ["attribute", "size", *(["position"] if may_use_position else [])]
    return TextRequest(
        prompt="phrases",
        facts={"subjects": [{"name": name} for name in names], "allowed": allowed},
        known={"boxes": list(boxes)},
        images=images,
        seed=seed,
        check=partial(_check, names, may_use_position),
    )


def _check(names: Sequence[str], may_use_position: bool, fields: Fields) -> None:
    phrases = [str(entry["phrase"]) for entry in _entries(fields)]
    if len(phrases) != len(names):
        raise BadTextError("wrong_number", f"phrases: expected {len(names)}, got {len(phrases)}")
    for phrase in phrases:
        check_phrase(phrase, "phrase")
    if len({phrase.lower() for phrase in phrases}) < len(phrases):
        raise BadTextError("ambiguous_phrase", f"phrases: expected all different, got {', '.join(phrases)}")
    bare = {f"the {name.lower()}" for name in names[1:]}
    if phrases[0].lower() in bare:
        raise BadTextError(
            "ambiguous_phrase", f"expected words that fit {names[0]!r} alone, got {phrases[0]!r}"
        )
    if not may_use_position and rests_on_position(phrases[0], names):
        raise BadTextError("position", f"expected no position alone, got {phrases[0]!r}")


def read_phrases(fields: Fields, names: Sequence[str]) -> list[Worded]:
    """The phrases; what rests on a position alone says so, whatever the writer says."""
    return [
        Worded(phrase, "position" if rests_on_position(phrase, names) else _other_cue(str(entry["cue"])))
        for entry in _entries(fields)
        if (phrase := str(entry["phrase"]))
    ]


def _other_cue(cue: str) -> str:
    return "attribute" if cue == "position" else cue


def _entries(fields: Fields) -> Sequence[Mapping[str, Json]]:
    return cast("Sequence[Mapping[str, Json]]", fields["phrases"])
