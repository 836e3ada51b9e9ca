"""Chat completions: images first, the text last; an answer of a given JSON schema; what it cost."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from shards.http_client import TransientError
from shards.sample import EncodedImage, Json, canonical_json

PATH = "/v1/chat/completions"
THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)
BRACKET = re.compile(r'"(?:\\.|[^"\\])*(?:"|\Z)|[{}]', re.DOTALL)  # or a string: brackets in it close nothing
# vLLM's grammar lets line ends and tabs stand in strings.
DECODER = json.JSONDecoder(strict=False)
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


class UnfinishedError(ValueError):
    """An answer ends before its thoughts or its JSON do: it had too few tokens."""


def parse_json(content: str) -> Any:  # noqa: ANN401, what a model says
    """The JSON object of an answer, whatever stands around it.

    A server that holds its model to a schema sends nothing else; one that does not sends what the model is
    used to: thoughts, a code fence, a sentence before or after.

    >>> parse_json('<think>Is it {"a": 2}?</think>Sure: ```json {"a": 1}``` I hope it helps.')
    {'a': 1}

    Raises:
        UnfinishedError: it was cut off.
        ValueError: there is none, or more than one.
    """
    said = THOUGHT.sub("", content).strip()
    if said.startswith("<think>"):
        raise UnfinishedError(f"expected JSON after the thoughts, got none before ...{said[-80:]!r}")
    found = list(_objects(said))
    if len(found) != 1:
        raise ValueError(f"expected one JSON object, got {len(found)} in {content!r:.120}")
    return found[0]


def _objects(text: str) -> Iterator[Any]:
    """The objects that stand in a text, one after the other; brackets around no JSON are passed over."""
    at = text.find("{")
    while at >= 0:
        end = _end_of_object(text, at)
        with suppress(ValueError, RecursionError):
            yield DECODER.decode(text[at:end])
        at = text.find("{", end)


def _end_of_object(text: str, start: int) -> int:
    """Behind the bracket that closes the one at `start`."""
    depth = 0
    for found in BRACKET.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    raise UnfinishedError(f"expected whole JSON, got it cut off at ...{text[-80:]!r}")


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
