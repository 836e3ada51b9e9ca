"""What the embedded judge measures of a sample: numbers for each reference and for the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.colour import ColourDifference, compare_colours, histogram, intersection
from filters.cutouts import Cutout
from filters.features import decode, pool
from filters.judge import target_candidate
from filters.matching import Match, gap, match
from filters.sight import Eye, Sight
from filters.wording import fixed_order
from shards.sample import Candidate, Sample

Array: TypeAlias = NDArray[np.float32]
Numbers: TypeAlias = Mapping[str, float]

SCENE = "scene"  # category of a reference that gives the place and no subject
THUMB_PX = 32
SURE = 8.0  # log-odds beyond which more certainty tells nothing
COLOURS = ("raw", "residual", "chroma", "worst")  # differences of 0..255, as log(1 + d)


@dataclass(frozen=True)
class Observation:
    """What was measured of one sample.

    Attributes:
        references: numbers for each reference that gives a subject; None for a scene.
        scenes: numbers for each reference that gives a scene; None for a subject.
        whole: numbers for the sample.
    """

    references: tuple[Numbers | None, ...]
    scenes: tuple[Numbers | None, ...]
    whole: Numbers


def observe(eye: Eye, sample: Sample) -> Observation:
    """Measure a sample: its images, its instruction and what it claims; nothing else of it is read.

    Raises:
        ImageError: an image cannot be decoded.
    """
    pictures = [decode(image) for image in sample.references]
    target = decode(sample.target)
    sight = eye.see(target)
    given = [_given(eye, p, c) for p, c in zip(pictures, sample.subjects, strict=True)]
    numbers = [n for n, cutout in enumerate(given) if cutout is not None]
    cutouts = [cutout for cutout in given if cutout is not None]
    matches = dict(zip(numbers, match(cutouts, sight.things, lambda n: eye.rejoin(sight, n)), strict=True))
    others = _distractors(eye, pictures, sample.subjects)
    return Observation(
        references=tuple(
            subject_numbers(given[n], matches[n], sight, others.get(n, ())) if n in matches else None
            for n in range(len(pictures))
        ),
        scenes=tuple(None if n in matches else _scene_numbers(eye, p, sight) for n, p in enumerate(pictures)),
        whole=_whole_numbers(sample, pictures, target, sight, matches, others),
    )


def _given(eye: Eye, picture: Image.Image, candidates: Sequence[Candidate]) -> Cutout | None:
    """What a reference gives; None for a scene."""
    claimed = target_candidate(candidates)
    if claimed and claimed.category == SCENE:
        return None
    if claimed and claimed.box and claimed.box[0] < claimed.box[2] and claimed.box[1] < claimed.box[3]:
        return eye.see_box(picture, claimed.box)
    return eye.see_single(picture)


def _distractors(
    eye: Eye, pictures: Sequence[Image.Image], subjects: Sequence[Sequence[Candidate]]
) -> dict[int, tuple[Cutout, ...]]:
    """The other candidates of each reference that has some with boxes."""
    return {
        number: tuple(
            eye.see_box(pictures[number], c.box) for c in candidates if not c.is_target and c.box is not None
        )
        for number, candidates in enumerate(subjects)
        if any(not c.is_target and c.box is not None for c in candidates)
    }


def subject_numbers(given: Cutout | None, found: Match, sight: Sight, others: Sequence[Cutout]) -> Numbers:
    """Of one reference and what stands for it in the target."""
    if given is None or found.thing is None or found.overlay is None or found.found is None:
        return NOTHING
    rivals = [float(given.embedding @ t.embedding) for n, t in enumerate(sight.things) if n != found.found]
    distractor = max((float(o.embedding @ found.thing.embedding) for o in others), default=-1.0)
    return {
        "likeness": found.likeness,
        "lead": found.likeness - max(rivals, default=0.0),
        "hue": found.hue,
        "shape": found.overlay.shape,
        "shade": found.overlay.shade,
        "distractor": max(distractor - found.likeness, -1.0),
        "found": 1.0,
        "certainty": min(max(sight.certainty(found.found), 0.0), SURE),
        **colour_numbers(compare_colours(found.overlay, found.thing)),
    }


def colour_numbers(difference: ColourDifference) -> dict[str, float]:
    """A difference of colours as heads take it."""
    shades = {name: float(np.log1p(getattr(difference, name))) for name in COLOURS}
    return shades | {"tint": min(difference.tint, 2.0) ** 0.5}


NOTHING: Numbers = {
    "likeness": -1.0,
    "lead": -1.0,
    "hue": 0.0,
    "shape": 0.0,
    "shade": -1.0,
    "distractor": 0.0,
    "found": 0.0,
    "certainty": 0.0,
    **colour_numbers(ColourDifference()),
}
"""Of a reference that nothing in the target stands for."""


def _scene_numbers(eye: Eye, picture: Image.Image, sight: Sight) -> dict[str, float]:
    """Of a reference that gives the place, against the target without the things in it."""
    grid = sight.maps.features.shape[1:]
    free = _free(sight, grid[1], grid[0])
    place = pool(eye.features(picture))
    shown = pool(sight.maps.features[:, free] if free.any() else sight.maps.features)
    return {
        "likeness": float(place @ shown) / max(float(np.linalg.norm(place) * np.linalg.norm(shown)), 1e-6),
        "hue": intersection(_place_hues(picture, None), _place_hues(sight.picture, sight)),
    }


def _free(sight: Sight, width: int, height: int) -> NDArray[np.bool_]:
    """Which parts of a coarse grid show no thing."""
    covered = Image.fromarray((sight.maps.log_odds > 0).astype(np.float32))
    return np.asarray(covered.resize((width, height), Image.Resampling.BOX)) < 0.2


def _place_hues(picture: Image.Image, sight: Sight | None) -> Array:
    thumb = np.asarray(picture.resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX), dtype=np.float32)
    free = _free(sight, THUMB_PX, THUMB_PX) if sight else np.ones((THUMB_PX, THUMB_PX), dtype=bool)
    free = free if free.any() else np.ones_like(free)
    return histogram(thumb[free], np.ones(int(free.sum()), dtype=np.float32))


def _whole_numbers(
    sample: Sample,
    pictures: Sequence[Image.Image],
    target: Image.Image,
    sight: Sight,
    matches: Mapping[int, Match],
    others: Mapping[int, Sequence[Cutout]],
) -> dict[str, float]:
    order = fixed_order(sample.instruction, sample.subjects)
    return {
        "references": float(len(pictures)),
        "subjects": float(len(matches)),
        "disorder": _disorder([n for n in order if n in matches], matches),
        "copy": float(np.log1p(min(copy_distance(picture, target) for picture in pictures))),
        "shown_distractor": _shown_distractor(sight, matches, others),
        **_extra_numbers(sight, matches),
    }


def _extra_numbers(sight: Sight, matches: Mapping[int, Match]) -> dict[str, float]:
    """Of the largest thing that stands for no reference."""
    used = {n for m in matches.values() if m.found is not None for n in (m.found, *m.pieces)}
    spare = [n for n in range(len(sight.things)) if n not in used]
    if not spare:
        return {"extra_area": 0.0, "extra_certainty": 0.0, "extra_gap": 1.0, "extra_cells": 0.0}
    areas = [m.thing.area for m in matches.values() if m.thing is not None]
    largest = max(spare, key=lambda n: sight.proposals[n].cells)
    thing = sight.things[largest]
    gaps = [gap(thing, m.thing) for m in matches.values() if m.thing is not None]
    return {
        "extra_area": min(thing.area / max(float(np.mean(areas)) if areas else 1.0, 1e-3), 2.0),
        "extra_certainty": min(max(sight.certainty(largest), 0.0), SURE),
        "extra_gap": min(gaps, default=1.0),
        "extra_cells": float(np.log1p(sight.proposals[largest].cells)),
    }


def _shown_distractor(
    sight: Sight, matches: Mapping[int, Match], others: Mapping[int, Sequence[Cutout]]
) -> float:
    """How much the thing most like a candidate that should not be shown looks like it, -1 to 1."""
    taken = {m.found for m in matches.values()}
    free = [t for n, t in enumerate(sight.things) if n not in taken]
    every = [float(o.embedding @ t.embedding) for group in others.values() for o in group for t in free]
    return max(every, default=-1.0)


def _disorder(order: Sequence[int], matches: Mapping[int, Match]) -> float:
    """Share of pairs that stand the wrong way round; 0 where no order was asked for."""
    places = [thing.centre_x for n in order if (thing := matches[n].thing) is not None]
    pairs = [(a, b) for n, a in enumerate(places) for b in places[n + 1 :]]
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


def copy_distance(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two whole pictures, thumb-sized, 0..255."""
    thumbs = [
        np.asarray(p.resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX), dtype=np.float32)
        for p in (one, other)
    ]
    return float(np.abs(thumbs[0] - thumbs[1]).mean())
