"""An images server that is no model: vLLM-Omni's API, pictures from a hash of what was sent, faults to order.

It ships with the package, as a Ray worker or a recipe's `command` may have to start it:
`python -m datagen.fake_images_server --port 8000 --log requests.jsonl`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from aiohttp import web
from PIL import Image

from datagen.images_probe import PROBE, PROBE_WITH
from shards.fake_model import FakeBehaviour, FakeModel, broken
from shards.sample import canonical_json
from shards.server_thread import ServerThread, server_arguments

MODEL = "fake-images"
FAULTS = (
    "ignored_seed",
    "random_seed",
    "ignored_references",
    "wrong_size",
    "black",
    "truncated",
    "unchanged",
    "other_scene",
    "garbage",
    "no_picture",
    "500",
    "429",
    "400",
    "hang",
)


@dataclass(kw_only=True)
class Behaviour(FakeBehaviour):
    """How the fake behaves. Its script leaves the start-up probe's pictures out."""

    model: str = MODEL


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One entry of the request log.

    Attributes:
        path: "generations" or "edits".
        fields: of the JSON or the form, as text, images left out.
        references: sha256 of each image.
        fault: what it got instead of a picture; "" for a picture.
        running: requests in work when it came, itself included.
    """

    path: str
    fields: Mapping[str, str]
    references: Sequence[str]
    fault: str
    running: int

    @property
    def is_probe(self) -> bool:
        """Whether it asks for one of the start-up probe's pictures."""
        return self.fields["prompt"] in (PROBE, PROBE_WITH)

    @property
    def request(self) -> str:
        """What was asked, as one text: equal for equal requests."""
        return canonical_json([self.path, dict(self.fields), list(self.references)]).decode()


class FakeImages(FakeModel[Behaviour, Asked]):
    """The API of a vLLM-Omni server that a generator uses."""

    def application(self) -> web.Application:
        """Its routes."""
        app = super().application()
        app.router.add_post("/v1/images/generations", self._generations)
        app.router.add_post("/v1/images/edits", self._edits)
        return app

    async def _generations(self, request: web.Request) -> web.Response:
        given = await request.json()
        return await self._answer("generations", {name: str(value) for name, value in given.items()}, [])

    async def _edits(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        images = [part.file.read() for part in form.getall("image[]", []) if isinstance(part, web.FileField)]
        if not images:
            return web.json_response({"error": {"message": "image[]: field required"}}, status=422)
        return await self._answer("edits", fields, images)

    async def _answer(self, path: str, fields: Mapping[str, str], images: Sequence[bytes]) -> web.Response:
        digests = [hashlib.sha256(image).hexdigest() for image in images]
        self.running += 1
        try:
            asked = Asked(path=path, fields=fields, references=digests, fault="", running=self.running)
            fault = self.fault(fields["prompt"], is_scripted=not asked.is_probe)
            asked = replace(asked, fault=fault)
            self.note(asked)
            await asyncio.sleep(3600 if asked.fault == "hang" else self.behaviour.latency_s)
            return self._reply(asked, images)
        finally:
            self.running -= 1

    def _reply(self, asked: Asked, images: Sequence[bytes]) -> web.Response:
        if response := broken(asked.fault):
            return response
        if asked.fault == "no_picture":
            return web.json_response({"created": 0, "data": []})
        picture = base64.b64encode(draw(asked, images)).decode()
        return web.json_response({"created": 0, "data": [{"b64_json": picture}]})


def draw(asked: Asked, images: Sequence[bytes]) -> bytes:
    """The picture that a request gets: coloured squares from a hash of prompt, references and seed."""
    width, height = (int(side) for side in asked.fields["size"].split("x"))
    if asked.fault == "wrong_size":
        width //= 2
    if asked.fault == "unchanged" and images:
        return _encoded(Image.open(io.BytesIO(images[0])).convert("RGB").resize((width, height)), asked)
    if asked.fault == "black":
        return _encoded(Image.new("RGB", (width, height)), asked)
    picture = _squares(asked).resize((width, height), Image.Resampling.NEAREST)
    if images and asked.fault not in ("ignored_references", "other_scene"):
        picture = _edited(images, picture)
    data = _encoded(picture, asked)
    return data[: len(data) // 2] if asked.fault == "truncated" else data


def _squares(asked: Asked) -> Image.Image:
    return Image.fromarray(np.frombuffer(_hashed(asked), dtype=np.uint8)[:48].reshape(4, 4, 3))


def _edited(images: Sequence[bytes], squares: Image.Image) -> Image.Image:
    """What an edit gives: the references side by side, the squares small in the lower right corner."""
    edited = Image.open(io.BytesIO(compose(images, squares.size)))
    left, top, right, bottom = added_at(squares.size)
    edited.paste(squares.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    return edited


def added_at(size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where an edit puts what it adds: left, top, right, bottom. The fake chat server says so when asked."""
    width, height = size_px
    side = max(4, min(width, height) // 4)
    return width - side, height - side, width, height


def compose(images: Sequence[bytes], size_px: tuple[int, int]) -> bytes:
    """Pictures side by side, a column each, as a PNG."""
    width, height = size_px
    composed = Image.new("RGB", size_px)
    for number, data in enumerate(images):
        left, right = (width * n // len(images) for n in (number, number + 1))
        composed.paste(Image.open(io.BytesIO(data)).convert("RGB").resize((right - left, height)), (left, 0))
    file = io.BytesIO()
    composed.save(file, "png")
    return file.getvalue()


def _hashed(asked: Asked) -> bytes:
    seed = "0" if asked.fault == "ignored_seed" else asked.fields["seed"]
    seed += str(id(asked)) if asked.fault == "random_seed" else ""
    references = [] if asked.fault == "ignored_references" else list(asked.references)
    return hashlib.sha512(canonical_json([asked.fields["prompt"], references, seed])).digest()


def _encoded(picture: Image.Image, asked: Asked) -> bytes:
    file = io.BytesIO()
    picture.save(file, asked.fields.get("output_format", "png"))
    return file.getvalue()


class FakeImagesServer(ServerThread):
    """The fake in a thread of this process: `with FakeImagesServer() as server: server.url`."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self.images = FakeImages(behaviour or Behaviour(), log)
        super().__init__(self.images.application(), host, port, "fake-images")

    @property
    def asked(self) -> list[Asked]:
        """Every picture that was asked for, in order, the probe's left out."""
        return [asked for asked in self.images.asked if not asked.is_probe]


def main() -> None:
    """Serve until killed."""
    given = server_arguments("An images server that is no model.", MODEL, FAULTS).parse_args()
    behaviour = Behaviour(model=given.model, latency_s=given.latency_s, always=given.always)
    FakeImagesServer(behaviour, given.host, given.port, given.log).serve_forever()


if __name__ == "__main__":
    main()
