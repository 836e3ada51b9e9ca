"""What names and phrases mean: which others they could mean too, and what a phrase rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WIDE = "one person people figure character animal object thing item subject"
WIDE = frozenset(_WIDE.split())
"""Words for anything."""
_IRREGULAR = {"men": "man", "women": "woman", "children": "child", "people": "person"}
_PLURAL = re.compile(r"(?<=[^s])s$")
_POSITION = re.compile(
    r"\b(?:left|right|leftmost|rightmost|middle|centre|center|central|top|bottom|upper|lower|foreground|background"
    r"|front|behind|back|nearest|closest|farthest|first|second|third|corner|edge)(?:-hand)?\b",
    re.IGNORECASE,
)
_EMPTY = re.compile(
    r"\b(?:the|a|an|one|of|in|on|at|to|from|side|far|part|half|image|picture|photo|standing|sitting|that|is|which"
    r"|located|placed|positioned|most|very)\b",
    re.IGNORECASE,
)


def name_of(text: str) -> str:
    """A name as a sample has it, of one that a model gave.

    >>> name_of("The red kettle."), name_of("anchor")
    ('red kettle', 'anchor')
    """
    return re.sub(r"^(?:the|an?)\s+", "", text.rstrip(" .,;:!"), flags=re.IGNORECASE)


def phrase_of(text: str) -> str:
    """A phrase as it stands in the middle of an instruction, of one that a model gave.

    >>> phrase_of("A woman in a red coat."), phrase_of("her coat")
    ('the woman in a red coat', 'her coat')
    """
    bare = name_of(text)
    return f"the {bare}" if bare != text.rstrip(" .,;:!") else bare


def is_ambiguous(name: str, others: Sequence[str]) -> bool:
    """Whether a name could also mean one of the others: they end in the same noun, or one holds the other.

    >>> is_ambiguous("old chef", ["young chef"]), is_ambiguous("chef", ["teapot"])
    (True, False)
    >>> is_ambiguous("women", ["young woman"])
    True
    """
    words = _nouns(name)
    for other in others:
        rest = _nouns(other)
        if not words or not rest or words[-1] == rest[-1]:
            return True
        if set(words) <= set(rest) or set(rest) <= set(words):
            return True
    return False


def _nouns(name: str) -> list[str]:
    """The words of a name, each in the singular by a simple rule that treats all alike."""
    return [_IRREGULAR.get(word) or _PLURAL.sub("", word) for word in name.lower().split()]


def rests_on_position(phrase: str, names: Sequence[str]) -> bool:
    """Whether a phrase tells its subject from others by a position alone.

    >>> rests_on_position("the old chef on the left", ["old chef"]), rests_on_position("the red cup", ["cup"])
    (True, False)
    >>> rests_on_position("the chef in the red coat on the left", ["chef"])
    False
    """
    rest = phrase.lower()
    for name in sorted(names, key=len, reverse=True):
        rest = re.sub(rf"\b{re.escape(name.lower())}\b", " ", rest)
    if not _POSITION.search(rest):
        return False
    rest = _EMPTY.sub(" ", _POSITION.sub(" ", rest))
    nouns = {word for name in names for word in name.lower().split()} | WIDE
    return all(word in nouns for word in re.findall(r"\w+", rest))


def tells_nothing(phrase: str, name: str, others: Sequence[str]) -> bool:
    """Whether a phrase has no word beyond a name that others can be called too, or a word for anything.

    >>> tells_nothing("the woman", "woman", ["old woman"]), tells_nothing("the person", "chef", ["nurse"])
    (True, True)
    >>> tells_nothing("the chef", "chef", ["nurse"]), tells_nothing("the tall woman", "woman", ["old woman"])
    (False, False)
    """
    words = [word for word in re.findall(r"\w+", phrase.lower()) if word != "the"]
    known = WIDE.union(re.findall(r"\w+", name.lower()))
    return known.issuperset(words) and (WIDE.issuperset(words) or is_ambiguous(" ".join(words), others))
