"""Which of the things found in a target stands for which reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from filters.alignment import Overlay, overlay
from filters.colour import hue_histogram, intersection
from filters.cutouts import Cutout

HUE_WEIGHT = 0.5  # colour siblings (hearts, books) have one embedding; their hues decide
FRAGMENT_GAP = 0.06  # of the picture's side: pieces of one thing are nearer than that
FRAGMENT_GAIN = 0.04  # of agreement: joining unrelated things loses much more


@dataclass(frozen=True)
class Match:
    """A reference and the thing that stands for it.

    Attributes:
        found: number of the thing among those found, or None where none is left.
        thing: its cut-out, pieces joined.
        overlay: the reference laid over it.
        likeness: cosine of their embeddings.
        hue: intersection of their hue histograms.
        pieces: numbers of the found things that were joined to it.
    """

    found: int | None = None
    thing: Cutout | None = None
    overlay: Overlay | None = None
    likeness: float = -1.0
    hue: float = 0.0
    pieces: tuple[int, ...] = ()


def match(
    references: Sequence[Cutout], found: Sequence[Cutout], rejoin: Callable[[Sequence[int]], Cutout]
) -> list[Match]:
    """The best assignment of found things to references, one each.

    Args:
        references: what is looked for.
        found: what the target shows.
        rejoin: cuts several of the found things out as one.
    """
    if not references or not found:
        return [Match() for _ in references]
    likeness = np.array([[float(r.embedding @ f.embedding) for f in found] for r in references])
    hues = np.array([[intersection(hue_histogram(r), hue_histogram(f)) for f in found] for r in references])
    rows, columns = linear_sum_assignment(-(likeness + HUE_WEIGHT * hues))
    pairs = {int(row): int(column) for row, column in zip(rows, columns, strict=True)}
    spare = set(range(len(found))) - set(pairs.values())
    matches = []
    for number, reference in enumerate(references):
        matches.append(_match(reference, found, pairs.get(number), spare, rejoin))
        spare -= set(matches[-1].pieces)
    return matches


def _match(
    reference: Cutout,
    found: Sequence[Cutout],
    number: int | None,
    spare: set[int],
    rejoin: Callable[[Sequence[int]], Cutout],
) -> Match:
    if number is None:
        return Match()
    best = compare(reference, found[number], number)
    near = [other for other in sorted(spare) if gap(found[number], found[other]) < FRAGMENT_GAP]
    if not near:
        return best
    joined = compare(reference, rejoin([number, *near]), number, tuple(near))
    return joined if _agreement(joined) > _agreement(best) + FRAGMENT_GAIN else best


def compare(reference: Cutout, thing: Cutout, number: int, pieces: tuple[int, ...] = ()) -> Match:
    """`reference` laid over `thing`."""
    return Match(
        found=number,
        thing=thing,
        overlay=overlay(reference, thing),
        likeness=float(reference.embedding @ thing.embedding),
        hue=intersection(hue_histogram(reference), hue_histogram(thing)),
        pieces=pieces,
    )


def _agreement(match: Match) -> float:
    assert match.overlay is not None
    return match.overlay.shape + 0.5 * match.overlay.shade


def gap(one: Cutout, other: Cutout) -> float:
    """The distance between two things' boxes, as a fraction of the side; 0 where they touch."""
    across = max(one.box[0] - other.box[2], other.box[0] - one.box[2], 0.0)
    down = max(one.box[1] - other.box[3], other.box[1] - one.box[3], 0.0)
    return max(across, down)
