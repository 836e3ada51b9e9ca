"""Fingerprints of every picture, made by workers once: what de-duplication compares instead of pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from PIL import Image
from pydantic import Field

from filters.embedder import EmbeddedEmbedderConfig
from shards.image import ImageError, load_image
from shards.ledger import Ledger
from shards.sample import EncodedImage, Json, Sample
from shards.stage import IndexRow, Outcome, Planned, Scores, Stage, Work
from shards.tables import WHOLE
from shards.worker_step import WorkerStep

Kind: TypeAlias = Literal["phash", "embedding"]
KINDS: tuple[Kind, ...] = ("phash", "embedding")
DRAFT_PX = 256  # a JPEG is decoded at an eighth to a half of its size where that is enough for a hash


class FingerprintConfig(WorkerStep):
    """Settings of `fingerprint`.

    Its tables have a row a picture: `reference` is its number, -1 the target; `probabilities` holds the 64
    bits of the perceptual hash, or the vector.
    """

    VERSION: ClassVar[int] = 1

    kinds: tuple[Kind, ...] = Field(default=("phash",), min_length=1, description=f"of {', '.join(KINDS)}")
    embedder: EmbeddedEmbedderConfig = Field(default=EmbeddedEmbedderConfig(), description="of `embedding`")

    @property
    def batch_size(self) -> int:
        """Samples marked as in hand at once."""
        return 8

    def computed(self) -> dict[str, Json]:
        """The settings, and the embedder's weights where it is used."""
        used = {"identity": dict(self.embedder.identity)} if "embedding" in self.kinds else {}
        return super().computed() | used

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Every sample."""
        return (Planned(key=row.key, parents=(row,)) for row in rows)

    def build(self, ledger: Ledger) -> Fingerprints:  # noqa: ARG002, nothing is paid for
        """The stage."""
        return Fingerprints(self)


class Fingerprints(Stage):
    """Makes fingerprints."""

    def __init__(self, config: FingerprintConfig) -> None:
        self._kinds = config.kinds
        self._embedder = config.embedder.build() if "embedding" in config.kinds else None

    def __call__(self, batch: Sequence[Work]) -> list[Outcome]:
        return [Scores(rows=self._rows(work.parents[0])) for work in batch]

    def _rows(self, sample: Sample) -> dict[str, list[dict[str, Any]]]:
        images = [*enumerate(sample.references), (WHOLE, sample.target)]
        return {kind: [self._row(kind, number, image) for number, image in images] for kind in self._kinds}

    def _row(self, kind: Kind, number: int, image: EncodedImage) -> dict[str, Any]:
        row = {"reference": number, "candidate": WHOLE, "mode": 0.0, "expected": 0.0, "label_mass": 1.0}
        try:
            values = phash(image) if kind == "phash" else self._vector(image)
        except ImageError as error:
            return row | {"probabilities": [], "status": error.reason}
        return row | {"probabilities": values, "status": "ok"}

    def _vector(self, image: EncodedImage) -> list[float]:
        assert self._embedder is not None
        return [float(value) for value in self._embedder.embed(image)]


def phash(image: EncodedImage) -> list[float]:
    """The 64 bits of a picture's perceptual hash.

    Raises:
        ImageError: it cannot be decoded.
    """
    import imagehash

    is_jpeg = image.extension in ("jpg", "jpeg")
    try:
        picture = Image.open(io.BytesIO(image.data), formats=("JPEG",)) if is_jpeg else load_image(image)
        picture.draft("L", (DRAFT_PX, DRAFT_PX))
        return [float(bit) for bit in imagehash.phash(picture).hash.flatten()]
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError("undecodable", f"expected a whole picture, got {error}") from error
