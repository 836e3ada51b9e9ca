"""The images API before a painter that is no model: shapes, bounds, hang-ups, ends."""

import asyncio
import base64
import hashlib
import io
import threading
import time
from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from datagen.generators import Picture, PictureRequest
from datagen.images_api import ImagesApiConfig
from shards.ledger import Ledger
from shards.server_thread import ServerThread
from shards.storage import Storage
from train import images_server
from train.config import TINY
from train.drawing_queue import DeviceLostError, DrawingQueue
from train.guidance import SamplerConfig
from train.images_server import ImagesServer
from train.order import OrderError, Reception, TooLargeError
from train.threads import limited_threads

MODEL = "tiny-01234567"
RECEPTION = Reception(model=MODEL, rule=TINY.vae_resize, sampler=SamplerConfig(steps=4))
GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
FORM = "multipart/form-data; boundary=x"


class FakePainter:
    """Squares from a hash of the order; some prompts do what their words say.

    A prompt of `hold` is drawn until it is released or abandoned, looking every few milliseconds.
    """

    def __init__(self):
        self.drawn = []
        self.abandoned = 0
        self.released = threading.Event()
        self.at_once = Counter()

    def __call__(self, order, watch):
        self.at_once["now"] += 1
        self.at_once["most"] = max(self.at_once["most"], self.at_once["now"])
        try:
            return self.paint(order, watch)
        finally:
            self.at_once["now"] -= 1

    def paint(self, order, watch):
        if order.prompt == "damaged":
            raise OrderError("image 1: expected a whole image, got one that breaks off", "image")
        if order.prompt == "large":
            raise TooLargeError("size: expected what the device has memory for", "size")
        if order.prompt == "bug":
            raise ZeroDivisionError("a bug")
        if order.prompt == "lost":
            raise DeviceLostError("expected a picture, got: device-side assert")
        while order.prompt == "hold" and not self.released.wait(0.005):
            try:
                watch()
            except Exception:
                self.abandoned += 1
                raise
        self.drawn.append(order.prompt)
        said = repr((order.prompt, [image.data for image in order.references], order.seed))
        colours = hashlib.sha512(said.encode()).digest()[:48]
        file = io.BytesIO()
        Image.frombytes("RGB", (4, 4), colours).resize(order.size).save(file, order.format)
        return file.getvalue()


def served(check, places=4):
    """Runs `check(client, painter, queue, server)` against a server whose handlers end with their clients."""
    said = []

    async def run():
        painter = FakePainter()
        queue = DrawingQueue(painter, places)
        server = ImagesServer(RECEPTION, queue, said.append)
        async with TestClient(TestServer(server.application())) as client:
            try:
                await asyncio.wait_for(check(client, painter, queue, server), 20)
            finally:
                queue.close()

    asyncio.run(run())
    return said


def form(prompt, *pictures, name="image[]", **fields):
    data = aiohttp.FormData(default_to_multipart=True)
    for field, value in {"prompt": prompt, "size": "96x64", **fields}.items():
        data.add_field(field, str(value))
    for picture in pictures:
        data.add_field(name, picture, filename="a.png", content_type="image/png")
    return data


def picture(colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def said_of(prompt, **fields):
    return {"prompt": prompt, "size": "96x64", **fields}


async def until(claim):
    while not claim():
        await asyncio.sleep(0.005)


def test_models_and_health_are_there():
    async def check(client, painter, queue, server):
        assert (await client.get("/health")).status == 200
        (model,) = (await (await client.get("/v1/models")).json())["data"]
        assert (model["id"], model["object"]) == (MODEL, "model")

    served(check)


def test_a_picture_comes_with_what_was_not_said():
    async def check(client, painter, queue, server):
        answer = await client.post(GENERATE, json={"prompt": "a fox", "output_format": "webp"})
        told = await answer.json()
        (entry,) = told["data"]
        image = Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))
        assert (image.format, image.size) == ("WEBP", (96, 96))
        assert (told["size"], told["seed"], told["output_format"]) == ("96x96", 0, "webp")

    said = served(check)
    assert len(said) == 1
    assert said[0].startswith("96x96 webp, 0 references, 4 steps, seed 0: 0.")
    assert "fox" not in said[0]


@pytest.mark.parametrize("name", ["image[]", "image"])
def test_references_are_read_in_their_order(name):
    async def check(client, painter, queue, server):
        answers = [
            await client.post(EDIT, data=form("both", *(picture(c) for c in colours), name=name))
            for colours in (("red", "blue"), ("blue", "red"), ("red", "blue"))
        ]
        one, other, again = [(await answer.json())["data"] for answer in answers]
        assert one == again != other

    served(check)


