"""The judge without its model: a sample and questions become requests, replies become rows; pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from filters.rubrics import Question
from shards.image import ImageError, image_facts
from shards.sample import Candidate, EncodedImage, Json, Sample, canonical_json

Row: TypeAlias = dict[str, Any]

# Below this the judge wanted to say something else than a label, and what the labels share is noise.
MASS_FLOOR = 0.5
WHOLE = -1


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question about one sample, as a judge gets it. Key, provenance and truth are not in it.

    Attributes:
        question: id of the question.
        version: of the question.
        text: the prompt, filled in.
        labels: the answers to read, in order.
        images: names of the members shown, in order: "ref0", "target".
        digests: sha256 of each image's bytes as sent.
        reference: the reference image asked about, from 0; -1 for the whole sample.
        candidate: the candidate asked about, from 0; -1 for the whole reference.
        claims: the instruction and what the sample claims its references show, for a judge that reads boxes
            instead of words.
        judge: identity of the judge: model, revision, declared flags.
    """

    question: str
    version: int
    text: str
    labels: tuple[str, ...]
    images: tuple[str, ...]
    digests: tuple[str, ...]
    reference: int = WHOLE
    candidate: int = WHOLE
    claims: Json = None
    judge: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an engine says to one request.

    Attributes:
        address: of the request in the ledger.
        reply: see `reply_bytes`.
        is_paid: whether it is kept for ever; an answer that was lost or refused is asked again next time.
    """

    address: bytes
    reply: bytes
    is_paid: bool


# A sample, and what is asked about it by each request's address in the ledger.
Asked: TypeAlias = tuple[Sample, Mapping[bytes, Request]]


class Engine(Protocol):
    """What answers requests: an in-process model or a served one."""

    def answers(self, asked: Sequence[Asked]) -> Iterator[Answer]:
        """An answer to every request, in any order, as they come."""
        ...

    def take_counts(self) -> Mapping[str, float]:
        """What it cost since the last call, by name."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class OneByOne(Protocol):
    """An engine that takes one sample at a time.

    Attributes:
        identity: what its answers depend on: kind, version, model, revision. `reads_claims` true puts the
            claimed subjects, boxes included, into its requests.
    """

    @property
    def identity(self) -> Mapping[str, Json]: ...

    def answer(self, sample: Sample, requests: Sequence[Request]) -> Sequence[bytes]:
        """One reply (see `reply_bytes`) for each request, in order."""
        ...


