"""A judge server that is no model: the API of vLLM, answers from truth or from a hash, faults to order.

It ships with the package, as a Ray worker or a recipe's `command` may have to start it:
`python -m filters.fake_server --port 8000 --truth DIRECTORY`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from filters.fake_answers import (
    Answer,
    answer_by_hash,
    answer_from_truth,
    detokenize,
    read_prompt,
    shifted,
    tokenize,
)
from shards.fake_model import FakeBehaviour, FakeModel, broken
from shards.manifest import ManifestError
from shards.server_thread import ServerThread, server_arguments
from shards.storage import StorageError

MODEL = "fake-judge"
FAULTS = (
    "429",
    "500",
    "400",
    "hang",
    "reset",
    "garbage",
    "no_logprobs",
    "low_mass",
    "wrong_model",
    "too_long",
)


@dataclass(kw_only=True)
class Behaviour(FakeBehaviour):
    """How the fake behaves.

    Attributes:
        start_s: how long after its start it is not ready.
        shift: added to every label's probability but the last; another model's answers.
        api_key: asked for, if set.
        retry_after_s: what a 429 asks for.
        missing: paths that it does not know, as another kind of server.
        answer: label probabilities of a prompt and the sha256 of each image.
    """

    model: str = MODEL
    start_s: float = 0.0
    shift: float = 0.0
    api_key: str = ""
    retry_after_s: float = 0.0
    missing: Sequence[str] = ()
    answer: Answer | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One entry of the request log.

    Attributes:
        id: `request_id` of the request, if it has one.
        prompt: its words.
        images: uuid of each image.
        fault: what it got instead of an answer; "" for an answer.
        running: requests in work when it came, itself included.
        at_s: when, by the process's clock.
    """

    id: str
    prompt: str
    images: Sequence[str]
    fault: str
    running: int
    at_s: float


class FakeJudge(FakeModel[Behaviour, Asked]):
    """The API of a vLLM server that a judge uses."""

    def __init__(self, behaviour: Behaviour, log: Path | None = None) -> None:
        super().__init__(behaviour, log)
        self._ready_at = time.monotonic() + behaviour.start_s

    def application(self) -> web.Application:
        """Its routes."""
        app = super().application()
        app.middlewares.append(self._gate)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    @web.middleware
    async def _gate(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401, aiohttp's
        if time.monotonic() < self._ready_at:
            return web.Response(status=503, text="starting")
        if request.path in self.behaviour.missing:
            return web.Response(status=404, text="Not Found")
        key = self.behaviour.api_key
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            given = request.headers.get("Authorization", "nothing")
            return web.json_response({"error": {"message": f"Unauthorized: {given}"}}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _tokenize(self, request: web.Request) -> web.Response:
        asked = await request.json()
        tokens = tokenize(asked["prompt"])
        answer: dict[str, Any] = {"tokens": tokens, "count": len(tokens), "max_model_len": 4096}
        if asked.get("return_token_strs"):
            answer["token_strs"] = [detokenize(token) for token in tokens]
        return web.json_response(answer)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt, images = read_prompt(body)
        fault = self.fault(prompt)
        self.running += 1
        try:
            self.note(self._asked(body, prompt, fault))
            await asyncio.sleep(self.behaviour.latency_s)
            return await self._reply(request, body, prompt, images, fault)
        finally:
            self.running -= 1

    def _asked(self, body: Mapping[str, Any], prompt: str, fault: str) -> Asked:
        parts = body["messages"][-1]["content"]
        return Asked(
            id=str(body.get("request_id", "")),
            prompt=prompt,
            images=[str(part.get("uuid", "")) for part in parts if part["type"] == "image_url"],
            fault=fault,
            running=self.running,
            at_s=time.monotonic(),
        )

    async def _reply(
        self,
        request: web.Request,
        body: Mapping[str, Any],
        prompt: str,
        images: Sequence[bytes],
        fault: str,
    ) -> web.StreamResponse:
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "reset" and request.transport:
            request.transport.abort()
        if fault == "429":
            wait = {"Retry-After": f"{self.behaviour.retry_after_s:g}"}
            return web.json_response({"error": {"message": "busy"}}, status=429, headers=wait)
        if fault == "too_long":
            said = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
            return web.json_response({"error": {"message": said}}, status=400)
        if response := self.refusal(body) or broken(fault):
            return response
        if "response_format" in body:
            return web.json_response(self._written(prompt))
        return web.json_response(self._answer(body, prompt, images, fault))

    def _written(self, prompt: str) -> dict[str, Any]:
        """A written rationale, for the second pass."""
        content = json.dumps({"reason": f"as {len(prompt)} letters ask", "answer": "2"})
        return {
            "model": self.behaviour.model,
            "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(content) // 4},
        }

    def _answer(
        self, body: Mapping[str, Any], prompt: str, images: Sequence[bytes], fault: str
    ) -> dict[str, Any]:
        labels = [detokenize(token) for token in body["logprob_token_ids"]]
        digests = [hashlib.sha256(image).hexdigest() for image in images]
        said = (self.behaviour.answer or answer_by_hash)(prompt, digests)
        found = shifted({label: said.get(label, 0.0) for label in labels}, self.behaviour.shift)
        mass = 0.05 if fault == "low_mass" else 0.98
        chances = {
            f"token_id:{token}": math.log(max(found[label] * mass, 1e-9))
            for token, label in zip(body["logprob_token_ids"], labels, strict=True)
        }
        top = [{"token": token, "logprob": chance} for token, chance in chances.items()]
        first = max(chances, key=chances.__getitem__)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": first},
            "logprobs": None
            if fault == "no_logprobs"
            else {"content": [{"token": first, "top_logprobs": top}]},
            "finish_reason": "length",
        }
        tokens = len(prompt) // 4 + 250 * len(images)
        return {
            "id": str(body.get("request_id", "")),
            "object": "chat.completion",
            "model": "another-model" if fault == "wrong_model" else self.behaviour.model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": tokens,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        }


class FakeServer(ServerThread):
    """The fake in a thread of this process: `with FakeServer() as server: server.url`."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self.judge = FakeJudge(behaviour or Behaviour(), log)
        super().__init__(self.judge.application(), host, port, "fake-judge")

    @property
    def asked(self) -> list[Asked]:
        """Every question that came, in order."""
        return self.judge.asked


def main() -> None:
    """Serve until killed."""
    parser = server_arguments("A judge server that is no model.", MODEL, FAULTS)
    parser.add_argument("--start-s", type=float, default=0.0, help="seconds until it is healthy")
    parser.add_argument(
        "--truth",
        help="a finished directory of rendered samples; answers about them come from their truth, about "
        "others from a hash of what was asked, as all do without it",
    )
    given = parser.parse_args()
    behaviour = Behaviour(
        model=given.model, latency_s=given.latency_s, always=given.always, start_s=given.start_s
    )
    if given.truth:
        try:
            behaviour.answer = answer_from_truth(given.truth)
        except (ManifestError, StorageError) as error:
            parser.error(f"--truth: {error}")
    FakeServer(behaviour, given.host, given.port, given.log).serve_forever()


if __name__ == "__main__":
    main()
