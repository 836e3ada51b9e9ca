"""A language model behind the OpenAI chat API: JSON after a schema, checked, asked again with another seed.

An answer that is no use is a paid reply too: a resumed run finds it in the ledger, goes on to the next seed,
makes the same choice and pays nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from datagen import prompts
from datagen.paid import PaidModel, Refused, seeds
from datagen.prompts import Prompt, check_fields, load_prompts
from datagen.text_checks import BadTextError, check_unlike, trimmed
from datagen.writers import Fields, Text, TextRequest, Writer, Written
from shards.chat import (
    PATH,
    UnfinishedError,
    chat_body,
    count_tokens,
    image_part,
    json_format,
    parse_json,
    read_content,
)
from shards.endpoints import Ask
from shards.http_client import RequestError
from shards.ledger import Ledger, request_hash
from shards.sample import Json, canonical_json
from shards.served_model import check_model
from shards.served_settings import ServedSettings
from shards.settings import RUN
from shards.sizing import VERSION as SIZING
from shards.sizing import size_image
from shards.stage import Reject


class ChatWriterConfig(ServedSettings):
    """A language model that sees images, behind an HTTP API as vLLM has it."""

    VERSION: ClassVar[int] = 2

    kind: Literal["chat"] = "chat"
    dtype: str = Field(default="bfloat16", description="that the server was started with")
    quantization: str = Field(default="none", description="that the server was started with")
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=600, ge=16, le=8192, description="of one answer")
    max_pixels: int = Field(
        default=1 << 20, ge=1 << 10, description="of an image; a larger one is sent smaller"
    )
    processor: dict[str, int | float | str | bool] = Field(
        default={},
        description="of the model's image processor, sent along; vLLM wants --trust-request-mm-kwargs",
    )
    seeds: int = Field(default=3, ge=1, le=16, description="tried for one text before it is given up")
    in_flight: Annotated[int, Field(**RUN)] = Field(
        default=16, ge=1, le=1024, description="texts at once at each endpoint, for each worker"
    )

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its answers depend on, as declared."""
        declared = {name: value for name, value in self.computed().items() if name != "seeds"}
        return {"writer": "chat", "version": self.VERSION, "sizing": SIZING, **declared}

    def build(self, ledger: Ledger) -> Writer:
        """The writer on its worker."""
        return ChatWriter(self, ledger)


class ChatWriter:
    """Writes by asking endpoints; many texts in flight."""

    def __init__(self, config: ChatWriterConfig, ledger: Ledger) -> None:
        self._config = config
        self._model = PaidModel(config, ledger, self._admit)
        self.close = self._model.close
        self.take_counts = self._model.take_counts

    async def _admit(self, url: str, ask: Ask) -> None:
        await check_model(url, ask, self._config.model)

    def write(self, requests: Sequence[TextRequest]) -> list[Text]:
        """An answer to each request, in order, or why there is none.

        Raises:
            EndpointError: no more can be asked: all endpoints are down, or one serves another model.
        """
        self._model.look_again([self._address(request, request.seed) for request in requests])
        return self._model.run([self._write(request) for request in requests])

    async def _write(self, request: TextRequest) -> Text:
        """The first answer of use. What went before is told with it."""
        refused = Refused()
        for seed in seeds(request.seed, self._config.seeds):
            try:
                fields = _checked(await self._reply(request, seed), request)
            except RequestError as error:
                self._model.counts[f"error: {error.reason}"] += 1
                return Reject(reason=error.reason, detail=f"{request.prompt}: {error}")
            except BadTextError as error:
                self._model.counts[f"unusable: {error.reason}"] += 1
                refused.note(seed, error)
            else:
                return Written(fields=fields, made_by=self._made_by(request, seed, refused.tried))
        return Reject(reason="unusable_text", detail=f"{request.prompt}: {refused.words}")

    def _made_by(self, request: TextRequest, seed: int, refused: Sequence[Json]) -> Mapping[str, Json]:
        prompt = load_prompts()[request.prompt]
        identity = {name: value for name, value in self._config.identity.items() if name != "processor"}
        return {**identity, "prompt": f"{prompt.id} {prompt.version}", "seed": seed, "refused": refused}

    async def _reply(self, request: TextRequest, seed: int) -> bytes:
        return await self._model.reply(
            self._address(request, seed), PATH, lambda: self._body(request, seed), self._read
        )

    def _read(self, answer: Any) -> bytes:  # noqa: ANN401, what a server says
        self._model.counts.update(count_tokens(answer))
        return read_content(answer).encode(errors="replace")  # half a character is none

    def _address(self, request: TextRequest, seed: int) -> bytes:
        """Of the canonical request: whatever the answer depends on."""
        prompt = load_prompts()[request.prompt]
        asked: Json = {
            "writer": self._config.identity,
            "text": prompt.filled(request.facts),
            "schema": prompt.schema,
            "images": [hashlib.sha256(image.data).hexdigest() for image in request.images],
            "seed": seed,
        }
        return request_hash(canonical_json(asked))

    def _body(self, request: TextRequest, seed: int) -> bytes:
        config, prompt = self._config, load_prompts()[request.prompt]
        settings: dict[str, Json] = {
            "model": config.model,
            "seed": seed,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "response_format": json_format(prompt.schema, prompt.id),
        }
        images = (size_image(image, config.max_pixels) for image in request.images)
        parts = [image_part(image, config.processor) for image in images]
        return chat_body(settings, parts, prompt.filled(request.facts), config.processor)


def _checked(reply: bytes, request: TextRequest) -> Fields:
    """The fields of a reply that can be used.

    Raises:
        BadTextError: it cannot.
    """
    prompt = load_prompts()[request.prompt]
    fields = _parsed(reply, prompt)
    if not prompt.may_repeat:
        for text in fields.values():
            if isinstance(text, str):
                check_unlike(text, prompt.filled(request.facts))
    request.check(fields)
    return fields


def _parsed(reply: bytes, prompt: Prompt) -> Fields:
    if not reply.strip():
        raise BadTextError("empty", "expected JSON, got nothing")
    try:
        fields: Any = trimmed(parse_json(reply.decode(errors="replace")))
    except UnfinishedError as error:
        raise BadTextError("unfinished", f"{error}; raise max_tokens if most are") from error
    except ValueError as error:
        raise BadTextError("not_json", f"expected JSON, got {reply[:80]!r}") from error
    check_fields(fields, prompt.schema)
    return cast(Fields, fields)


def fingerprint(config: ChatWriterConfig | None) -> str | None:
    """Of the prompts, for the hash of a step that has them asked."""
    return prompts.fingerprint() if config else None
