"""Which images an instruction names: of published sets, of models' texts, of our own templates.

Two rules, as a number too many is no fault of the one and a fault of the other: in a published set "photo 40"
is no reference and "image 1 and 2 cats" names one image; of a text that was written for us whatever can be
taken for an image's number is held against it, and can be renumbered. A judge reads instructions for itself
(`filters/wording.py`): it does not follow the builder that it checks. A test holds all to the same styles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MOST = 20  # "photo 1999" is a year, not a reference

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
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
    rf"\b(?:({'|'.join(ORDINALS)})|(\d{{1,2}})(?:st|nd|rd|th))\s+(?:(?:input|reference|given|source)\s+)?{_NOUN[:-1]})\b",
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
        found.add(ORDINALS.index(word.lower()) + 1 if word else int(number))
    return {number for number in found if 0 < number <= MOST}


_WRITTEN = re.compile(r"(?:images?|photos?|pictures?)[ _](\d+)((?:(?:, | and )\d+)*)", re.IGNORECASE)
_WRITTEN_ORDINAL = re.compile(rf"({'|'.join(ORDINALS)}) (?:image|photo|picture)", re.IGNORECASE)


def named_images(instruction: str) -> frozenset[int]:
    """The numbers of the images that an instruction names, from 1.

    >>> sorted(named_images("The fox from Image 1, the cat of <|image_3|> and the second photo's sky"))
    [1, 2, 3]
    >>> named_images("Combine in a picture.")
    frozenset()
    """
    found = {ORDINALS.index(word.lower()) + 1 for word in _WRITTEN_ORDINAL.findall(instruction)}
    for first, rest in _WRITTEN.findall(instruction):
        found.update(int(number) for number in [first, *re.findall(r"\d+", rest)])
    return frozenset(found)


def images_named(text: str) -> set[int]:
    """Every image that a text may be taken to name, from 1.

    >>> sorted(images_named("the 2nd photo, image 1 and 30"))
    [1, 2, 30]
    """
    return named_references(text) | named_images(text)


def renumber(instruction: str, numbers: Mapping[int, int]) -> str:
    """`instruction` with its image numbers changed.

    >>> renumber("The fox from image 1 and the pen of the second photo", {1: 2, 2: 1})
    'The fox from image 2 and the pen of the first photo'
    """

    def number(match: re.Match[str]) -> str:
        return re.sub(r"\d+", lambda n: str(numbers.get(int(n[0]), int(n[0]))), match[0])

    def ordinal(match: re.Match[str]) -> str:
        old = ORDINALS.index(match[1].lower()) + 1
        return match[0].replace(match[1], ORDINALS[numbers.get(old, old) - 1])

    return _WRITTEN_ORDINAL.sub(ordinal, _WRITTEN.sub(number, instruction))
