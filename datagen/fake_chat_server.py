"""A chat server that is no model: answers from templates and pixels, faults to order.

It reads the facts of our prompts (their last line is JSON) and writes what templates would; where those would
have to look, it compares mean colours. It ships with the package, as a Ray worker or a recipe's `command` may
have to start it: `python -m datagen.fake_chat_server --port 8000 --log requests.jsonl`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web
from PIL import Image

from datagen.candidate_boxes import SIDE
from datagen.fake_images_server import added_at
from datagen.mentions import renumber
from datagen.template_writer import WRITES
from datagen.text_checks import BadTextError
from shards.fake_model import FakeBehaviour, FakeModel, broken
from shards.server_thread import ServerThread, server_arguments
from shards.stage import keyed_random

MODEL = "fake-chat"
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "purple", "orange", "pink", "grey")
SIDES = {"left": "right", "right": "left"}
FAULTS = (
    "wrong_index",
    "repeats",
    "prose",
    "german",
    "empty",
    "quotes",
    "newline",
    "missing_field",
    "long",
    "fenced",
    "thinking",
    "talkative",
    "articles",
    "crossed",
    "cut",
    "refusal",
    "position",
    "mirrored",
    "nobody",
    "outside",
    "swapped",
    "same_box",
    "garbage",
    "no_text",
    "500",
    "429",
    "400",
    "hang",
)


@dataclass(kw_only=True)
class Behaviour(FakeBehaviour):
    """How the fake behaves.

    Attributes:
        by_prompt: faults of requests for a prompt.
        sides: whether its phrases tell subjects by their sides, allowed or not.
    """

    model: str = MODEL
    by_prompt: Mapping[str, str] = field(default_factory=dict)
    sides: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One entry of the request log.

    Attributes:
        prompt: which one.
        text: as it came.
        images: sha256 of each image.
        seed: of the request; None if it had none.
        fault: what it got instead of an answer; "" for an answer.
    """

    prompt: str
    text: str
    images: Sequence[str]
    seed: int | None
    fault: str

    @property
    def request(self) -> str:
        """What was asked, as one text: equal for equal requests."""
        return json.dumps([self.prompt, self.text, list(self.images), self.seed])


class FakeChat(FakeModel[Behaviour, Asked]):
    """The API of a vLLM server that a writer uses."""

    def application(self) -> web.Application:
        """Its routes."""
        app = super().application()
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt = body["response_format"]["json_schema"]["name"]
        parts = body["messages"][-1]["content"]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        images = [base64.b64decode(url.partition(",")[2]) for url in urls]
        digests = [hashlib.sha256(image).hexdigest() for image in images]
        fault = self.behaviour.by_prompt.get(prompt) or self.fault(text)
        self.note(Asked(prompt=prompt, text=text, images=digests, seed=body.get("seed"), fault=fault))
        await asyncio.sleep(3600 if fault == "hang" else self.behaviour.latency_s)
        if response := self.refusal(body) or broken(fault):
            return response
        if fault == "no_text":
            return web.json_response({"choices": []})
        said = say(prompt, text, images, body.get("seed") or 0, fault)
        return self._message(_sides(said) if self.behaviour.sides and prompt == "phrases" else said)

    def _message(self, content: str) -> web.Response:
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": len(content) // 4}
        return web.json_response({"model": self.behaviour.model, "choices": [choice], "usage": usage})


def say(prompt: str, text: str, images: Sequence[bytes], seed: int, fault: str) -> str:
    """What the fake answers: JSON as the schema has it, or what a fault makes of it."""
    facts = json.loads(text.rsplit("\n", 1)[-1])
    answer = dict(_fields(prompt, facts, images, seed))
    if fault in ("", "missing_field", "nobody"):
        if fault == "nobody":
            answer |= {"subject": 0, "subjects": [{"kind": "none", "name": ""} for _ in images]}
            answer |= {"boxes": [{**entry, "bbox_2d": []} for entry in answer.get("boxes", ())]}
        return json.dumps({} if fault == "missing_field" else answer)
    if fault == "prose":
        return "Sure! Here is what you asked for: a picture with both of them."
    if fault == "refusal":
        return "I'm sorry, but I can't help with identifying people in images."
    if fault == "empty":
        return ""
    if fault in HABITS:
        return HABITS[fault].format(json.dumps(answer, indent=1))
    if fault == "cut":
        return json.dumps(answer)[:-3]
    if fault in BOX_FAULTS:
        entries = answer.get("boxes", ())
        spoilt = [{**entry, "bbox_2d": BOX_FAULTS[fault](entry, entries)} for entry in entries]
        return json.dumps({**answer, "boxes": spoilt})
    given = str(facts.get("instruction") or text.partition("\n")[0])
    return json.dumps(_spoilt(answer, given, fault)).replace("\\n", "\n")  # as vLLM lets through


def _spoilt(value: Any, given: str, fault: str) -> Any:  # noqa: ANN401, JSON
    """An answer with every text of it spoilt."""
    if isinstance(value, dict):
        return {n: v if n in ("kind", "cue") else _spoilt(v, given, fault) for n, v in value.items()}
    if isinstance(value, list):
        return [_spoilt(entry, given, fault) for entry in value]
    if not isinstance(value, str):
        return 5 if fault == "wrong_index" else value
    words = {
        "wrong_index": f"{value} and the kite from image 5",
        "repeats": given,
        "german": "Setze die Figur neben das Haus",
        "quotes": f'the so-called "{value}"',
        "newline": f"{value}\n\nand more",
        "long": value + " and so on" * 100,
        "position": "the one on the left",
        "articles": re.sub(r"^(?:the )?", "A ", value) + "." if len(value) < 30 else f" {value}\n",
        "crossed": renumber(value, {1: 2, 2: 1}),
        "mirrored": re.sub(r"\b(left|right)\b", lambda side: SIDES[side[0]], value),
    }
    return words[fault]


