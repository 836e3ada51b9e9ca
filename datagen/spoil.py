"""Faults of multi-candidate samples that need pixels: what an editor or a generator can do wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import cast

import numpy as np
from PIL import Image

from datagen.catalogue import Catalogue, Subject
from datagen.claims import are_apart
from datagen.edits import Edit
from datagen.encoding import decode_image, encode_jpeg
from datagen.faults import replaced
from datagen.layout import Box
from datagen.parents import Parent, UnfitParentError, read_figure, read_view
from datagen.renderer import Backdrop, Figure, Renderer, view_backdrop
from datagen.sprites import MIN_COLOUR_DIFFERENCE, colour_difference, main_hue
from datagen.variants import Made
from shards.sample import EncodedImage, Json

COPY_PASTE = "copy_paste"
TWO_CANDIDATES = "two_candidates"
EDITED = ("original_changed", "wrong_category")
"""`original_changed`: the editor changed the subject it was to leave alone. `wrong_category`: what it added
is of another category than is claimed. Both are of `add`; `two_candidates` (the target shows a distractor
beside the chosen one) and `copy_paste` (the target is a whole reference) are of `swap` too."""


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What a fault is made of.

    Attributes:
        random: drawn from after all else, so that a fault changes nothing else of its sample.
        renderer: draws any subject of the catalogue.
        parent: of the variant.
        edits: what was added to its references, by number; empty for a swap.
    """

    random: Random
    renderer: Renderer
    parent: Parent
    edits: Mapping[int, Edit]

    @property
    def catalogue(self) -> Catalogue:
        return self.renderer.catalogue


def spoil(fault: str, materials: Materials, made: Made) -> Made:
    """`made` with a fault of this module; as it is for any other.

    Raises:
        UnfitParentError: the fault cannot be made of this parent.
    """
    spoilers: Mapping[str, Callable[[Materials, Made], Made]] = {
        "original_changed": _original_changed,
        "wrong_category": _wrong_category,
        TWO_CANDIDATES: _two_candidates,
        COPY_PASTE: _copy_paste,
    }
    return spoilers[fault](materials, made) if fault in spoilers else made


def _original_changed(materials: Materials, made: Made) -> Made:
    """The chosen candidate in another colour, or another subject of its category in its place."""
    number = materials.random.choice(sorted(materials.edits))
    figure = _original(materials.parent, number)
    raw = decode_image(materials.parent.sample.references[number])
    recoloured = _recoloured(materials, figure) if materials.random.random() < 0.5 else None
    if recoloured:
        now, change = recoloured, "colour"
        changed = materials.renderer.draw(Backdrop(picture=raw, light=0, shadow=0), [now])
    else:
        (now,) = replaced(materials.renderer, (figure,), 0, _lookalike(materials, number))
        change = "subject"
        empty = Backdrop(picture=_without(materials.parent, number, raw, figure.box), light=0, shadow=0.8)
        changed = materials.renderer.draw(empty, [now])
    edit = materials.edits[number]
    image = encode_jpeg(materials.renderer.draw(_editor(changed), edit.figures))
    truth: dict[str, Json] = {"changed_reference": number, "change": change, "shown_instead": now.as_json()}
    return _with_reference(made, number, image, truth)


def _wrong_category(materials: Materials, made: Made) -> Made:
    """Something of another category in the place of an added candidate."""
    number = materials.random.choice(sorted(materials.edits))
    edit = materials.edits[number]
    place = materials.random.randrange(len(edit.figures))
    claimed = edit.added[place].subject
    near = [edit.chosen.subject, *(seen.subject for seen in edit.added)]
    wrong = _draw(
        materials, lambda s: s.category not in {claimed.category, edit.chosen.subject.category}, near
    )
    figures = replaced(materials.renderer, edit.figures, place, wrong)
    raw = decode_image(materials.parent.sample.references[number])
    image = encode_jpeg(materials.renderer.draw(_editor(raw), figures))
    shown = [list(ids) for ids in cast("Sequence[Sequence[str]]", made.truth["references"])]
    shown[number][place + 1] = wrong.id
    truth: dict[str, Json] = {
        "faulty_reference": number,
        "faulty_candidate": place + 1,
        "shown_instead": wrong.id,
        "references": shown,
    }
    return _with_reference(made, number, image, truth)


