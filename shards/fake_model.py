"""What the fake model servers of the package share: routes, faults to order, a log of requests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from aiohttp import web

REQUEST_BYTES = 256 << 20  # pictures come in them


@dataclass(kw_only=True)
class FakeBehaviour:
    """How a fake behaves.

    Attributes:
        model: the name it serves.
        latency_s: of each answer.
        script: faults of the first requests, in order; "" for none.
        always: the fault of every request after that; "" for none.
        by_words: faults of requests whose words hold these.
        trusts: whether a request may set the image processor, as vLLM's --trust-request-mm-kwargs allows.
    """

    model: str
    latency_s: float = 0.0
    script: Sequence[str] = ()
    always: str = ""
    by_words: Mapping[str, str] = field(default_factory=dict)
    trusts: bool = False


A = TypeVar("A")  # an entry of the log: a dataclass
B = TypeVar("B", bound=FakeBehaviour)


class FakeModel(Generic[B, A]):
    """A fake as an application; its state is what it was asked.

    Args:
        behaviour: may be changed while it runs.
        log: file that gets a line of JSON a request.
    """

    def __init__(self, behaviour: B, log: Path | None = None) -> None:
        self.behaviour = behaviour
        self.asked: list[A] = []
        self.running = 0
        self._log = log
        self._script = list(behaviour.script)

    def application(self) -> web.Application:
        """The routes that every model's server has."""
        app = web.Application(client_max_size=REQUEST_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        return app

    async def _health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:  # noqa: ARG002
        served = {"id": self.behaviour.model, "object": "model"}
        return web.json_response({"object": "list", "data": [served]})

    def fault(self, words: str, *, is_scripted: bool = True) -> str:
        """What a request of these words gets instead of an answer; "" for an answer."""
        for held, fault in self.behaviour.by_words.items():
            if held in words:
                return fault
        return self._script.pop(0) if self._script and is_scripted else self.behaviour.always

    def refusal(self, body: Mapping[str, object]) -> web.Response | None:
        """What vLLM says of a request that it would not trust."""
        if self.behaviour.trusts or not body.get("mm_processor_kwargs"):
            return None
        said = "Per-request mm_processor_kwargs are disabled by default"
        return web.json_response({"error": {"message": said}}, status=400)

    def note(self, asked: A) -> None:
        """Keep a request, and log it."""
        self.asked.append(asked)
        if self._log:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(asked)) + "\n")


def broken(fault: str) -> web.Response | None:
    """What any server answers that is out of order; None for another fault."""
    if fault in ("400", "429", "500"):
        return web.json_response({"error": {"message": "out of order"}}, status=int(fault))
    if fault == "garbage":
        return web.Response(text="<html>it works!", content_type="application/json")
    return None