def _fields(prompt: str, facts: Any, images: Sequence[bytes], seed: int) -> Mapping[str, Any]:  # noqa: ANN401
    if prompt == "identify":
        return {"subject": _nearest_column(images, len(facts["subjects"]))}
    if prompt == "extract":
        kinds = ["character", "object"]
        named = [f"{_colour(image)} thing" for image in images]
        return {
            "subjects": [{"kind": kinds[n % 2], "name": name} for n, name in enumerate(named)],
            "scene": "",
        }
    if prompt == "locate":
        return {"boxes": _boxes(facts, images)}
    if prompt == "phrases":
        return {"phrases": _phrases(facts)}
    try:
        return WRITES[prompt](keyed_random("fake-chat", seed), facts, {})
    except BadTextError:
        return {"instruction": _placed(facts)}


def _boxes(facts: Any, images: Sequence[bytes]) -> list[dict[str, Any]]:  # noqa: ANN401
    """Where each subject stands: beside a corner of added ones, or in a column of a picture of columns."""
    searched, subjects = images[facts["picture"] - 1], facts["subjects"]
    added = sum("look" in entry for entry in subjects)
    if added:
        boxes = _around_corner(Image.open(io.BytesIO(searched)).size, added)
    else:
        alone = [images[entry["image"] - 1] for entry in subjects]
        boxes = [_column(_nearest_column([searched, each], len(alone)), len(alone)) for each in alone]
    return [{"number": number, "bbox_2d": box} for number, box in enumerate(boxes, start=1)]


def _around_corner(size_px: tuple[int, int], added: int) -> list[list[int]]:
    """What the fake images server added shares its corner; what was there before has all left of it."""
    left, top = (round(SIDE * at / side) for at, side in zip(added_at(size_px)[:2], size_px, strict=True))
    edges = [left + (SIDE - left) * n // added for n in range(added + 1)]
    return [[0, 0, left, SIDE], *([one, top, other, SIDE] for one, other in pairwise(edges))]


def _column(number: int, of: int) -> list[int]:
    return [SIDE * (number - 1) // of, 0, SIDE * number // of, SIDE]


HABITS: Mapping[str, str] = {
    "fenced": "```json\n{}\n```",
    "thinking": '<think>\nMaybe {{"subject": 0}}? No.\n</think>\n\n{}',
    "talkative": "Here is the JSON {{as asked}}:\n\n{}\n\nLet me know if it is to be changed!",
}
"""What models put around an answer where no grammar holds them; the answer is of use."""
BOX_FAULTS: Mapping[str, Callable[[Any, Any], list[int]]] = {
    "outside": lambda entry, _: [at + SIDE for at in entry["bbox_2d"]],
    "swapped": lambda entry, _: [*entry["bbox_2d"][2:], *entry["bbox_2d"][:2]],
    "same_box": lambda _, entries: list(entries[0]["bbox_2d"]),
}
"""A box of an entry, spoilt; of all entries."""


def _phrases(facts: Any) -> list[dict[str, str]]:  # noqa: ANN401
    """A colour for each, all different."""
    names = [entry["name"] for entry in facts["subjects"]]
    first = hashlib.sha256(json.dumps(names).encode()).digest()[0]
    colours = [COLOURS[(first + number) % len(COLOURS)] for number in range(len(names))]
    return [
        {"phrase": f"the {colour} {name}", "cue": "attribute"}
        for colour, name in zip(colours, names, strict=True)
    ]


def _sides(said: str) -> str:
    """Phrases of a model that looks at nothing but places."""
    phrases = json.loads(said)["phrases"]
    sides = ("on the left", "on the right", "in the middle")
    for entry, side in zip(phrases, sides, strict=False):
        entry |= {"phrase": f"the {entry['phrase'].rsplit(' ', 1)[-1]} {side}", "cue": "attribute"}
    return json.dumps({"phrases": phrases})


def _placed(facts: Any) -> str:  # noqa: ANN401
    """An instruction that holds the phrases, where there is no word to put them in the place of."""
    parts = [f"{entry['phrase']} from image {entry['image']}" for entry in facts["phrases"]]
    return f"Show {' and '.join(parts)} as they are meant to be."


def _nearest_column(images: Sequence[bytes], number: int) -> int:
    """Which column of the first picture is most like the second; the fake images server composes so."""
    whole, alone = (_small(image, 24 * number, 24) for image in images)
    columns = np.split(whole, number, axis=1)
    single = np.asarray(Image.fromarray(alone).resize((24, 24)), dtype=np.int16)
    apart = [np.abs(column.astype(np.int16) - single).mean() for column in columns]
    return int(np.argmin(apart)) + 1


def _small(data: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def _colour(data: bytes) -> str:
    return COLOURS[int(_small(data, 1, 1).sum()) % len(COLOURS)]


class FakeChatServer(ServerThread):
    """The fake in a thread of this process: `with FakeChatServer() as server: server.url`."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self.chat = FakeChat(behaviour or Behaviour(), log)
        super().__init__(self.chat.application(), host, port, "fake-chat")

    @property
    def asked(self) -> list[Asked]:
        """Every text that was asked for, in order."""
        return self.chat.asked


def main() -> None:
    """Serve until killed."""
    given = server_arguments("A language model's server that is no model.", MODEL, FAULTS).parse_args()
    behaviour = Behaviour(model=given.model, latency_s=given.latency_s, always=given.always)
    FakeChatServer(behaviour, given.host, given.port, given.log).serve_forever()


if __name__ == "__main__":
    main()
