"""Instructions from templates, in the mixed wording of published sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from datagen.mentions import ORDINALS

# How an instruction counts its images. Source: Scone (arXiv 2512.12675), supplement B.1.
NUMBERINGS: tuple[Callable[[int], str], ...] = (
    lambda n: f"image {n}",
    lambda n: f"Image {n}",
    lambda n: f"photo {n}",
    lambda n: f"picture {n}",
    lambda n: f"the {ORDINALS[n - 1]} image",
    lambda n: f"the {ORDINALS[n - 1]} picture",
    lambda n: f"the {ORDINALS[n - 1]} photo",
    lambda n: f"<|image_{n}|>",
)
STYLES: Mapping[str, Callable[[int], str]] = {
    "image 1": NUMBERINGS[0],
    "Image 1": NUMBERINGS[1],
    "photo 1": NUMBERINGS[2],
    "picture 1": NUMBERINGS[3],
    "the first image": NUMBERINGS[4],
    "the first picture": NUMBERINGS[5],
    "the first photo": NUMBERINGS[6],
    "<|image_1|>": NUMBERINGS[7],
}
"""The same by the name of their first image, as recipes call them."""
LINKS = ("from", "of", "shown in")  # not "in": "the fox in image 1 in a forest" reads twice
TOGETHER = (
    "Place {subjects} {place}.",
    "Put {subjects} {place}.",
    "Generate a picture of {subjects} {place}.",
    "Create an image that shows {subjects} {place}.",
    "Show {subjects} {place}.",
    "Compose a scene with {subjects} {place}.",
    "I want to see {subjects} {place}.",
    "{subjects}, {place}.",
)
PAIRED = (
    "Place {first} on the left and {second} on the right, {place}.",
    "{place}, show {first} to the left of {second}.",
    "Create a picture {place} with {first} on the left side and {second} on the right side.",
)
ROWS = (
    "Place, from left to right, {subjects}, {place}.",
    "From left to right, show {subjects} {place}.",
    "Line up {subjects} in this order from left to right, {place}.",
)
TERSE = ("Combine in a picture, {place}.", "Combine them {place}.", "All together {place}.")
TERSE_SINGLE = ("The same one, {place}.", "Show it {place}.", "Now {place}.")
SCENE_PLACES = (
    "in the scene of {image}",
    "in the place shown in {image}",
    "with {image} as the background",
    "in the setting of {image}",
)


@dataclass(frozen=True)
class Mention:
    """A subject as an instruction speaks of it.

    Attributes:
        phrase: e.g. "the fox" or "the larger animal".
        image: number of its reference image, from 1.
    """

    phrase: str
    image: int


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an instruction asks for.

    Attributes:
        mentions: the subjects; from left to right where `is_ordered`.
        place: where, in words, e.g. "in a sunlit pine forest"; "" where `scene_image` shows it.
        scene_image: number of the reference image that shows the place, or None.
        is_ordered: whether the positions in the target are fixed.
        is_terse: whether subjects need not be named: each image has only one.
    """

    mentions: Sequence[Mention]
    place: str = ""
    scene_image: int | None = None
    is_ordered: bool = False
    is_terse: bool = False


def write_instruction(random: Random, wish: Wish, count: Callable[[int], str] | None = None) -> str:
    """An instruction for `wish`, its images counted as `count` does, or in one of the mixed wordings.

    >>> wish = Wish(mentions=[Mention("the fox", 1), Mention("the red heart", 2)], place="in a forest")
    >>> write_instruction(Random(3), wish)
    'Generate a picture of the fox shown in picture 1 and the red heart shown in picture 2 in a forest.'
    """
    count = count or random.choice(NUMBERINGS)
    place = wish.place
    if wish.scene_image is not None:
        place = random.choice(SCENE_PLACES).format(image=count(wish.scene_image))
    link = random.choice(LINKS)
    named = [f"{mention.phrase} {link} {count(mention.image)}" for mention in wish.mentions]
    if wish.is_terse and not wish.is_ordered:
        return _terse(random, len(named), place)
    return _sentence(_template(random, named, is_ordered=wish.is_ordered), named, place)


def _terse(random: Random, number: int, place: str) -> str:
    return _capital(random.choice(TERSE if number > 1 else TERSE_SINGLE).format(place=place))


def _template(random: Random, named: Sequence[str], *, is_ordered: bool) -> str:
    if not is_ordered or len(named) < 2:
        return random.choice(TOGETHER)
    return random.choice(PAIRED if len(named) == 2 else ROWS)


def _sentence(template: str, named: Sequence[str], place: str) -> str:
    first, second = named[0], named[-1]
    return _capital(template.format(subjects=join(named), first=first, second=second, place=place))


def _capital(text: str) -> str:
    return text if text.startswith("<") else text[:1].upper() + text[1:]


ALONE = (
    "Show only {subject}, {place}.",
    "Generate a picture of {subject} alone, {place}.",
    "Take {subject} out of the group and show nothing else, {place}.",
    "{subject}, on its own, {place}.",
    "Keep {subject}, remove everything else, {place}.",
)


def write_alone(
    random: Random, mention: Mention, place: str, count: Callable[[int], str] | None = None
) -> str:
    """An instruction that asks for one of several candidates, alone, in another place.

    >>> write_alone(Random(1), Mention("the larger animal", 1), "on a plain background")
    'Take the larger animal from Image 1 out of the group and show nothing else, on a plain background.'
    """
    link = random.choice(LINKS)
    named = f"{mention.phrase} {link} {(count or random.choice(NUMBERINGS))(mention.image)}"
    return _capital(random.choice(ALONE).format(subject=named, place=place))


def rephrase(instruction: str, phrases: Mapping[str, str]) -> str | None:
    """`instruction` with each phrase replaced; None where one is not in it exactly once.

    >>> rephrase("The fox from image 1 and the pen from image 2.", {"the fox": "the larger animal"})
    'The larger animal from image 1 and the pen from image 2.'
    >>> rephrase("Combine in a picture.", {"the fox": "the larger animal"}) is None
    True
    """
    for old, new in phrases.items():
        found = list(re.finditer(rf"\b{re.escape(old)}\b", instruction, re.IGNORECASE))
        if len(found) != 1:
            return None
        start, end = found[0].span()
        new = _capital(new) if instruction[start].isupper() else new
        instruction = instruction[:start] + new + instruction[end:]
    return instruction


def join(parts: Sequence[str]) -> str:
    """A list in words.

    >>> join(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
