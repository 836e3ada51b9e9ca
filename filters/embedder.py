"""What turns a picture into a vector whose angle to another says how alike they look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from filters.embedded import HEADS, NETWORK, EmbeddedEngineConfig
from shards.sample import EncodedImage, Json

Vector: TypeAlias = npt.NDArray[np.float32]

SIDE_PX = 224
# Of a random projection: near 1 a cosine changes by (1 - cos^2) / sqrt(256), 0.006 at 0.95, for a fifth of
# the bytes.
LENGTH = 256


class Embedder(Protocol):
    """Any engine: a server, a network, a hash."""

    def embed(self, image: EncodedImage) -> Vector:
        """A vector of length 1.

        Raises:
            ImageError: the picture cannot be decoded.
        """
        ...


class EmbeddedEmbedderConfig(BaseModel):
    """The vendored network: enough to find crops, re-encodings and light edits of the same picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    VERSION: ClassVar[int] = 1

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its vectors depend on."""
        network = EmbeddedEngineConfig().identity["network"]
        return {"embedder": "embedded", "version": self.VERSION, "network": network}

    def build(self) -> Embedder:
        """The engine with its weights loaded."""
        return EmbeddedEmbedder()


class EmbeddedEmbedder:
    """EfficientNet-lite0, pooled over the picture."""

    def __init__(self) -> None:
        from filters.features import Network

        self._network = Network(NETWORK)
        mean = json.loads(HEADS.read_text(encoding="utf-8"))["mean_embedding"]
        self._mean = np.array(mean, dtype=np.float32)
        random = np.random.default_rng(0)
        self._projection = random.standard_normal((len(mean), LENGTH), dtype=np.float32)

    def embed(self, image: EncodedImage) -> Vector:
        """A vector of length 1."""
        from filters.features import decode, fit, normalise, pool, to_pixels

        maps = self._network.look(to_pixels(fit(decode(image), SIDE_PX)))
        vector = normalise(pool(maps.features), self._mean) @ self._projection
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), dtype=np.float32)