def _two_candidates(materials: Materials, made: Made) -> Made:
    """A distractor beside the chosen one, in the target."""
    target = cast("Sequence[Mapping[str, Json]]", made.truth["target"])
    shown = cast("Sequence[Sequence[str]]", made.truth["references"])
    held = {str(entry["subject"]) for entry in target}
    spare = [id_ for ids in shown for id_ in ids if id_ not in held]
    if not spare:
        raise UnfitParentError("no_other_candidate", f"{made.sample.key}: all candidates are in the target")
    subject = materials.catalogue.by_id(materials.random.choice(spare))
    drawn = materials.renderer.paste(materials.random, made.sample.target, subject, _boxes(materials, made))
    if drawn is None:
        raise UnfitParentError("no_room", f"{made.sample.key}: no room for {subject.name!r} in the target")
    image, figure = drawn
    truth: dict[str, Json] = {"shown_besides": subject.id, "target": [*target, figure.as_json()]}
    return replace(made, sample=replace(made.sample, target=image), truth={**made.truth, **truth})


def _copy_paste(materials: Materials, made: Made) -> Made:
    """A whole reference as target, one with several candidates."""
    number = materials.random.choice(sorted(materials.edits)) if materials.edits else 0
    shown = cast("Sequence[Sequence[str]]", made.truth["references"])[number]
    truth: dict[str, Json] = {"copied_reference": number, "target": [{"subject": id_} for id_ in shown]}
    target = made.sample.references[number]
    return replace(made, sample=replace(made.sample, target=target), truth={**made.truth, **truth})


def _boxes(materials: Materials, made: Made) -> list[Box]:
    """Where the target's figures stand: those of the parent's target, or of the reference that it is."""
    if materials.edits:
        return [figure.box for figure in materials.parent.figures]
    number = materials.parent.sample.references.index(made.sample.target)
    return [_original(materials.parent, number).box]


def _original(parent: Parent, number: int) -> Figure:
    """What the embedded renderer drew in a reference."""
    made = parent.sample.provenance.origin.get("references")
    entry = made[number] if isinstance(made, Sequence) and number < len(made) else None
    figure = entry.get("figure") if isinstance(entry, Mapping) else None
    if not isinstance(figure, Mapping):
        raise UnfitParentError(
            "no_layout", f"{parent.sample.key}: expected to know what reference {number + 1} shows"
        )
    return read_figure(figure)


def _recoloured(materials: Materials, figure: Figure) -> Figure | None:
    """The same in a clearly other colour; None where it has none."""
    own = materials.renderer.sprite(figure.subject, figure.pose)
    hue = (main_hue(own) + materials.random.uniform(80, 280)) % 360
    pose = replace(figure.pose, hue_deg=round(hue, 1))
    difference = colour_difference(own, materials.renderer.sprite(figure.subject, pose))
    return replace(figure, pose=pose) if difference >= MIN_COLOUR_DIFFERENCE else None


def _lookalike(materials: Materials, number: int) -> Subject:
    """The chosen candidate's twin in another design, or another one of its category."""
    seen = materials.parent.placed[number].subject
    twin = materials.catalogue.twin(seen)
    if twin and materials.random.random() < 0.5:
        return twin
    near = [seen, *(other.subject for other in materials.edits[number].added)]
    return _draw(materials, lambda s: s.category == seen.category, near)


def _draw(materials: Materials, suits: Callable[[Subject], bool], near: Sequence[Subject]) -> Subject:
    for subject in materials.random.sample(materials.catalogue.subjects, len(materials.catalogue)):
        if subject.kind != "scene" and suits(subject) and all(are_apart(subject, o) for o in near):
            return subject
    raise UnfitParentError("no_such_subject", f"none is apart from {', '.join(s.name for s in near)}")


def _without(parent: Parent, number: int, picture: Image.Image, box: Box) -> Image.Image:
    """`picture` without what stands in `box`: the known place, else blended from around."""
    made = cast("Sequence[Mapping[str, Json]]", parent.sample.provenance.origin["references"])[number]
    if view := read_view(made.get("view")):
        return view_backdrop(view, picture.width).picture
    left, top, right, bottom = box
    pixels = np.asarray(picture, dtype=np.float32).copy()
    edges = pixels[top:bottom, max(left - 1, 0)], pixels[top:bottom, min(right, picture.width - 1)]
    share = np.linspace(0, 1, right - left, dtype=np.float32)[None, :, None]
    pixels[top:bottom, left:right] = edges[0][:, None] * (1 - share) + edges[1][:, None] * share
    return Image.fromarray(pixels.astype(np.uint8))


def _editor(picture: Image.Image) -> Backdrop:
    """A picture as `Renderer.paste` draws on it."""
    return Backdrop(picture=picture, light=0, shadow=0.8)


def _with_reference(made: Made, number: int, image: EncodedImage, truth: Mapping[str, Json]) -> Made:
    references = tuple(image if n == number else old for n, old in enumerate(made.sample.references))
    return replace(made, sample=replace(made.sample, references=references), truth={**made.truth, **truth})
