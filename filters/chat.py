"""Chat completions as a judge uses them: images first, question last, one token, the labels' odds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shards.chat import PATH, chat_body, json_format, read_content
from shards.http_client import EndpointError, RequestError
from shards.sample import Json

CONTEXT = "maximum context length"  # how vLLM begins to say that a prompt does not fit


def question_body(
    model: str,
    images: Sequence[bytes],
    text: str,
    tokens: Sequence[int],
    *,
    request_id: str,
    processor: Mapping[str, Json],
) -> bytes:
    """The body that asks for one token and the probabilities of the label tokens.

    Args:
        model: name it is served under.
        images: their JSON, see `shards.chat.image_part`.
        text: the question.
        tokens: of the labels.
        request_id: for the server's log.
        processor: settings of the model's image processor.
    """
    settings: dict[str, Json] = {
        "model": model,
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "logprob_token_ids": list(tokens),
        "return_tokens_as_token_ids": True,
        "request_id": request_id,
    }
    return chat_body(settings, images, text, processor)


def written_body(
    model: str,
    images: Sequence[bytes],
    text: str,
    schema: Mapping[str, Json],
    *,
    max_tokens: int,
    processor: Mapping[str, Json],
) -> bytes:
    """The body that asks for JSON after `schema`."""
    settings: dict[str, Json] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": 0,
        "response_format": json_format(dict(schema), "reply"),
    }
    return chat_body(settings, images, text, processor)


def read_probabilities(answer: Any, model: str, labels: Mapping[str, int]) -> dict[str, float]:  # noqa: ANN401, what a server says
    """The probability of each label on the model's whole vocabulary.

    Args:
        answer: of the server.
        model: that was asked.
        labels: the token of each label.

    Raises:
        EndpointError: another model answered.
        RequestError: the answer does not hold what was asked for.
    """
    try:
        said_by = answer["model"]
        (choice,) = answer["choices"]
        held = choice["logprobs"]["content"][0]["top_logprobs"]
        chances = {entry["token"]: float(entry["logprob"]) for entry in held}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        said = json.dumps(answer)[:200]
        raise RequestError("no_logprobs", f"expected the labels' logprobs, got {said}") from error
    if said_by != model:
        raise EndpointError(
            f"{PATH}: expected an answer of {model!r}, got one of {said_by!r}; stop that server"
        )
    missing = [label for label, token in labels.items() if f"token_id:{token}" not in chances]
    if missing or not all(chance <= 1e-3 for chance in chances.values()):
        raise RequestError("no_logprobs", f"expected a logprob for {', '.join(labels)}, got {chances}")
    return {label: min(math.exp(chances[f"token_id:{token}"]), 1.0) for label, token in labels.items()}


def read_text(answer: Any) -> str:  # noqa: ANN401, what a server says
    """What was written.

    Raises:
        RequestError: the answer holds no text.
    """
    text = read_content(answer)
    if not text.strip():
        raise RequestError("no_text", f"expected a message, got {json.dumps(answer)[:200]}")
    return text
