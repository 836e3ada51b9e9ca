"""Referring phrases read back: whether "the larger animal" can mean a candidate, by name, colour and box."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

CLEARLY = 1.2  # of areas: nearer sizes fit "the larger one" both
APART = 0.05  # of the picture's width, between centres: nearer places fit "the left one" both
ALIKE = tuple(
    frozenset(pair.split())
    for pair in (
        "orange yellow", "orange brown", "orange red", "orange beige", "yellow beige", "brown beige",
        "brown red", "brown black", "red pink", "pink purple", "pink beige", "purple blue", "purple black",
        "white grey", "grey black", "grey blue", "white beige", "blue green", "yellow green",
    )
)  # fmt: skip
"""Colours that one may take for each other."""

COLOURS = frozenset().union(*ALIKE) | {"gold", "silver", "turquoise"}

_SIZES = {"larger": 1, "largest": 1, "bigger": 1, "biggest": 1, "smaller": -1, "smallest": -1}
_SIDES = {"left": -1, "leftmost": -1, "left-hand": -1, "right": 1, "rightmost": 1, "right-hand": 1}
_PLACE = re.compile(r"^(?P<noun>.+) (?:on|at|to) the (?:far )?(?P<side>left|right)(?: side)?$")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A candidate as far as it is known.

    Attributes:
        nouns: all it can be called; none where its name is unknown.
        colour: its one colour; "" where it has none.
        box: (left, top, right, bottom), in any one unit, where known.
    """

    nouns: frozenset[str]
    colour: str = ""
    box: tuple[float, float, float, float] | None = None

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box or (0, 0, 0, 0)
        return (right - left) * (bottom - top)

    @property
    def centre(self) -> float:
        left, _, right, _ = self.box or (0, 0, 0, 0)
        return (left + right) / 2


def describes(phrase: str, number: int, candidates: Sequence[Known], width: float) -> bool | None:
    """Whether `phrase` can mean candidate `number` of all those of an image; None where that cannot be told.

    >>> fox = Known(nouns=frozenset({"fox", "animal"}), colour="orange", box=(0, 0, 40, 40))
    >>> cat = Known(nouns=frozenset({"cat", "animal"}), colour="grey", box=(60, 0, 80, 20))
    >>> [describes("the larger animal", number, [fox, cat], 100) for number in (0, 1)]
    [True, False]
    >>> [describes("the animal", number, [fox, cat], 100) for number in (0, 1)]
    [True, True]
    >>> [describes("the animal on the right", number, [fox, cat], 100) for number in (0, 1)]
    [False, True]
    """
    words = re.sub(r"^the ", "", phrase.strip(), flags=re.IGNORECASE)
    own = candidates[number]
    if not own.nouns:
        return None
    if any(words in candidate.nouns for candidate in candidates):
        return words in own.nouns
    placed = _PLACE.match(words)
    if placed:
        return _stands(placed["noun"], _SIDES[placed["side"]], number, candidates, width)
    cue, _, noun = words.partition(" ")
    if cue == "middle" or cue in _SIDES:
        return _stands(noun, _SIDES.get(cue, 0), number, candidates, width)
    if cue in _SIZES:
        return _is_sized(noun, _SIZES[cue], number, candidates)
    return _is_coloured(words, own)


def _rivals(noun: str, number: int, candidates: Sequence[Known]) -> list[Known]:
    """The others that the noun fits too, and those of unknown name."""
    return [c for n, c in enumerate(candidates) if n != number and (noun in c.nouns or not c.nouns)]


def _is_sized(noun: str, sign: int, number: int, candidates: Sequence[Known]) -> bool | None:
    own = candidates[number]
    if noun not in own.nouns:
        return False
    rivals = _rivals(noun, number, candidates)
    if own.box is None or any(rival.box is None for rival in rivals):
        return None
    if sign > 0:
        return all(own.area * CLEARLY >= rival.area for rival in rivals)
    return all(own.area <= rival.area * CLEARLY for rival in rivals)


def _stands(noun: str, side: int, number: int, candidates: Sequence[Known], width: float) -> bool | None:
    own = candidates[number]
    if noun not in own.nouns:
        return False
    rivals = _rivals(noun, number, candidates)
    if own.box is None or any(rival.box is None for rival in rivals):
        return None
    steps = [(rival.centre - own.centre) / width for rival in rivals]
    if side:
        return all(step * side <= APART for step in steps)
    return any(step > -APART for step in steps) and any(step < APART for step in steps)


def _is_coloured(words: str, own: Known) -> bool:
    """A colour before a noun; a colour that one may take for the candidate's fits too."""
    noun = next((noun for noun in own.nouns if words.endswith(f" {noun}")), None)
    if noun is None:
        return False
    colour = words[: -len(noun) - 1].split()[-1]
    if colour not in COLOURS:
        return False  # another word: "the soft ice cream" is no ice cream of a colour
    shown = own.colour.split()[-1] if own.colour else ""
    return not shown or colour == shown or frozenset((colour, shown)) in ALIKE