class InTurn:
    """Makes an engine of one that takes one sample at a time."""

    def __init__(self, engine: OneByOne) -> None:
        self._engine = engine

    def answers(self, asked: Sequence[Asked]) -> Iterator[Answer]:
        """An answer to every request, sample by sample."""
        for sample, requests in asked:
            replies = self._engine.answer(sample, list(requests.values()))
            for address, reply in zip(requests, replies, strict=True):
                yield Answer(address=address, reply=reply, is_paid=True)

    def take_counts(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        return None


def make_requests(
    sample: Sample,
    questions: Sequence[Question],
    identity: Mapping[str, Json],
    sent: Mapping[str, EncodedImage] | None = None,
) -> list[Request]:
    """Every request that `questions` make of `sample`, a question's in order of reference and candidate.

    Args:
        sample: what is judged; only its images, instruction and claimed subjects are used.
        questions: what is asked.
        identity: of the judge.
        sent: the images as sent, by member name, where they were sized first; else the sample's own.
    """
    images = sent if sent is not None else sample.images
    digests = {name: hashlib.sha256(image.data).hexdigest() for name, image in images.items()}
    claims = _claims(sample) if identity.get("reads_claims") else None
    return [
        _request(sample, question, place, digests, claims, identity)
        for question in questions
        for place in _places(sample, question, images)
    ]


def request_bytes(request: Request) -> bytes:
    """The canonical bytes of a request: what the ledger hashes. Equal bytes are the same paid question."""
    return canonical_json(
        {
            "question": request.question,
            "version": request.version,
            "text": request.text,
            "labels": list(request.labels),
            "images": list(request.digests),
            "reference": request.reference,
            "candidate": request.candidate,
            "claims": request.claims,
            "judge": dict(request.judge),
        }
    )


def reply_bytes(
    probabilities: Mapping[str, float],
    label_mass: float,
    *,
    status: str = "ok",
    measured: Mapping[str, Json] | None = None,
) -> bytes:
    """The canonical bytes of a reply, as an engine gives it and the ledger keeps it.

    Args:
        probabilities: of each label on the judge's whole vocabulary; their sum is at most 1.
        label_mass: the sum, as the judge counted it.
        status: "ok", "truncated" or "error".
        measured: what else the judge found, for people; no row is made of it.
    """
    return canonical_json(
        {
            "probabilities": dict(probabilities),
            "label_mass": label_mass,
            "status": status,
            "measured": dict(measured or {}),
        }
    )


def read_reply(question: Question, reply: bytes, mass_floor: float = MASS_FLOOR) -> Row:
    """What a reply says: normalised probabilities by label order, mode, expected value, mass, status.

    A reply that cannot be read has no mode and no expected value: it is never a low score.

    >>> from filters.rubrics import pick_questions
    >>> [question] = pick_questions(["presence"])
    >>> read_reply(question, reply_bytes({"no": 0.25, "yes": 0.75}, 1.0))["expected"]
    0.75
    >>> read_reply(question, reply_bytes({"no": 0.02, "yes": 0.01}, 0.03))["status"]
    'unreadable'
    """
    try:
        probabilities, mass, status = _parse_reply(question, reply)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _unread(0.0, "error")
    if status != "ok":
        return _unread(mass, status)
    if mass < mass_floor or sum(probabilities) <= 0:
        return _unread(mass, "unreadable")
    return _read(question, probabilities, mass)


def make_rows(
    key: str,
    questions: Sequence[Question],
    requests: Sequence[Request],
    replies: Sequence[bytes],
    mass_floor: float = MASS_FLOOR,
) -> dict[str, list[Row]]:
    """A sample's rows for the question tables, by question; one row for each request."""
    by_id = {question.id: question for question in questions}
    rows: dict[str, list[Row]] = {question.id: [] for question in questions}
    for request, reply in zip(requests, replies, strict=True):
        place = {"key": key, "reference": request.reference, "candidate": request.candidate}
        rows[request.question].append(place | read_reply(by_id[request.question], reply, mass_floor))
    return rows


def target_candidate(candidates: Sequence[Candidate]) -> Candidate | None:
    """The candidate that the target is to show; the first where several are claimed."""
    return next((candidate for candidate in candidates if candidate.is_target), None)


def describe(candidates: Sequence[Candidate]) -> str:
    """The words for what a reference gives: its target's phrase, else its name.

    >>> describe([Candidate(name="cat", is_target=False), Candidate(name="fox", phrase="the red fox")])
    'the red fox'
    """
    target = target_candidate(candidates)
    return (target.phrase or target.name) if target else "nothing"


def _places(
    sample: Sample, question: Question, images: Mapping[str, EncodedImage]
) -> Iterator[tuple[int, int]]:
    if question.scope == "sample":
        yield WHOLE, WHOLE
        return
    for reference, candidates in enumerate(sample.subjects):
        if "raw" in question.images and f"raw{reference}" not in images:
            continue
        if question.scope == "reference":
            yield reference, WHOLE
        else:
            yield from ((reference, candidate) for candidate in range(len(candidates)))


def _request(
    sample: Sample,
    question: Question,
    place: tuple[int, int],
    digests: Mapping[str, str],
    claims: Json,
    identity: Mapping[str, Json],
) -> Request:
    names = _image_names(sample, question, place[0])
    return Request(
        question=question.id,
        version=question.version,
        text=question.text.format_map(_words(sample, question, *place)),
        labels=tuple(question.labels),
        images=names,
        digests=tuple(digests[name] for name in names),
        reference=place[0],
        candidate=place[1],
        claims=claims,
        judge=identity,
    )


def _image_names(sample: Sample, question: Question, reference: int) -> tuple[str, ...]:
    named = {
        "references": [f"ref{number}" for number in range(len(sample.references))],
        "reference": [f"ref{reference}"],
        "raw": [f"raw{reference}"],
        "target": ["target"],
    }
    return tuple(name for role in question.images for name in named[role])


def _words(sample: Sample, question: Question, reference: int, candidate: int) -> dict[str, str]:
    words = {
        "instruction": sample.instruction,
        "references": str(len(sample.references)),
        "subjects": "\n".join(
            f"- reference image {number}: {describe(candidates)}"
            for number, candidates in enumerate(sample.subjects, start=1)
        ),
    }
    if reference != WHOLE:
        words |= {"number": str(reference + 1), "subject": describe(sample.subjects[reference])}
    if candidate != WHOLE:
        asked = sample.subjects[reference][candidate]
        words |= {"candidate": asked.phrase or asked.name, "category": asked.category or asked.name}
        if "{spot}" in question.text:  # only then is the image's size wanted
            words["spot"] = spot(sample, reference, candidate)
    return words


def spot(sample: Sample, reference: int, candidate: int) -> str:
    """Which candidate is meant, without the words that are asked about: by its box in thousandths where that
    is known, else by the phrase of a distractor or the name of the target."""
    asked = sample.subjects[reference][candidate]
    size = _size(sample.references[reference]) if asked.box else None
    if asked.box is None or size is None:
        return f'"{asked.name if asked.is_target else asked.phrase or asked.name}"'
    sides = size * 2
    left, top, right, bottom = (
        round(1000 * at / max(side, 1)) for at, side in zip(asked.box, sides, strict=True)
    )
    return f"the subject in the box from ({left}, {top}) to ({right}, {bottom}), in thousandths of its sides"


def _size(image: EncodedImage) -> tuple[int, int] | None:
    """None where it cannot be read: a judge says so of the image itself."""
    try:
        facts = image_facts(image)
    except ImageError:
        return None
    return facts.width, facts.height


def _claims(sample: Sample) -> Json:
    subjects = [
        [
            {
                "name": c.name,
                "phrase": c.phrase,
                "is_target": c.is_target,
                "box": list(c.box) if c.box else None,
            }
            for c in candidates
        ]
        for candidates in sample.subjects
    ]
    return {"instruction": sample.instruction, "subjects": subjects}


def _parse_reply(question: Question, reply: bytes) -> tuple[list[float], float, str]:
    value = json.loads(reply)
    status = value["status"]
    if status not in ("ok", "truncated", "error"):
        raise ValueError(status)
    probabilities = (
        [float(value["probabilities"][label]) for label in question.labels] if status == "ok" else []
    )
    mass = float(value["label_mass"])
    if not all(math.isfinite(p) and p >= 0 for p in (*probabilities, mass)):
        raise ValueError(probabilities)
    return probabilities, mass, status


def _read(question: Question, probabilities: Sequence[float], mass: float) -> Row:
    total = sum(probabilities)
    shares = [p / total for p in probabilities]
    values = list(question.labels.values())
    return {
        "probabilities": shares,
        "mode": values[shares.index(max(shares))],
        "expected": sum(share * value for share, value in zip(shares, values, strict=True)),
        "label_mass": mass,
        "status": "ok",
    }


def _unread(mass: float, status: str) -> Row:
    return {"probabilities": [], "mode": None, "expected": None, "label_mass": mass, "status": status}
