"""Claims: what a base sample says that its pictures show, drawn at random from catalogue and panoramas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from datagen.catalogue import Catalogue, Subject
from datagen.instructions import Mention, Wish
from datagen.panoramas import Panorama, View
from datagen.renderer import random_view, turned_view


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one sample is to show.

    Attributes:
        subjects: per reference its subject; None for the one that shows the scene.
        panorama: where the target is set.
        view: the target's camera.
        scene_view: the scene reference's camera, or None where the place is told in words.
        is_ordered: whether the instruction fixes that the subjects stand from left to right in this order.
        is_terse: whether the instruction names no subject.
    """

    subjects: tuple[Subject | None, ...]
    panorama: Panorama
    view: View
    scene_view: View | None
    is_ordered: bool
    is_terse: bool

    @property
    def placed(self) -> tuple[Subject, ...]:
        """The subjects that stand in the target."""
        return tuple(subject for subject in self.subjects if subject is not None)

    @property
    def place(self) -> str:
        """Where, in words."""
        return f"{self.panorama.preposition} {self.panorama.caption}"

    def wish(self) -> Wish:
        """What the instruction is to ask for."""
        numbered = list(enumerate(self.subjects, start=1))
        return Wish(
            mentions=[Mention(subject.definite, number) for number, subject in numbered if subject],
            place="" if self.scene_view else self.place,
            scene_image=next((number for number, subject in numbered if subject is None), None),
            is_ordered=self.is_ordered,
            is_terse=self.is_terse,
        )


def draw_claim(
    random: Random,
    catalogue: Catalogue,
    panoramas: Sequence[Panorama],
    *,
    kinds: Sequence[str],
    is_ordered: bool,
    is_terse: bool,
) -> Claim:
    """A claim with a subject of each kind, in order; all can be told apart by name and at a glance."""
    subjects: list[Subject | None] = []
    for kind in kinds:
        chosen = [subject for subject in subjects if subject]
        subjects.append(None if kind == "scene" else draw_subject(random, catalogue.of_kind(kind), chosen))
    panorama = random.choice(panoramas)
    view = random_view(random, panorama.name)
    return Claim(
        subjects=tuple(subjects),
        panorama=panorama,
        view=view,
        scene_view=turned_view(random, view) if None in subjects else None,
        is_ordered=is_ordered and len([s for s in subjects if s]) > 1,
        is_terse=is_terse and None not in subjects and not is_ordered,
    )


def draw_subject(
    random: Random,
    pool: Sequence[Subject],
    apart_from: Sequence[Subject],
    suits: Callable[[Subject], bool] = lambda _: True,
) -> Subject:
    """A subject of `pool` that suits and is told apart from each of `apart_from`.

    Raises:
        LookupError: there is none.
    """
    for subject in random.sample(pool, len(pool)):
        if suits(subject) and all(are_apart(subject, other) for other in apart_from):
            return subject
    names = ", ".join(subject.name for subject in apart_from)
    raise LookupError(f"none of {len(pool)} subjects is told apart from {names}")


def are_apart(one: Subject, other: Subject) -> bool:
    """Whether neither name nor look confuses two subjects: another group, and no word in common."""
    words = set(one.name.lower().split()) & set(other.name.lower().split())
    return one.group != other.group and not words
