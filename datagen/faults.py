"""Faults: what a base sample's target can show other than it claims, so that judges can be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from datagen.catalogue import Catalogue, Subject
from datagen.claims import Claim, draw_subject
from datagen.layout import centre_x
from datagen.renderer import Figure, Renderer
from datagen.sprites import MIN_COLOUR_DIFFERENCE, colour_difference, main_hue
from shards.sample import Json

CLEAN = "none"
DAMAGED = "damaged_file"
COPY_PASTE = "copy_paste"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a target really shows.

    Attributes:
        figures: the subjects in it.
        truth: what to record of the fault besides its name.
    """

    figures: tuple[Figure, ...]
    truth: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Stagehand:
    """What a fault may use to change what is shown.

    Attributes:
        random: its own stream, so that a fault changes nothing else of its sample.
        renderer: to fit other figures in.
        claim: what is claimed.
        figures: what would be shown without the fault, in the order of `claim.placed`.
    """

    random: Random
    renderer: Renderer
    claim: Claim
    figures: tuple[Figure, ...]

    @property
    def catalogue(self) -> Catalogue:
        return self.renderer.catalogue

    def pick(self) -> int:
        """Which of the figures is to be faulty."""
        return self.random.randrange(len(self.figures))


def replaced(
    renderer: Renderer, figures: tuple[Figure, ...], number: int, subject: Subject
) -> tuple[Figure, ...]:
    """`figures` with another subject in the place of one, within its box and on the same foot."""
    old = figures[number]
    width, height = renderer.sprite(subject.id, old.pose).size
    fit = min((old.box[2] - old.box[0]) / width, (old.box[3] - old.box[1]) / height, 1)
    pose = replace(old.pose, side_px=max(int(old.pose.side_px * fit), 1))
    width, height = renderer.sprite(subject.id, pose).size
    left = round(centre_x(old.box) - width / 2)
    box = (left, old.box[3] - height, left + width, old.box[3])
    return (*figures[:number], Figure(subject=subject.id, pose=pose, box=box), *figures[number + 1 :])


def apply_fault(fault: str, stagehand: Stagehand) -> Shown:
    """What the target shows under `fault`.

    Raises:
        LookupError: the catalogue holds nothing to make this fault with.
    """
    make = TARGET_FAULTS.get(fault)
    return make(stagehand) if make else Shown(figures=stagehand.figures, truth={})


def _wrong_subject(stagehand: Stagehand) -> Shown:
    number = stagehand.pick()
    claimed = stagehand.claim.placed[number]
    same_category = stagehand.random.random() < 0.5
    wrong = _stand_in(stagehand, claimed, same_category=same_category)
    truth: dict[str, Json] = {
        "faulty": number,
        "variant": "same_category" if same_category else "other_category",
        "shown_instead": wrong.id,
    }
    return Shown(figures=replaced(stagehand.renderer, stagehand.figures, number, wrong), truth=truth)


def _stand_in(stagehand: Stagehand, claimed: Subject, *, same_category: bool) -> Subject:
    catalogue = stagehand.catalogue
    pool = catalogue.of_category(claimed.category) if same_category else catalogue.subjects

    def suits(subject: Subject) -> bool:
        return subject.kind != "scene" and (same_category or subject.category != claimed.category)

    return draw_subject(stagehand.random, pool, stagehand.claim.placed, suits)


def _other_design(stagehand: Stagehand) -> Shown:
    twins = [(n, stagehand.catalogue.twin(s)) for n, s in enumerate(stagehand.claim.placed)]
    found = [(number, twin) for number, twin in twins if twin]
    if not found:
        raise LookupError("none of the subjects has a twin in another design")
    number, twin = stagehand.random.choice(found)
    return Shown(
        figures=replaced(stagehand.renderer, stagehand.figures, number, twin),
        truth={"faulty": number, "shown_instead": twin.id},
    )


def _colour_variant(stagehand: Stagehand) -> Shown:
    number = stagehand.pick()
    figure = stagehand.figures[number]
    own = stagehand.renderer.sprite(figure.subject, figure.pose)
    turn = stagehand.random.uniform(80, 280)
    pose = replace(figure.pose, hue_deg=round((main_hue(own) + turn) % 360, 1))
    difference = colour_difference(own, stagehand.renderer.sprite(figure.subject, pose))
    if difference < MIN_COLOUR_DIFFERENCE:
        raise LookupError(f"{figure.subject}: no colour is {MIN_COLOUR_DIFFERENCE} from its own")
    recoloured = replace(figure, pose=pose)
    figures = (*stagehand.figures[:number], recoloured, *stagehand.figures[number + 1 :])
    return Shown(figures=figures, truth={"faulty": number, "mean_rgb_difference": round(difference, 2)})


def _missing_subject(stagehand: Stagehand) -> Shown:
    number = stagehand.pick()
    figures = (*stagehand.figures[:number], *stagehand.figures[number + 1 :])
    return Shown(figures=figures, truth={"faulty": number})


def _extra_subject(stagehand: Stagehand) -> Shown:
    placed = stagehand.claim.placed
    extra = draw_subject(
        stagehand.random, stagehand.catalogue.subjects, placed, lambda subject: subject.kind != "scene"
    )
    figures = stagehand.renderer.place(stagehand.random, [*placed, extra], ordered=stagehand.claim.is_ordered)
    return Shown(figures=figures, truth={"shown_besides": extra.id})


def _swapped_order(stagehand: Stagehand) -> Shown:
    """The first and the last change places; the instruction fixes who stands where."""
    placed = stagehand.claim.placed
    order = [len(placed) - 1, *range(1, len(placed) - 1), 0]
    figures = stagehand.renderer.place(stagehand.random, [placed[n] for n in order], ordered=True)
    return Shown(figures=tuple(figures[n] for n in order), truth={"exchanged": [0, len(placed) - 1]})


TARGET_FAULTS: Mapping[str, Callable[[Stagehand], Shown]] = {
    "wrong_subject": _wrong_subject,
    "colour_variant": _colour_variant,
    "missing_subject": _missing_subject,
    "extra_subject": _extra_subject,
    "swapped_order": _swapped_order,
    "other_design": _other_design,
}
FAULTS = (*TARGET_FAULTS, COPY_PASTE, DAMAGED)
"""All faults. `copy_paste`: the target is a whole reference. `damaged_file`: one image's bytes are cut off or
overwritten, so that the sample is rejected and never judged."""


def needs_order(fault: str) -> bool:
    """Whether a fault exists only where the instruction fixes positions."""
    return fault == "swapped_order"


def damage(random: Random, data: bytes) -> bytes:
    """Bytes that are no image any more: cut off in the middle, or their head overwritten."""
    if random.random() < 0.5:
        return data[: int(len(data) * random.uniform(0.2, 0.8))]
    return random.randbytes(64) + data[64:]
