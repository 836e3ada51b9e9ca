"""The in-process judge: looks at a sample once and answers every question about it from what it measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from filters.embedded import ANSWERS
from filters.features import Network
from filters.heads import GRADED, SEEN, Heads, read_heads
from filters.judge import Request, reply_bytes
from filters.observations import Observation, observe
from filters.rubrics import RubricError
from filters.sight import Eye
from shards.image import ImageError
from shards.sample import Json, Sample

DIGITS = 6  # probabilities are rounded, so that the last bit of a sum is nobody's result


class EmbeddedEngine:
    """An `Engine` (see filters/judge.py) of vendored weights; its label mass is always 1."""

    def __init__(self, eye: Eye, heads: Heads, identity: Mapping[str, Json]) -> None:
        self.identity = identity
        self._eye = eye
        self._heads = heads

    @classmethod
    def load(cls, network: Path, heads: Path, identity: Mapping[str, Json]) -> EmbeddedEngine:
        """The engine of two vendored files."""
        text = heads.read_text(encoding="utf-8")
        mean = np.array(json.loads(text)["mean_embedding"], dtype=np.float32)
        return cls(Eye(Network(network), mean), read_heads(text), identity)

    def answer(self, sample: Sample, requests: Sequence[Request]) -> list[bytes]:
        """One reply a request; all are errors where an image cannot be decoded."""
        try:
            observation = observe(self._eye, sample)
        except ImageError as error:
            return [reply_bytes({}, 0.0, status="error", measured={"detail": str(error)}) for _ in requests]
        return [self._reply(observation, request) for request in requests]

    def _reply(self, observation: Observation, request: Request) -> bytes:
        shares = self._shares(observation, request)
        labels = ANSWERS[request.question]
        probabilities = {name: round(share, DIGITS) for name, share in zip(labels, shares, strict=True)}
        return reply_bytes(probabilities, 1.0, measured=_measured(observation, request))

    def _shares(self, observation: Observation, request: Request) -> list[float]:
        if request.question in GRADED:
            return self._heads.grades(observation)[request.question]
        if request.question in SEEN:
            yes = self._heads.seen(observation, request.reference)[request.question]
        elif request.question == "copy_paste":
            yes = self._heads.copied(observation)
        else:
            raise RubricError(
                f"the embedded judge: expected a question of {', '.join(ANSWERS)}, got {request.question!r}; "
                "ask a served judge"
            )
        return [1 - yes, yes]


def _measured(observation: Observation, request: Request) -> dict[str, Json]:
    """What a person may want to see beside the answer."""
    if request.question == "consistency":
        numbers = observation.whole
    elif request.question == "identity":
        numbers = observation.references[request.reference] or observation.scenes[request.reference] or {}
    else:
        return {}
    return {name: round(value, 4) for name, value in numbers.items()}
