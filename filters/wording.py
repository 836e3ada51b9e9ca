"""What an instruction fixes of the positions in the target: which reference stands left of which."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shards.sample import Candidate

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_WORDS = re.compile(r"\bleft\b", re.IGNORECASE)
_FROM_RIGHT = re.compile(r"\b(?:from )?right to left\b|\bto the right of\b", re.IGNORECASE)
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def fixed_order(instruction: str, subjects: Sequence[Sequence[Candidate]]) -> tuple[int, ...]:
    """References from left to right as the instruction wants them, from 0; empty where it fixes nothing.

    A phrase that picks a candidate by its place ("the left one of image 1") says nothing of the target, so
    claimed phrases are taken out first.

    >>> fox, mug = (Candidate(name="fox"),), (Candidate(name="mug"),)
    >>> fixed_order("Place the mug in image 2 on the left and the fox in image 1 on the right.", [fox, mug])
    (1, 0)
    >>> fixed_order("The fox to the right of the mug.", [fox, mug])
    (1, 0)
    >>> fixed_order("The fox and the mug in a park.", [fox, mug])
    ()
    """
    places = {
        number: place
        for number in range(len(subjects))
        if (place := _mention(instruction, number, subjects)) >= 0
    }
    plain = _without_phrases(instruction, subjects)
    if not (_WORDS.search(plain) or _FROM_RIGHT.search(plain)) or len(places) < 2:
        return ()
    mentioned = tuple(sorted(places, key=lambda number: places[number]))
    return mentioned[::-1] if _is_reversed(plain) else mentioned


def _is_reversed(plain: str) -> bool:
    if re.search(r"\bleft to right\b", plain, re.IGNORECASE):
        return False
    if _FROM_RIGHT.search(plain):
        return True
    sides = [side.lower() for side in _SIDE.findall(plain)]
    return sides[:2] == ["right", "left"]


def _without_phrases(instruction: str, subjects: Sequence[Sequence[Candidate]]) -> str:
    phrases = sorted(
        {c.phrase for candidates in subjects for c in candidates if c.phrase}, key=len, reverse=True
    )
    for phrase in phrases:
        instruction = re.sub(re.escape(phrase), "it", instruction, flags=re.IGNORECASE)
    return instruction


def _mention(instruction: str, number: int, subjects: Sequence[Sequence[Candidate]]) -> int:
    """Where the instruction first speaks of reference `number`: by number if it does, else by name; or -1."""
    counted = re.search(
        rf"(?:image|photo|picture)[ _]{number + 1}\b|\b{ORDINALS[number % 8]} (?:image|photo|picture)",
        instruction,
        re.IGNORECASE,
    )
    if counted:
        return counted.start()
    names = [words for c in subjects[number] if c.is_target for words in (c.phrase, c.name) if words]
    found = [m.start() for name in names if (m := re.search(re.escape(name), instruction, re.IGNORECASE))]
    return min(found, default=-1)