@pytest.mark.parametrize(
    ("path", "sent", "status", "field", "words"),
    [
        (GENERATE, {"json": said_of("x", model="other")}, 404, "model", "expected 'tiny-01234567'"),
        (GENERATE, {"json": said_of("x", seed="x")}, 400, "seed", "expected a valid integer, got 'x'"),
        (GENERATE, {"json": ["x"]}, 400, None, "body: expected an object"),
        (GENERATE, {"data": b"{"}, 400, None, "body: expected JSON"),
        (GENERATE, {"data": b"[" * 1990}, 400, None, "body: expected JSON"),
        (GENERATE, {"data": b'{"prompt": "\xff"}'}, 400, None, "body: expected JSON"),
        (GENERATE, {"json": said_of("large")}, 413, "size", "memory"),
        (GENERATE, {"json": said_of("bug")}, 500, None, "ZeroDivisionError"),
        (GENERATE, {"data": b"x" * 3000}, 413, None, "Maximum request body size"),
        (GENERATE, {"data": b'{"prompt": "a", "prompt": "b"}'}, 400, "prompt", "once, got it 2 times"),
        (GENERATE, {"json": {f"f{n}": 1 for n in range(50)}}, 400, None, "at most 32 fields, got 50"),
        (EDIT, {"json": said_of("x")}, 400, None, "expected multipart/form-data, got 'application/json'"),
        (EDIT, {"data": form("x")}, 400, "image", "expected a picture or more, got none"),
        (EDIT, {"data": form("x", b"GIF89a")}, 400, "image", "image 1: expected a PNG, JPEG or WebP"),
        (EDIT, {"data": form("damaged", picture())}, 400, "image", "breaks off"),
        (EDIT, {"data": form("x", picture(), mask="x")}, 400, "mask", "mask: unknown"),
        (EDIT, {"data": form("x", b"x" * 3000)}, 413, None, "Maximum request body size"),
        (EDIT, {"data": form("x", picture(), image="text")}, 400, "image", "bytes, got the text 'text'"),
        ("/v1/images/variations", {"json": {}}, 404, None, "Not Found"),
        ("/health", {"json": {}}, 405, None, "Method Not Allowed"),
    ],
)
def test_what_cannot_be_answered_is_refused_as_the_api_says_it(path, sent, status, field, words, monkeypatch):
    monkeypatch.setattr(images_server, "BODY_BYTES", 2000)
    monkeypatch.setattr(images_server, "JSON_BYTES", 2000)

    async def check(client, painter, queue, server):
        answer = await client.post(path, **sent)
        error = (await answer.json())["error"]
        assert (answer.status, error["param"]) == (status, field)
        assert words in error["message"]
        assert error["code"] == ("model_not_found" if field == "model" else None)
        assert error["type"] == ("server_error" if status == 500 else "invalid_request_error")
        assert (await client.post(GENERATE, json=said_of("after"))).status == 200
        assert not server.is_over.is_set()

    served(check, places=1)


def test_words_need_no_more_bytes_than_words_have():
    async def check(client, painter, queue, server):
        body = io.BytesIO(b'{"prompt": [' + b"[]," * 500_000 + b"[]]}")
        long = await client.post(GENERATE, data=body)
        assert (long.status, (await long.json())["error"]["message"]) == (
            413,
            f"Maximum request body size {images_server.JSON_BYTES} exceeded.",
        )

    served(check)


@pytest.mark.parametrize(("path", "kind"), [(GENERATE, "application/json"), (EDIT, FORM)])
def test_a_body_that_cannot_be_unpacked_is_no_bug_of_the_server(path, kind):
    async def check(client, painter, queue, server):
        headers = {"Content-Type": kind, "Content-Encoding": "gzip", "Connection": "close"}
        answer = await client.post(path, data=b"no gzip", headers=headers)
        assert answer.status == 400
        assert "decode content-encoding" in (await answer.json())["error"]["message"]
        assert (await client.post(GENERATE, json=said_of("after"))).status == 200

    assert len(served(check, places=1)) == 1


def test_no_answer_says_back_more_than_a_few_words():
    async def check(client, painter, queue, server):
        for fields in ({"model": "m" * 30_000}, {"k" * 30_000: 1}, {"size": "9" * 30_000}):
            answer = await client.post(GENERATE, json=said_of("x") | fields)
            assert answer.status in (400, 404)
            assert len(await answer.text()) < 2_000

    served(check)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2) + b"--x--\r\n",
        ),
    ],
)
def test_a_broken_form_is_the_clients_fault(kind, body):
    async def check(client, painter, queue, server):
        answer = await client.post(EDIT, data=body, headers={"Content-Type": kind})
        assert answer.status == 400, await answer.text()
        assert (await answer.json())["error"]["message"]

    served(check, places=1)


