"""Chat completions in words: images first, the text last, an answer of a given JSON schema."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from shards.http_client import TransientError
from shards.sample import EncodedImage, Json, canonical_json

PATH = "/v1/chat/completions"
MIME = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp"}


def image_json(image: EncodedImage) -> bytes:
    """The JSON of one image; its uuid lets a server's caches tell it without looking.

    >>> image_json(EncodedImage(b"x", "png"))[:60]
    b'{"image_url":{"url":"data:image/png;base64,eA=="},"type":"im'
    """
    url = f"data:image/{MIME[image.extension]};base64,{base64.b64encode(image.data).decode()}"
    uuid = hashlib.sha256(image.data).hexdigest()
    return canonical_json({"type": "image_url", "image_url": {"url": url}, "uuid": uuid})


def chat_body(
    settings: Mapping[str, Json], images: Sequence[EncodedImage], text: str, schema: Json, name: str
) -> bytes:
    """The body that asks for JSON after `schema`.

    Args:
        settings: model, seed, max_tokens and what else is sent along.
        images: as they are to be sent.
        text: what is asked.
        schema: of the answer.
        name: of the schema.
    """
    wanted: Json = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    head = canonical_json({**settings, "response_format": wanted})[:-1]
    parts = b",".join([*map(image_json, images), canonical_json({"type": "text", "text": text})])
    return head + b',"messages":[{"role":"user","content":[' + parts + b"]}]}"


def read_content(answer: Any) -> str:  # noqa: ANN401, what a server says
    """What was written; it may be nothing.

    Raises:
        TransientError: the answer is none.
    """
    try:
        return str(answer["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError) as error:
        said = json.dumps(answer)[:200]
        raise TransientError("no_text", f"{PATH}: expected a message, got {said}") from error


def count_tokens(answer: Any) -> dict[str, int]:  # noqa: ANN401, what a server says
    """What an answer cost, where the server says it."""
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    usage = usage if isinstance(usage, Mapping) else {}
    return {name: int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
