"""A page on this machine where a person answers a rubric's questions; what comes of it is a CSV."""

from __future__ import annotations

import csv
import os
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
HEADERS = {  # nothing of another site in the page, and the page in none: a framed button is clicked unseen
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>bakery label</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>:root{{color-scheme:light dark}}
body{{font:16px/1.4 system-ui;margin:1em auto;padding:0 1em;max-width:70em}}
figure{{display:inline-block;margin:.3em;max-width:100%}}img{{height:16em;max-width:100%;object-fit:contain}}
pre{{white-space:pre-wrap;overflow-wrap:anywhere;background:light-dark(#f4f4f4,#26292d);padding:1em}}
form{{position:sticky;bottom:0;padding:.4em 0;background:Canvas}}
button{{font-size:1.2em;margin:.3em;padding:.4em 1.2em}}</style>{body}</html>"""


class LabelError(ValueError):
    """Labels that cannot be written: *where: expected what, got what; the way out*."""


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

    Raises:
        LabelError: the CSV is not one that can be gone on with, or there is nothing to ask.
    """

    def __init__(
        self, directory: Directory, keys: Sequence[str], questions: Sequence[Question], path: Path
    ) -> None:
        self._directory = directory
        self._path = path
        self._lock = Lock()
        self._answered = _read_answered(path)
        self._todo = list(_asked(directory, keys, questions))
        if not self._todo:
            named = ", ".join(question.id for question in questions)
            raise LabelError(
                f"label: expected something to ask about {len(keys)} samples, got nothing of {named}; a "
                "question that shows raw references can be asked by `verify` alone"
            )

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
            self._append(place, label)
            self._answered.add(place)
            return True

    def _append(self, place: tuple[str, str, str, str], label: str) -> None:
        with self._path.open("a+", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if not file.tell():
                writer.writerow(COLUMNS)
            elif not _ends_a_line(self._path):
                file.write("\r\n")
            key, question, reference, candidate = place
            writer.writerow([key, question, label, reference, candidate])


def _asked(directory: Directory, keys: Sequence[str], questions: Sequence[Question]) -> Iterator[Asked]:
    for key in keys:
        for request in make_requests(directory[key], questions, {}):
            yield Asked(key, request)


def _read_answered(path: Path) -> set[tuple[str, str, str, str]]:
    """The places that a CSV of ours has labels of; none where there is no file yet.

    Raises:
        LabelError: rows of ours would not fit under its first line.
    """
    if not path.parent.is_dir():
        raise LabelError(f"{path}: expected a folder to write into, got none; make {path.parent} first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise LabelError(
            f"{path}: expected a CSV that may be written, got one that may not; name another (--to)"
        )
    if not path.exists() or not path.stat().st_size:
        return set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise LabelError(
                    f"{path}: expected a first line {','.join(COLUMNS)} to go on with, got "
                    f"{','.join(rows.fieldnames or ())!r:.80}; write to another file (--to)"
                )
            return {(row["key"], row["question"], row["reference"], row["candidate"]) for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(
            f"{path}: expected a CSV in UTF-8, got {error}; write to another file (--to)"
        ) from error


def _ends_a_line(path: Path) -> bool:
    """Whether what is appended begins a line: an editor may leave the last one open."""
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() in (b"\n", b"\r")


class LabelServer(ThreadingHTTPServer):
    """Serves the page on loopback only; a form of another site has no token and is refused."""

    def __init__(self, labelling: Labelling, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise LabelError(f"--port {port}: expected a free port, got: {error}; 0 takes any") from error
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
        given = self._form()
        token = given.get("token", "").encode()
        if not self._is_ours() or not secrets.compare_digest(token, self.server.token.encode()):
            self._send(403, b"expected a form of this page", "text/plain")
            return
        key, question, reference, candidate = (given.get(name, "") for name in PLACE)
        try:
            self.server.labelling.answer((key, question, reference, candidate), given.get("label", ""))
        except OSError as error:
            told = (
                f"expected to write the label, got: {error}; go back and answer again once it can be written"
            )
            self._send(500, told.encode(), "text/plain; charset=utf-8")
            return
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def _form(self) -> dict[str, str]:
        """What was sent, each field once; nothing where it is no form of ours."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > FORM_BYTES:
            return {}
        fields = parse_qs(self.rfile.read(int(length)).decode(errors="replace"))
        return {name: values[0] for name, values in fields.items()}

    def _is_ours(self) -> bool:
        """Whether it was asked by this machine's address: no other name leads here."""
        return self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost")

    def _send(self, status: int, body: bytes, mime: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", mime)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def _caption(name: str) -> str:
    """What a question calls an image: it counts references from 1.

    >>> _caption("ref0"), _caption("target")
    ('reference image 1', 'target image')
    """
    return f"reference image {int(name[3:]) + 1}" if name.startswith("ref") else f"{name} image"


def page(labelling: Labelling, token: str) -> str:
    """The page for the next question."""
    left = labelling.left
    if not left:
        return PAGE.format(body="<p>All answered. You can close this page.</p>")
    asked = left[0]
    pictures = "".join(
        f'<figure><img src="/image/{asked.key}/{name}"><figcaption>{_caption(name)}</figcaption></figure>'
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
        body=f"<p>{escape(asked.request.question)} · {escape(asked.key)} · {len(left)} left</p>"
        f"{pictures}<pre>{escape(asked.request.text)}</pre>"
        f'<form method="post" action="/">{hidden}{buttons}</form>'
    )
