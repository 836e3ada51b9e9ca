"""The OpenAI images API before one model: routes, forms and JSON, errors in the API's shape."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from train.drawing_queue import ClosingError, DeviceLostError, DrawingQueue, QueueFullError
from train.order import Order, OrderError, Reception

BODY_BYTES = 64 << 20  # references as they are: eight of 8 MB
JSON_BYTES = 1 << 20  # words alone; reading 60 MB of JSON kept all others waiting for a minute
BODY_S = 60.0  # for all of it to come; who sends nothing would hold a place
REFERENCES = ("image[]", "image")
LOST = 1  # exit status when the device is lost

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Sent:
    """A request's body: fields by name, pictures in their order."""

    fields: Mapping[str, Any]
    references: list[bytes]


class ImagesServer:
    """The API of one model.

    Args:
        reception: reads orders.
        queue: draws them.
        say: gets a line a picture; no prompt and no header is in it.
    """

    def __init__(self, reception: Reception, queue: DrawingQueue, say: Callable[[str], None]) -> None:
        self._reception = reception
        self._queue = queue
        self._say = say
        self._limits: set[asyncio.Timeout] = set()  # of bodies that are still coming
        self.is_over = asyncio.Event()
        self.status = 0

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=BODY_BYTES, middlewares=[self._in_shape])
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/images/generations", self._generations)
        app.router.add_post("/v1/images/edits", self._edits)
        return app

    async def _health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:  # noqa: ARG002
        served = {"id": self._reception.model, "object": "model", "created": 0, "owned_by": "bakery"}
        return web.json_response({"object": "list", "data": [served]})

    async def _generations(self, request: web.Request) -> web.Response:
        return await self._picture(request, read_json)

    async def _edits(self, request: web.Request) -> web.Response:
        return await self._picture(request, read_form)

    async def _picture(
        self, request: web.Request, read: Callable[[web.Request], Awaitable[Sent]]
    ) -> web.Response:
        came = time.monotonic()
        with self._queue.place():
            sent = await self._sent(request, read)
            order = self._reception.order(sent.fields, sent.references)
            try:
                drawn = await self._queue.draw(order)
            except asyncio.CancelledError:
                self._say(
                    f"{described(order)} nobody waits for it, {time.monotonic() - came:.2f} s after it came"
                )
                raise
        waited_s = time.monotonic() - came - drawn.seconds
        self._say(f"{described(order)} {drawn.seconds:.2f} s, waited {waited_s:.2f} s")
        return web.json_response(
            {
                "created": int(time.time()),
                "data": [{"b64_json": base64.b64encode(drawn.data).decode()}],
                "output_format": order.format,
                "size": f"{order.size[0]}x{order.size[1]}",
                "seed": order.seed,
            }
        )

    async def _sent(self, request: web.Request, read: Callable[[web.Request], Awaitable[Sent]]) -> Sent:
        limit = asyncio.timeout(BODY_S)
        self._limits.add(limit)
        try:
            async with limit:
                return await read(request)
        except TimeoutError:
            if self.is_over.is_set():
                raise ClosingError from None
            raise web.HTTPRequestTimeout(text=f"expected a body within {BODY_S:g} s") from None
        finally:
            self._limits.discard(limit)

    @web.middleware
    async def _in_shape(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whatever goes wrong as the API says it."""
        try:
            return await handler(request)
        except OrderError as error:
            code = "model_not_found" if error.status == 404 else None
            return refusal(error.status, str(error), error.field or None, code)
        except QueueFullError as error:
            # Not 503: that counts against an endpoint, which would be set aside and probed anew, drawing.
            wait = {"Retry-After": str(error.retry_after_s)}
            return refusal(429, str(error), code="rate_limit_exceeded", headers=wait)
        except ClosingError as error:
            return refusal(503, str(error))
        except web.RequestPayloadError as error:
            return refusal(400, f"body: expected one that can be read, got: {error}")
        except web.HTTPException as error:
            return refusal(error.status, error.text or error.reason)
        except Exception as error:  # noqa: BLE001, one request's failure is its own answer
            return self._failed(error)

    def _failed(self, error: Exception) -> web.Response:
        """A bug, or a device that is lost: then this process can draw no more, and ends for another."""
        self._say("".join(traceback.format_exception(error)).rstrip())
        if isinstance(error, DeviceLostError):
            self.status = LOST
            self.stop()
        return refusal(500, f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        """End after the step that is being made; nobody's body is waited for."""
        self.is_over.set()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())


def described(order: Order) -> str:
    """An order in a few words, none of its own."""
    width, height = order.size
    return (
        f"{width}x{height} {order.format}, {len(order.references)} references, "
        f"{order.sampler.steps} steps, seed {order.seed}:"
    )


def refusal(
    status: int,
    message: str,
    field: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error as OpenAI's API shapes it."""
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    error = {"message": message, "type": kind, "param": field, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


async def read_json(request: web.Request) -> Sent:
    """The body of a picture from words alone.

    Raises:
        OrderError: it is no object in JSON, or says something twice.
    """
    try:
        text = await request.clone(client_max_size=JSON_BYTES).read()
        body = json.loads(text, object_pairs_hook=_said_once)
    except OrderError:
        raise
    except (ValueError, RecursionError) as error:
        raise OrderError(f"body: expected JSON, got: {error}") from error
    if not isinstance(body, dict):
        raise OrderError(f"body: expected an object, got {body!r:.40}")
    return Sent(body, [])


def _said_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _ in pairs)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise _twice(twice[0], counts[twice[0]])
    return dict(pairs)


def _twice(name: str, count: int) -> OrderError:
    return OrderError(f"{name:.80}: expected it once, got it {count} times", name)


async def read_form(request: web.Request) -> Sent:
    """The body of a picture from references.

    Raises:
        OrderError: it is no form, says something twice, or has no picture.
    """
    if request.content_type != "multipart/form-data":
        raise OrderError(
            f"body: expected multipart/form-data, got {request.content_type!r:.80}; "
            "/v1/images/generations takes JSON"
        )
    try:
        form = await request.post()
    except (ValueError, LookupError, AssertionError, HttpProcessingError) as error:
        raise OrderError(f"body: expected multipart/form-data, got: {error!r:.200}") from error
    fields = {name: value for name, value in form.items() if name not in REFERENCES}
    if twice := [name for name in fields if len(form.getall(name)) > 1]:
        raise _twice(twice[0], len(form.getall(twice[0])))
    references = [_picture_bytes(value) for name, value in form.items() if name in REFERENCES]
    if not references:
        raise OrderError(
            "image[]: expected a picture or more, got none; /v1/images/generations draws from words alone",
            "image",
        )
    return Sent(fields, references)


def _picture_bytes(value: object) -> bytes:
    """A form's picture: a file, or a part whose type says that it is no text."""
    if isinstance(value, web.FileField):
        return value.file.read()
    if isinstance(value, bytearray):
        return bytes(value)
    raise OrderError(f"image[]: expected a picture's bytes, got the text {value!r:.40}", "image")
