"""Multi-candidate samples with every fault at a known rate, beside their raw references, made in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from random import Random
from typing import TypeVar

from PIL import Image

from datagen.encoding import decode_image, encode_jpeg
from datagen.multi_candidate import FAULTS
from filters.raw import Edited, beside_raw
from shards.sample import EncodedImage, Sample
from shards.stage import keyed_random
from tools.multi_candidates import build_with_parents, plan_multi
from tools.rendered_samples import PROCESSES, Split

DRIFT = 0.03  # of the side: how far an edited reference is shifted and zoomed, at most
Result = TypeVar("Result")
Part = tuple[Split, int, int, float, bool, int]


def map_checked(
    look: Callable[[Part], list[Result]], split: Split, number: int, seed: int, share: float, *, drifts: bool
) -> list[Result]:
    """`look` at parts of a plan, in parallel; results in the plan's order."""
    parts: list[Part] = [(split, number, seed, share, drifts, start) for start in range(0, number, PART)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return [result for part in pool.map(look, parts) for result in part]


PART = 25


def edited_samples(part: Part) -> Iterator[Edited]:
    """The samples of a part of a plan, every fault in `share` of it, the rest clean.

    With `drifts`, edited references are shifted and zoomed as generative editors do; boxes stay as claimed.
    """
    split, number, seed, share, drifts, start = part
    config, variants = plan_multi(split, number, seed, dict.fromkeys(FAULTS, share))
    for sample, parent in build_with_parents(config, variants[start : start + PART], split):
        yield beside_parent(sample, parent, drifts=drifts)


def beside_parent(sample: Sample, parent: Sample, *, drifts: bool) -> Edited:
    """A sample with the raw form of its edited references."""
    found = beside_raw(sample, parent.references)
    if not drifts:
        return found
    random = keyed_random("drift", sample.key)
    references = tuple(
        drifted(random, image) if number in found.raw else image
        for number, image in enumerate(found.references)
    )
    return replace(found, references=references)


def drifted(random: Random, image: EncodedImage) -> EncodedImage:
    """A picture shifted and zoomed a little."""
    picture = decode_image(image)
    zoom = 1 + random.uniform(-DRIFT, DRIFT)
    shifts = [random.uniform(-DRIFT, DRIFT) * side for side in picture.size]
    moved = picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        (zoom, 0, shifts[0], 0, zoom, shifts[1]),
        Image.Resampling.BICUBIC,
        fillcolor=picture.getpixel((0, 0)),
    )
    return encode_jpeg(moved)
