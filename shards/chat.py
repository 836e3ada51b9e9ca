"""Chat completions: images first, the text last; an answer of a given JSON schema; what it cost."""

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


def image_part(image: EncodedImage, processor: Mapping[str, Json]) -> bytes:
    """The JSON of one image; its uuid lets a server's caches tell it without looking.

    The uuid is of the bytes as sent and the processor's settings: with others the same bytes are another
    picture to the model.

    >>> image_part(EncodedImage(b"x", "png"), {})[:60]
    b'{"image_url":{"url":"data:image/png;base64,eA=="},"type":"im'
    """
    url = f"data:image/{MIME[image.extension]};base64,{base64.b64encode(image.data).decode()}"
    uuid = hashlib.sha256(image.data + canonical_json(processor)).hexdigest()
    return b'{"image_url":{"url":"%b"},"type":"image_url","uuid":"%b"}' % (url.encode(), uuid.encode())


def chat_body(
    settings: Mapping[str, Json], images: Sequence[bytes], text: str, processor: Mapping[str, Json]
) -> bytes:
    """The body of a request.

    Args:
        settings: model, max_tokens and what else is sent along; of a schema the order of its fields too.
        images: their JSON, see `image_part`; joined as bytes, for encoding megabytes anew costs the most.
        text: what is asked.
        processor: settings of the model's image processor.
    """
    extra: Mapping[str, Json] = {"mm_processor_kwargs": dict(processor)} if processor and images else {}
    parts = b",".join([*images, canonical_json({"type": "text", "text": text})])
    # Not sorted: a model writes the fields of a schema in the order that the schema has them.
    head = json.dumps({**settings, **extra}, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
    return head + b',"messages":[{"role":"user","content":[' + parts + b"]}]}"


def json_format(schema: Json, name: str) -> Json:
    """The `response_format` that asks for JSON after `schema`."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


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
    """What an answer cost: prompt, cached and completion tokens; 0 where the server does not say."""
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("prompt_tokens_details")
    return {
        "prompt_tokens": _count(usage, "prompt_tokens"),
        "cached_tokens": _count(details, "cached_tokens"),
        "completion_tokens": _count(usage, "completion_tokens"),
    }


def _count(said: object, name: str) -> int:
    found = said.get(name) if isinstance(said, Mapping) else None
    return found if isinstance(found, int) else 0
