"""A page on this machine where a person answers a rubric's questions; what comes of it is a CSV."""

from __future__ import annotations

import csv
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from filters.judge import Request, make_requests
from filters.rubrics import Question
from shards.index import Directory
from shards.sample import EncodedImage

HOST = "127.0.0.1"
PLACE = ("key", "question", "reference", "candidate")
COLUMNS = ("key", "question", "label", "reference", "candidate")
FORM_BYTES = 4096
MIME = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
PAGE = """<!doctype html><meta charset="utf-8"><title>bakery label</title>
<style>body{{font:16px/1.4 system-ui;margin:2em;max-width:70em}}img{{height:16em;margin:.3em}}
figure{{display:inline-block;margin:0}}pre{{white-space:pre-wrap;background:#f4f4f4;padding:1em}}
button{{font-size:1.2em;margin:.3em;padding:.4em 1.2em}}</style>{body}"""


@dataclass(frozen=True)
class Asked:
    """One question about one sample, for a person."""

    key: str
    request: Request

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What tells it from the others, as the CSV has it."""
        request = self.request
        return self.key, request.question, str(request.reference), str(request.candidate)


class Labelling:
    """What is to be asked, and what was answered; answers are appended as they come.

    Args:
        directory: the samples.
        keys: which of them.
        questions: what is asked.
        path: the CSV; what it holds already is not asked again.
    """

    def __init__(
        self, directory: Directory, keys: Sequence[str], questions: Sequence[Question], path: Path
    ) -> None:
        self._directory = directory
        self._path = path
        self._lock = Lock()
        self._todo = list(_asked(directory, keys, questions))
        self._answered = _read_answered(path)

    @property
    def left(self) -> list[Asked]:
        """What has no answer yet."""
        return [asked for asked in self._todo if asked.place not in self._answered]

    def image(self, key: str, name: str) -> EncodedImage | None:
        """An image of a sample, if there is one of that name."""
        if key not in self._directory.places:
            return None
        with self._lock:  # a directory is one reader's
            return self._directory[key].images.get(name)

    def answer(self, place: tuple[str, str, str, str], label: str) -> bool:
        """Append a label; say whether there was such a question with such a label, unanswered."""
        with self._lock:
            found = next((asked for asked in self.left if asked.place == place), None)
            if found is None or label not in found.request.labels:
                return False
            is_new = not self._path.exists()
            with self._path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                if is_new:
                    writer.writerow(COLUMNS)
                key, question, reference, candidate = place
                writer.writerow([key, question, label, reference, candidate])
            self._answered.add(place)
            return True


def _asked(directory: Directory, keys: Sequence[str], questions: Sequence[Question]) -> Iterator[Asked]:
    for key in keys:
        for request in make_requests(directory[key], questions, {}):
            yield Asked(key, request)


def _read_answered(path: Path) -> set[tuple[str, str, str, str]]:
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["key"], row["question"], row.get("reference") or "-1", row.get("candidate") or "-1")
            for row in csv.DictReader(file)
        }


class LabelServer(ThreadingHTTPServer):
    """Serves the page on loopback only; a form of another site has no token and is refused."""

    def __init__(self, labelling: Labelling, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.labelling = labelling
        self.token = secrets.token_urlsafe(16)


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer

    def do_GET(self) -> None:
        labelling = self.server.labelling
        parts = urlsplit(self.path).path.strip("/").split("/")
        if not self._is_ours():
            self._send(403, b"expected a request to this machine's own address", "text/plain")
        elif parts == [""]:
            self._send(200, page(labelling, self.server.token).encode(), "text/html; charset=utf-8")
        elif parts[0] == "image" and len(parts) == 3 and (image := labelling.image(*parts[1:])):
            self._send(200, image.data, MIME[image.extension])
        else:
            self._send(404, b"no such page", "text/plain")

    def do_POST(self) -> None:
        size = min(int(self.headers.get("Content-Length") or 0), FORM_BYTES)
        given = {name: values[0] for name, values in parse_qs(self.rfile.read(size).decode()).items()}
        if not self._is_ours() or not secrets.compare_digest(given.get("token", ""), self.server.token):
            self._send(403, b"expected a form of this page", "text/plain")
            return
        key, question, reference, candidate = (given.get(name, "") for name in PLACE)
        self.server.labelling.answer((key, question, reference, candidate), given.get("label", ""))
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def _is_ours(self) -> bool:
        """Whether it was asked by this machine's address: no other name leads here."""
        return self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost")

    def _send(self, status: int, body: bytes, mime: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", mime)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def page(labelling: Labelling, token: str) -> str:
    """The page for the next question."""
    left = labelling.left
    if not left:
        return PAGE.format(body="<p>All answered. You can close this page.</p>")
    asked = left[0]
    pictures = "".join(
        f'<figure><img src="/image/{asked.key}/{name}"><figcaption>{name}</figcaption></figure>'
        for name in asked.request.images
    )
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in zip((*PLACE, "token"), (*asked.place, token), strict=True)
    )
    buttons = "".join(
        f'<button name="label" value="{escape(label)}">{escape(label)}</button>'
        for label in asked.request.labels
    )
    return PAGE.format(
        body=f"<p>{len(left)} left</p>{pictures}<pre>{escape(asked.request.text)}</pre>"
        f'<form method="post" action="/">{hidden}{buttons}</form>'
    )
