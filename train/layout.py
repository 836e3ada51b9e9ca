"""Where every token of a pack goes: rows, positions and what masks need, from sizes and text ids alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import numpy.typing as npt

from train.config import ModelConfig
from train.segments import Grid, Kind, Mode, SampleTokens, Segment, segments

# N tokens of a pack in packed order, T rows (grouped and padded), U understanding rows, G generation rows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of each token, one array a column.

    Attributes:
        kind, mode: `Kind` and `Mode`; kind is -1 for padding.
        doc, segment, index: sample in the pack, segment of the sample, place in the sample. doc -1: padding.
        position: rotary position.
        text_id: for TEXT tokens.
        grid_id: place in the position table of its kind, for image tokens.
        image: which latent image, references first, then targets; for LATENT and TARGET tokens.
        reference: which reference image of the pack; -1 elsewhere.
    """

    kind: Ints
    mode: Ints
    doc: Ints
    segment: Ints
    index: Ints
    position: Ints
    text_id: Ints
    grid_id: Ints
    image: Ints
    reference: Ints


NAMES = tuple(column.name for column in fields(Columns))
PADDING = dict.fromkeys(NAMES, 0) | {"kind": -1, "doc": -1, "segment": -1, "reference": -1}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A pack's rows, grouped once for the whole network: understanding | reference latents | targets.

    Each group is padded to a multiple of the caller's `align`; nobody sees a padding row.

    Attributes:
        columns: of the T rows.
        packed: a row's place in the released, ungrouped order; -1 for padding.
        und_rows, ref_rows, target_rows: sizes of the three groups, padding included.
        und_source: where a U row's embedding is in (TEXT tokens, VIT tokens, one zero row), in packed order.
        gen_source: where a G row's latent is in (LATENT tokens, TARGET tokens, one zero row).
        text_ids, vit_ids: of TEXT tokens, and of VIT tokens in their position table, in packed order.
        vit_grids, latent_grids, target_grids: of every image, in packed order.
        reference_docs, reference_names: of each reference image its sample, and (sample key, number there).
        token_size: numbers of a latent token.
        vit_references, latent_references: which reference each of `vit_grids`, `latent_grids` shows.
    """

    columns: Columns
    packed: Ints
    und_rows: int
    ref_rows: int
    target_rows: int
    und_source: Ints
    gen_source: Ints
    text_ids: Ints
    vit_ids: Ints
    vit_grids: tuple[Grid, ...]
    latent_grids: tuple[Grid, ...]
    target_grids: tuple[Grid, ...]
    reference_docs: tuple[int, ...]
    reference_names: tuple[tuple[str, int], ...]
    token_size: int
    vit_references: tuple[int, ...]
    latent_references: tuple[int, ...]
    docs: int

    @property
    def rows(self) -> int:
        return self.und_rows + self.ref_rows + self.target_rows

    @property
    def is_instruction(self) -> npt.NDArray[np.bool_]:
        """[T]: text, with the tokens that begin and end it; image boundaries are not."""
        return (self.columns.mode == Mode.CAUSAL) & (self.columns.kind == Kind.TEXT)


def make_layout(samples: Sequence[SampleTokens], config: ModelConfig, align: int = 1) -> Layout:
    """The rows of a pack.

    Args:
        samples: in the order they are packed.
        config: for special tokens and the sides of the position tables.
        align: rows of a group are a multiple of it: 128 for flex attention's blocks, 1 for dense masks.
    """
    references = [
        (doc, number) for doc, sample in enumerate(samples) for number in range(len(sample.references))
    ]
    number = {reference: place for place, reference in enumerate(references)}
    placed = [
        _Placed(doc, place, segment, number.get((doc, segment.reference), -1))
        for doc, sample in enumerate(samples)
        for place, segment in enumerate(segments(sample))
    ]
    columns = _all_columns(placed, config)
    packed, sizes = _grouped(columns.kind, align)
    rank, counts = _rank_within_kind(columns.kind)
    images = {kind: [p for p in placed if p.segment.kind == kind] for kind in Kind}
    return Layout(
        columns=_take(columns, packed),
        packed=packed,
        und_rows=sizes[0],
        ref_rows=sizes[1],
        target_rows=sizes[2],
        und_source=_source(columns.kind, rank, counts, packed[: sizes[0]], Kind.TEXT),
        gen_source=_source(columns.kind, rank, counts, packed[sizes[0] :], Kind.LATENT),
        text_ids=columns.text_id[columns.kind == Kind.TEXT],
        vit_ids=columns.grid_id[columns.kind == Kind.VIT],
        vit_grids=tuple(p.grid for p in images[Kind.VIT]),
        latent_grids=tuple(p.grid for p in images[Kind.LATENT]),
        target_grids=tuple(p.grid for p in images[Kind.TARGET]),
        reference_docs=tuple(doc for doc, _ in references),
        reference_names=tuple((samples[doc].key, number) for doc, number in references),
        vit_references=tuple(p.reference for p in images[Kind.VIT]),
        latent_references=tuple(p.reference for p in images[Kind.LATENT]),
        token_size=config.latent.token_size,
        docs=len(samples),
    )


@dataclass(frozen=True)
class _Placed:
    doc: int
    place: int
    segment: Segment
    reference: int

    @property
    def grid(self) -> Grid:
        return cast(Grid, self.segment.grid)


def _all_columns(placed: Sequence[_Placed], config: ModelConfig) -> Columns:
    start, seen, images = 0, -1, _image_numbers(placed)
    parts = []
    for piece, image in zip(placed, images, strict=True):
        start = start if piece.doc == seen else 0
        parts.append(_segment_columns(piece, start, image, config))
        start, seen = start + piece.segment.length, piece.doc
    empty = np.zeros(0, np.int64)
    return Columns(**{name: np.concatenate([empty, *(part[name] for part in parts)]) for name in NAMES})


def _image_numbers(placed: Sequence[_Placed]) -> Iterator[int]:
    latents = sum(piece.segment.kind == Kind.LATENT for piece in placed)
    following = {Kind.LATENT: 0, Kind.TARGET: latents, Kind.TEXT: 0, Kind.VIT: 0}
    for piece in placed:
        yield following[piece.segment.kind]
        following[piece.segment.kind] += 1


def _segment_columns(piece: _Placed, start: int, image: int, config: ModelConfig) -> dict[str, Ints]:
    segment = piece.segment
    inside = np.arange(segment.length)
    is_text = segment.kind == Kind.TEXT
    is_image_token = (inside > 0) & (inside < segment.length - 1) & (not is_text)
    filled = {"mode": segment.mode, "doc": piece.doc, "segment": piece.place}
    return {name: np.full(segment.length, value, np.int64) for name, value in filled.items()} | {
        "kind": np.where(is_image_token, int(segment.kind), int(Kind.TEXT)),
        "index": inside + start,
        "position": segment.position + inside * is_text,
        "text_id": np.where(is_image_token, 0, _token_ids(segment, config)),
        "grid_id": np.where(is_image_token, _grid_ids(segment, config), 0),
        "image": np.where(is_image_token, image, 0),
        "reference": np.where(is_image_token, piece.reference, -1),
    }


def _token_ids(segment: Segment, config: ModelConfig) -> Ints:
    tokens = config.tokens
    if segment.grid is None:
        return np.array([tokens.bos, *segment.ids, tokens.eos], np.int64)
    ids = np.zeros(segment.length, np.int64)
    ids[0], ids[-1] = tokens.start_of_image, tokens.end_of_image
    return ids


def _grid_ids(segment: Segment, config: ModelConfig) -> Ints:
    if segment.grid is None:
        return np.zeros(segment.length, np.int64)
    side = config.vision.side if segment.kind == Kind.VIT else config.latent.side
    row, column = np.divmod(np.arange(segment.grid.size), segment.grid.width)
    return np.concatenate([[0], row * side + column, [0]])


def _grouped(kind: Ints, align: int) -> tuple[Ints, tuple[int, int, int]]:
    """The packed place of every row (-1: padding), and the three groups' sizes."""
    groups = [
        np.flatnonzero(kind <= Kind.VIT),
        np.flatnonzero(kind == Kind.LATENT),
        np.flatnonzero(kind == Kind.TARGET),
    ]
    padded = [np.pad(group, (0, -len(group) % align), constant_values=-1) for group in groups]
    return np.concatenate(padded), (len(padded[0]), len(padded[1]), len(padded[2]))


def _take(columns: Columns, packed: Ints) -> Columns:
    taken = {}
    for name in NAMES:
        with_padding = np.append(getattr(columns, name), PADDING[name])  # index -1 finds the padding's value
        taken[name] = with_padding[packed]
    return Columns(**taken)


def _rank_within_kind(kind: Ints) -> tuple[Ints, dict[Kind, int]]:
    rank = np.zeros_like(kind)
    for one in Kind:
        rank[kind == one] = np.arange((kind == one).sum())
    return rank, {one: int((kind == one).sum()) for one in Kind}


def _source(kind: Ints, rank: Ints, counts: dict[Kind, int], packed: Ints, first: Kind) -> Ints:
    """Rows of (tokens of `first`, tokens of the kind after it, one zero row)."""
    second = Kind(first + 1)
    source = np.append(rank + (kind == second) * counts[first], counts[first] + counts[second])
    return source[packed]