def test_pictures_are_drawn_one_at_a_time_in_the_order_they_came_and_no_more_than_places_wait():
    async def check(client, painter, queue, server):
        asked = []
        for number, prompt in enumerate(("hold", "second", "third")):
            asked.append(asyncio.create_task(client.post(EDIT, data=form(prompt, picture()))))
            await until(lambda n=number: queue.taken == n + 1)
        refused = await client.post(EDIT, data=form("fourth", picture()))
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) >= 1
        error = (await refused.json())["error"]
        assert "at most 3 pictures at once" in error["message"]
        assert (error["type"], error["code"]) == ("server_error", "rate_limit_exceeded")
        painter.released.set()
        assert [(await each).status for each in asked] == [200, 200, 200]
        assert painter.drawn == ["hold", "second", "third"]
        assert painter.at_once["most"] == 1
        assert (await client.post(EDIT, data=form("fourth", picture()))).status == 200

    served(check, places=3)


def test_who_hangs_up_frees_the_place_whether_waiting_or_drawn():
    async def check(client, painter, queue, server):
        drawn = asyncio.create_task(client.post(GENERATE, json=said_of("hold")))
        await until(lambda: painter.at_once["now"] == 1)
        waits = asyncio.create_task(client.post(GENERATE, json=said_of("nobody's")))
        await until(lambda: queue.taken == 2)
        waits.cancel()
        await until(lambda: queue.taken == 1)
        drawn.cancel()
        await until(lambda: queue.taken == 0)
        assert painter.abandoned == 1
        assert (await client.post(GENERATE, json=said_of("mine"))).status == 200
        assert painter.drawn == ["mine"]

    said = served(check, places=2)
    assert ["nobody waits" in line for line in said] == [True, True, False]


def test_who_sends_no_body_loses_the_place(monkeypatch):
    monkeypatch.setattr(images_server, "BODY_S", 0.1)

    async def check(client, painter, queue, server):
        async def nothing():
            yield b"{"
            await asyncio.sleep(1)

        answer = await client.post(GENERATE, data=nothing())
        assert answer.status == 408
        assert (await client.post(GENERATE, json=said_of("x"))).status == 200

    served(check, places=1)


def test_an_end_abandons_what_is_drawn_and_tells_who_waits():
    async def check(client, painter, queue, server):
        asked = [asyncio.create_task(client.post(GENERATE, json=said_of("hold")))]
        await until(lambda: painter.at_once["now"] == 1)
        asked.append(asyncio.create_task(client.post(GENERATE, json=said_of("waits"))))
        await until(lambda: queue.taken == 2)
        queue.close()
        assert [(await each).status for each in asked] == [503, 503]
        assert (await client.post(GENERATE, json=said_of("late"))).status == 503
        assert (painter.abandoned, painter.drawn) == (1, [])

    served(check)


def test_an_end_does_not_wait_for_who_is_slow_to_say_what_to_draw():
    async def check(client, painter, queue, server):
        async def slowly():
            yield b"{"
            await until(server.is_over.is_set)
            await asyncio.sleep(30)

        asked = asyncio.create_task(client.post(GENERATE, data=slowly()))
        await until(lambda: queue.taken == 1)
        server.stop()
        answer = await asyncio.wait_for(asked, 5)
        assert answer.status == 503
        assert "one that ends" in (await answer.json())["error"]["message"]

    served(check)


def test_a_lost_device_ends_the_server_for_another_to_take_its_place():
    async def check(client, painter, queue, server):
        assert (await client.post(GENERATE, json=said_of("lost"))).status == 500
        assert server.is_over.is_set()
        assert server.status == images_server.LOST

    said = served(check)
    assert "DeviceLostError: expected a picture, got: device-side assert" in said[0]


class ServedThread(ServerThread):
    def __init__(self, places):
        self.painter, self.answers = FakePainter(), Counter()
        application = ImagesServer(
            RECEPTION, DrawingQueue(self.painter, places), lambda line: None
        ).application()
        application.middlewares.insert(0, self._count)
        super().__init__(application)

    @web.middleware
    async def _count(self, request, handler):
        response = await handler(request)
        self.answers[response.status] += 1
        return response


def test_a_busy_server_is_asked_again_and_not_set_aside(tmp_path):
    asked = [PictureRequest(prompt=f"fox {n}", size_px=(96, 64), seed=n) for n in range(12)]
    with ServedThread(places=2) as server:
        config = ImagesApiConfig(
            model=MODEL, revision="r", endpoints=(server.url,), probe_px=(96, 48), in_flight=6, timeout_s=20
        )
        api = config.build(Ledger(Storage(str(tmp_path))))
        began = time.monotonic()
        drawn = api.draw(asked)
        api.close()
    assert all(isinstance(each, Picture) for each in drawn)
    assert server.answers[429] > 0, "nobody was refused: the test shows nothing"
    assert len(server.painter.drawn) == 12 + 7, "set aside, and probed anew"
    assert time.monotonic() - began < 60


def test_threads_are_as_many_as_before_at_the_end():
    import torch

    before = torch.get_num_threads()
    with limited_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
