"""Parents: what a finished sample claims, as a multi-candidate sample is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from datagen.catalogue import Catalogue, Subject
from datagen.layout import Box
from datagen.panoramas import View, load_panoramas
from datagen.phrases import Seen
from datagen.renderer import Figure
from datagen.sprites import Pose
from shards.image import image_facts
from shards.reason import ReasonError
from shards.sample import Candidate, EncodedImage, Json, Sample


class UnfitParentError(ReasonError, ValueError):
    """A parent that cannot serve; becomes a reject."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A single-candidate sample.

    Attributes:
        sample: it.
        seen: per reference its one candidate; None for a scene.
        in_target: by reference number, the candidate as it is claimed to stand in the target; empty where
            the layout is unknown.
    """

    sample: Sample
    seen: tuple[Seen | None, ...]
    in_target: Mapping[int, Seen]

    @property
    def placed(self) -> dict[int, Seen]:
        """The candidates that are no scene, by reference number."""
        return {number: seen for number, seen in enumerate(self.seen) if seen}

    @property
    def fault(self) -> str:
        """What is wrong with it, where that is known; "none" if nothing."""
        return str(self.sample.provenance.truth.get("fault", "none"))

    def background(self, number: int) -> str:
        """What is behind the subject of a reference, in words."""
        made = _entries(self.sample.provenance.origin.get("references"))
        style = made[number].get("style") if number < len(made) else None
        view = read_view(made[number].get("view")) if style == "scene" else None
        if view:
            return place_of(view.panorama)
        return {"plain": "on a plain light background", "gradient": "in front of a soft studio backdrop"}.get(
            str(style), "in a picture of its own"
        )

    @property
    def place(self) -> str | None:
        """Where the target is set, in words, where that is known."""
        view = self.view
        return place_of(view.panorama) if view else None

    @property
    def view(self) -> View | None:
        """The target's camera, where the embedded renderer made it."""
        return read_view(self.sample.provenance.origin.get("view"))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What the target really shows, where the embedded renderer made it."""
        return tuple(read_figure(entry) for entry in _entries(self.sample.provenance.truth.get("target")))


def place_of(panorama: str) -> str:
    """A panorama in words, e.g. "in a sunlit pine forest".

    Raises:
        UnfitParentError: there is none of that name.
    """
    found = [p for p in load_panoramas() if p.name == panorama]
    if not found:
        raise UnfitParentError("no_layout", f"view: expected an embedded panorama, got {panorama!r:.80}")
    return f"{found[0].preposition} {found[0].caption}"


def read_parent(sample: Sample, catalogue: Catalogue) -> Parent:
    """What `sample` claims.

    Raises:
        UnfitParentError: a reference has not exactly one candidate, or its box is unknown.
    """
    seen = tuple(
        _seen(f"{sample.key}.ref{number}", candidates, catalogue)
        for number, candidates in enumerate(sample.subjects)
    )
    placed = [number for number, candidate in enumerate(seen) if candidate]
    boxes = [_box(entry.get("box")) for entry in _entries(sample.provenance.origin.get("target"))]
    in_target = {
        number: Seen(subject=candidate.subject, box=box)
        for number, box in zip(placed, boxes, strict=False)
        if (candidate := seen[number])
    }
    return Parent(sample=sample, seen=seen, in_target=in_target if len(boxes) == len(placed) else {})


def _seen(where: str, candidates: Sequence[Candidate], catalogue: Catalogue) -> Seen | None:
    if len(candidates) != 1:
        detail = (
            f"{where}: expected one candidate, got {len(candidates)}; make it from single-candidate samples"
        )
        raise UnfitParentError("several_candidates", detail)
    candidate = candidates[0]
    if candidate.category == "scene":
        return None
    if candidate.box is None:
        raise UnfitParentError("no_box", f"{where}: expected the box of {candidate.name!r}, got none")
    return Seen(subject=_subject(candidate, catalogue), box=candidate.box)


def _subject(candidate: Candidate, catalogue: Catalogue) -> Subject:
    """The catalogue's subject of that name; of another catalogue, what the candidate says."""
    found = [s for s in catalogue.named(candidate.name) if s.category == candidate.category]
    if found:
        return found[0]
    return Subject(
        id="", name=candidate.name, category=candidate.category, subgroup=candidate.category, file=""
    )


def width_px(image: EncodedImage) -> int:
    """An image's width, from its header."""
    return image_facts(image).width


def _entries(value: Json) -> list[Mapping[str, Json]]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [entry for entry in value if isinstance(entry, Mapping)]


# A sample may be of another hand: what it says of its layout is read as any other data.


def read_view(value: Json) -> View | None:
    """A camera, where a sample tells it.

    Raises:
        UnfitParentError: it is none.
    """
    if not isinstance(value, Mapping):
        return None
    try:
        return View(**value)  # type: ignore[arg-type]
    except TypeError as error:
        raise UnfitParentError("no_layout", f"view: expected a camera, got {value!r:.120}") from error


def read_figure(entry: Mapping[str, Json]) -> Figure:
    """What `Figure.as_json` wrote.

    Raises:
        UnfitParentError: it is something else.
    """
    try:
        pose = Pose(**cast(Mapping[str, int], entry.get("pose")))  # type: ignore[arg-type]
    except TypeError as error:
        raise UnfitParentError("no_layout", f"pose: expected one, got {entry!r:.120}") from error
    return Figure(subject=str(entry.get("subject")), pose=pose, box=_box(entry.get("box")))


def _box(value: Json) -> Box:
    numbers = [n for n in value if isinstance(n, int)] if isinstance(value, Sequence) else []
    if len(numbers) != 4:
        raise UnfitParentError("no_layout", f"box: expected left, top, right, bottom, got {value!r:.80}")
    left, top, right, bottom = numbers
    return left, top, right, bottom
