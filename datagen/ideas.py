"""Ideas: what image models are asked to draw, put together from lists of attributes that are data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from datagen.naming import is_ambiguous

FILE = files("datagen").joinpath("ideas.yaml")


@dataclass(frozen=True, kw_only=True)
class Idea:
    """A subject or a scene for one picture.

    Attributes:
        kind: character, object or scene.
        noun: what an instruction calls it.
        prompt: what the image model is told.
    """

    kind: str
    noun: str
    prompt: str

    @property
    def phrase(self) -> str:
        """As an instruction speaks of it."""
        return f"the {self.noun}"


@cache
def _lists() -> Mapping[str, Any]:
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def fingerprint() -> str:
    """Of the lists and wordings, for the hash of a step that uses them."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


def draw_attributes(random: Random, kind: str, taken: Sequence[str]) -> dict[str, str]:
    """A value of each list of a kind.

    Args:
        random: decides.
        kind: character, object or scene.
        taken: names that the noun must not be taken for.

    Raises:
        LookupError: every noun can be.
    """
    free = [noun for noun in nouns(kind) if not is_ambiguous(noun, taken)]
    if not free:
        raise LookupError(f"{kind}: expected a noun that can mean none of {', '.join(taken)}, got none")
    lists = {name: values for name, values in _lists()[kind].items() if name != "prompt"} | {"noun": free}
    return {name: random.choice(values) for name, values in lists.items()}


def nouns(kind: str) -> list[str]:
    """What those of a kind are called."""
    return [str(noun) for noun in _lists()[kind]["noun"]]


def idea_of(kind: str, attributes: Mapping[str, str]) -> Idea:
    """The idea of drawn attributes.

    >>> idea_of("object", draw_attributes(Random(1), "object", ())).prompt
    'A product photo of one striped cobalt blue lantern, seen from the front, alone on a plain background,
    sharp focus'
    """
    prompt = str(_lists()[kind]["prompt"]).format(**attributes)
    return Idea(kind=kind, noun=attributes["noun"], prompt=prompt)


def draw_place(random: Random) -> str:
    """Where a picture is set, in words, e.g. "in a garden"."""
    return str(random.choice(_lists()["place"]["noun"]))


def output_prompt(instruction: str, ideas: Sequence[Idea]) -> str:
    """What the editing model is told: the instruction, and which image shows what."""
    shown = [f"Image {number} shows {idea.phrase}." for number, idea in enumerate(ideas, start=1)]
    return str(_lists()["output"]).format(instruction=instruction, images=" ".join(shown)).strip()
