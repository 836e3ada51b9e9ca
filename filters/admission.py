"""What an endpoint must show before it judges: the model, one token a label, the probe's answer."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from filters.chat import question_body, read_probabilities
from filters.rubrics import Question
from shards.chat import PATH, image_part
from shards.endpoints import Ask
from shards.http_client import EndpointError, RequestError
from shards.sample import EncodedImage, Json, canonical_json
from shards.served_model import check_model

# Chosen, not measured: batching moves probabilities a little, another model or precision much more.
PROBE_TOLERANCE = 0.05
PROBE_TEXT = "Is the left half of this image brighter than its right half? Answer with one word, yes or no."
PROBE_LABELS = ("yes", "no")  # whatever else is asked: a new question must not let another model in


class Admission:
    """Admits endpoints that are the declared judge.

    Args:
        model: name that the endpoints must serve.
        identity: of the judge, as declared.
        questions: whose labels are read.
        processor: settings of the model's image processor.
        known: the probe's answer as it was recorded before, if it was.
    """

    def __init__(
        self,
        model: str,
        identity: Mapping[str, Json],
        questions: Sequence[Question],
        processor: Mapping[str, Json],
        known: bytes | None,
    ) -> None:
        self._model = model
        self._labels = dict.fromkeys(PROBE_LABELS, "the probe")
        self._labels |= {label: f"question {q.id}" for q in questions for label in q.labels}
        self._processor = processor
        self.probe = known
        self.address = probe_address(identity)
        self.tokens: dict[str, int] = {}

    async def __call__(self, url: str, ask: Ask) -> None:
        """Admit the endpoint at `url`.

        Raises:
            RequestError: it is not ready.
            EndpointError: it is another judge than declared.
        """
        await check_model(url, ask, self._model)
        tokens = {label: await self._token(url, ask, label) for label in self._labels}
        self._check_tokens(url, tokens)
        await self._check_probe(url, ask, {label: tokens[label] for label in PROBE_LABELS})
        self._check_tokens(url, tokens)  # another may have been admitted meanwhile
        self.tokens = tokens

    async def _token(self, url: str, ask: Ask, label: str) -> int:
        body: dict[str, Json] = {
            "model": self._model,
            "prompt": label,
            "add_special_tokens": False,
            "return_token_strs": True,
        }
        answer = await ask("/tokenize", canonical_json(body))
        try:
            found = [int(token) for token in answer["tokens"]]
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError("no_tokens", f"/tokenize: expected tokens, got {answer!r:.200}") from error
        if len(found) != 1:
            raise EndpointError(
                f"{url}: {self._labels[label]}: label {label!r}: expected one token, got "
                f"{len(found)}: {answer.get('token_strs') or found}; choose another label"
            )
        return found[0]

    def _check_tokens(self, url: str, tokens: Mapping[str, int]) -> None:
        if self.tokens and self.tokens != tokens:
            raise EndpointError(
                f"{url}: expected label tokens {self.tokens} as at the other endpoints, got {dict(tokens)}: "
                "another tokenizer; judge with one model at a time"
            )
        if len(set(tokens.values())) < len(tokens):
            raise EndpointError(f"{url}: expected a token of its own for each label, got {dict(tokens)}")

    async def _check_probe(self, url: str, ask: Ask, tokens: Mapping[str, int]) -> None:
        body = question_body(
            self._model,
            [image_part(probe_image(), self._processor)],
            PROBE_TEXT,
            list(tokens.values()),
            request_id=f"probe-{self.address.hex()[:16]}",
            processor=self._processor,
        )
        found = read_probabilities(await ask(PATH, body), self._model, tokens)
        if self.probe is None:
            self.probe = canonical_json(found)
        known: dict[str, float] = json.loads(self.probe)
        off = max(abs(found[label] - known[label]) for label in found)
        if off > PROBE_TOLERANCE:
            raise EndpointError(
                f"{url}: expected the probe's answer {_round(known)} as first recorded, got {_round(found)}: "
                "another revision, dtype or quantization; declare what it serves, or stop it"
            )


def probe_address(identity: Mapping[str, Json]) -> bytes:
    """Where the ledger keeps the probe's answer, 32 bytes."""
    asked: dict[str, Json] = {"probe": PROBE_TEXT, "labels": list(PROBE_LABELS), "judge": dict(identity)}
    return hashlib.sha256(canonical_json(asked)).digest()


def probe_image() -> EncodedImage:
    """A ramp from dark to bright with a bar across, 64 pixels square."""
    pixels = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    pixels[24:40] = 255 - pixels[24:40]
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "PNG")
    return EncodedImage(file.getvalue(), "png")


def _round(found: Mapping[str, float]) -> dict[str, float]:
    return {label: round(p, 3) for label, p in found.items()}
