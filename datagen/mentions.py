"""Which reference images an instruction names, in any of the styles that published sets mix."""

from __future__ import annotations

import re

MOST = 20  # "photo 1999" is a year, not a reference

_WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_NOUN = r"(?:images?|photos?|pictures?|references?|figures?|imgs?|pics?)"
_NUMBER = re.compile(
    rf"\b(?:input |reference )?{_NOUN}[ _#-]{{0,2}}\(?(\d{{1,3}})\b(?!\s*(?:x|%|px|\.\d))", re.IGNORECASE
)
# Of the plural only: "image 1 and 2 cats" names one image.
_LIST = re.compile(
    r"\b(?:images|photos|pictures|references|figures|imgs|pics)\s+"
    r"(\d{1,3}(?:(?:\s*[,&-]\s*|\s+)(?:(?:and|or|to)\s+)?\d{1,3})+)\b",
    re.IGNORECASE,
)
_TAG = re.compile(r"<\|?(?:image|img)[_ ]?(\d{1,3})\|?>", re.IGNORECASE)
_ORDINAL = re.compile(
    rf"\b(?:({'|'.join(_WORDS)})|(\d{{1,2}})(?:st|nd|rd|th))\s+(?:(?:input|reference|given|source)\s+)?{_NOUN[:-1]})\b",
    re.IGNORECASE,
)


def named_references(instruction: str) -> set[int]:
    """Numbers of the reference images that an instruction names, from 1.

    >>> sorted(named_references("The cat in image 1 beside the third photo and <|image_2|>, 1080p"))
    [1, 2, 3]
    >>> sorted(named_references("Combine images 1, 3 and 4"))
    [1, 3, 4]
    """
    found = {int(number) for number in _NUMBER.findall(instruction) + _TAG.findall(instruction)}
    for numbers in _LIST.findall(instruction):
        found.update(int(number) for number in re.findall(r"\d+", numbers))
    for word, number in _ORDINAL.findall(instruction):
        found.add(_WORDS.index(word.lower()) + 1 if word else int(number))
    return {number for number in found if 0 < number <= MOST}
