"""Pairs of equal or near fingerprints among very many, without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]
Vectors: TypeAlias = npt.NDArray[np.float32]
Pairs: TypeAlias = npt.NDArray[np.int64]  # [N, 2]

BITS = 64
BLOCK = 2048
NOTHING: Pairs = np.empty((0, 2), dtype=np.int64)


def equal_pairs(hashes: Hashes) -> Pairs:
    """Each later one of equal hashes with the first of them.

    >>> equal_pairs(np.array([7, 5, 7, 7], dtype=np.uint64)).tolist()
    [[0, 2], [0, 3]]
    """
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    firsts = first[inverse]
    later = np.flatnonzero(firsts != np.arange(len(hashes)))
    return np.stack([firsts[later], later], axis=1).astype(np.int64)


def near_pairs(hashes: Hashes, distance: int) -> Pairs:
    """Pairs of hashes that differ in at most `distance` bits, equal ones by their first.

    Two such hashes agree in at least one of `distance + 1` bands of bits, so only those with an equal band
    are compared.

    >>> near_pairs(np.array([0b0000, 0b0001, 0b0111, 0b0000], dtype=np.uint64), 1).tolist()
    [[0, 1], [0, 3]]
    """
    distinct, first = np.unique(hashes, return_index=True)
    found = [pair for band in _bands(distance) for pair in _in_band(distinct, band, distance)]
    near = np.unique(np.concatenate([NOTHING, *found]), axis=0)
    return np.concatenate([np.sort(first[near].reshape(-1, 2), axis=1), equal_pairs(hashes)])


def _bands(distance: int) -> Iterator[tuple[int, int]]:
    """(shift, bits) of each band."""
    edges = [BITS * number // (distance + 1) for number in range(distance + 2)]
    for low, high in pairwise(edges):
        yield low, high - low


def _in_band(distinct: Hashes, band: tuple[int, int], distance: int) -> Iterator[Pairs]:
    shift, bits = band
    values = (distinct >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
    order = np.argsort(values, kind="stable")
    edges = np.flatnonzero(np.diff(values[order])) + 1
    for run in np.split(order, edges):
        for start in range(0, len(run) if len(run) > 1 else 0, BLOCK):
            part, rest = run[start : start + BLOCK], run[start:]
            bits_off = np.bitwise_count(distinct[part][:, None] ^ distinct[rest][None, :])
            row, column = np.nonzero(bits_off <= distance)
            later = column > row
            yield np.sort(np.stack([part[row[later]], rest[column[later]]], axis=1), axis=1)


def alike_pairs(vectors: Vectors, least: float) -> Pairs:
    """Pairs of vectors of length 1 with a cosine of at least `least`; every pair is computed, in blocks."""
    found = [NOTHING]
    for start in range(0, len(vectors), BLOCK):
        part = vectors[start : start + BLOCK]
        for other in range(start, len(vectors), BLOCK):
            row, column = np.nonzero(part @ vectors[other : other + BLOCK].T >= least)
            pairs = np.stack([row + start, column + other], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.concatenate(found)


def near_across(mine: Hashes, theirs: Hashes, distance: int) -> list[tuple[int, int]]:
    """Each of `mine` that is near some of `theirs`, with one of those, an equal one before others.

    >>> near_across(np.array([0, 6, 7], dtype=np.uint64), np.array([7], dtype=np.uint64), 1)
    [(1, 0), (2, 0)]
    """
    distinct, inverse = np.unique(np.concatenate([mine, theirs]), return_inverse=True)
    ours, others = inverse[: len(mine)], inverse[len(mine) :]
    held = np.full(len(distinct), -1, dtype=np.int64)
    held[others[::-1]] = np.arange(len(theirs))[::-1]
    links = near_pairs(distinct, distance) if distance else NOTHING
    links = np.concatenate([links, links[:, ::-1]])
    links = links[(held[links[:, 0]] < 0) & (held[links[:, 1]] >= 0)]
    reached = held.copy()
    reached[links[:, 0]] = held[links[:, 1]]
    hits = np.flatnonzero(reached[ours] >= 0)
    return [(int(hit), int(reached[ours[hit]])) for hit in hits]


def alike_across(mine: Vectors, theirs: Vectors, least: float) -> list[tuple[int, int]]:
    """Each of `mine` with a cosine of at least `least` to one of `theirs`, with the most alike."""
    found = []
    for start in range(0, len(mine), BLOCK):
        cosines = mine[start : start + BLOCK] @ theirs.T
        nearest = cosines.argmax(axis=1)
        hits = np.flatnonzero(cosines.max(axis=1) >= least)
        found += [(int(hit) + start, int(nearest[hit])) for hit in hits]
    return found
