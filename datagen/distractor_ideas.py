"""What an image editor adds to a reference, drawn from lists that are data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import yaml

from datagen.ideas import draw_attributes, nouns
from datagen.ideas import fingerprint as ideas_fingerprint
from datagen.variants import Relation

FILE = files("datagen").joinpath("editing.yaml")
OTHER_KIND: Mapping[str, str] = {"character": "object", "object": "character"}


@dataclass(frozen=True, kw_only=True)
class Distractor:
    """A candidate that is to be added.

    Attributes:
        name: what it is called.
        kind: character or object.
        look: as the editor is told, e.g. "one chef with round glasses, wearing blue overalls".
    """

    name: str
    kind: str
    look: str


@cache
def wording() -> Mapping[str, Any]:
    """The shares and wordings of edits."""
    return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def fingerprint() -> str:
    """Of all that edits are worded from, for the hash of a step that uses them."""
    return hashlib.sha256(FILE.read_bytes() + ideas_fingerprint().encode()).hexdigest()


def draw_distractor_ideas(
    random: Random, kind: str, name: str, relation: Relation, besides: Sequence[str]
) -> list[Distractor]:
    """One or two candidates to stand beside a subject.

    Args:
        random: decides.
        kind: of the subject.
        name: of the subject.
        relation: of the new ones to it: `intra` for its kind, `cross` for the other one.
        besides: names of the sample's other subjects; no new name may mean one of them.

    Raises:
        LookupError: every name could.
    """
    added: list[Distractor] = []
    new_kind = kind if relation == "intra" else OTHER_KIND[kind]
    for _ in range(2 if random.random() < wording()["second_share"] else 1):
        taken = [*besides, *(other.name for other in added)]
        is_same = relation == "intra" and not added and random.random() < wording()["same_name_share"]
        attributes = draw_attributes(random, new_kind, taken if is_same else [*taken, name])
        if is_same:
            attributes["noun"] = name
        described = "creature" if new_kind == "character" and not _is_person(attributes["noun"]) else new_kind
        look = str(wording()["describe"][described]).format(**attributes)
        added.append(Distractor(name=attributes["noun"], kind=new_kind, look=look))
    return added


def _is_person(name: str) -> bool:
    """Whether a character is known to have hair and clothes: a dog has not.

    >>> _is_person("tall woman"), _is_person("golden retriever")
    (True, False)
    """
    known = {noun.split()[-1] for noun in nouns("character")} | {"person", "child"}
    return name.lower().split()[-1] in known


def edit_prompt(subject: str, added: Sequence[Distractor]) -> str:
    """What the editor is told."""
    looks = " and ".join(distractor.look for distractor in added)
    return str(wording()["prompt"]).format(added=looks, subject=subject).strip()
