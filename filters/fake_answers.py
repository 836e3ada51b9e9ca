"""What the fake judge answers: from the truth of rendered samples, or from a hash; and its vocabulary."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from filters.judge import make_requests
from filters.raw import RawReferences, ancestors
from filters.right_answers import right_answer
from filters.rubrics import Question, load_questions
from shards.index import Directory
from shards.sample import Sample
from shards.storage import Storage

# The fake's vocabulary: these are one token each, any other text is a token a letter.
WORDS = ("0", "1", "2", "3", "4", "no", "yes")
FIRST_LETTER = 1000

Answer: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, float]]

SURE = 0.9  # of the right answer, in the fake's mind


def shifted(found: Mapping[str, float], shift: float) -> dict[str, float]:
    """Probabilities as another model would have them."""
    moved = {label: p + shift * (number < len(found) - 1) for number, (label, p) in enumerate(found.items())}
    total = sum(moved.values()) or 1.0
    return {label: p / total for label, p in moved.items()}


def answer_by_hash(prompt: str, digests: Sequence[str]) -> Mapping[str, float]:
    """Probabilities that depend on prompt and images, and on nothing else."""
    digest = hashlib.sha256("\n".join([prompt, *digests]).encode()).digest()
    weights = {word: digest[number] + 1 for number, word in enumerate(WORDS)}
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def tokenize(text: str) -> list[int]:
    """One token for each word of `WORDS`, for any other text one a letter.

    >>> tokenize("yes"), tokenize("yep")
    ([6], [1121, 1101, 1112])
    """
    return [WORDS.index(text)] if text in WORDS else [FIRST_LETTER + ord(letter) for letter in text]


def detokenize(token: int) -> str:
    """The text of one token."""
    return WORDS[token] if token < len(WORDS) else chr(token - FIRST_LETTER)


def read_prompt(body: Mapping[str, Any]) -> tuple[str, list[bytes]]:
    """The words of a request, and its images' bytes."""
    parts = body["messages"][-1]["content"]
    words = "\n".join(part["text"] for part in parts if part["type"] == "text")
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return words, [base64.b64decode(url.partition(",")[2]) for url in urls]


def answer_from_truth(directory: str) -> Answer:
    """Right answers about the samples of a finished directory, told by their images; a hash for any other.

    It knows samples whose images are sent as they are, that is, not larger than the judge's `max_pixels`.
    Questions that differ in words or images have answers of their own; of samples with the same images, those
    of which the very words were asked.
    """
    storage = Storage(directory)
    opened, raw = Directory(storage), RawReferences(ancestors([storage]))
    edited = [raw.beside(opened[key]) for key in opened.places]
    samples = {_images_of(sample): sample for sample in edited}
    known = dict(_right_answers(edited))
    patterns = [(question, _pattern(question)) for question in load_questions().values()]

    def answer(prompt: str, digests: Sequence[str]) -> Mapping[str, float]:
        if (prompt, *digests) in known:
            return _sure(*known[prompt, *digests])
        sample = samples.get(tuple(digests))
        found = next(((q, m) for q, p in patterns if (m := p.fullmatch(prompt))), None)
        value = _right(sample, *found) if sample and found else None
        if found is None or value is None:
            return answer_by_hash(prompt, digests)
        return _sure(found[0], value)

    return answer


def _right_answers(samples: Sequence[Sample]) -> Iterator[tuple[tuple[str, ...], tuple[Question, float]]]:
    """What is asked of samples, words and images, with its right answer."""
    questions = load_questions()
    for sample in samples:
        for request in make_requests(sample, list(questions.values()), {}):
            value = right_answer(request.question, sample, request.reference, request.candidate)
            if value is not None:
                yield (request.text, *request.digests), (questions[request.question], value)


def _sure(question: Question, value: float) -> dict[str, float]:
    rest = (1 - SURE) / (len(question.labels) - 1)
    return {label: SURE if worth == value else rest for label, worth in question.labels.items()}


def _images_of(sample: Sample) -> tuple[str, ...]:
    return tuple(hashlib.sha256(image.data).hexdigest() for image in (*sample.references, sample.target))


def _pattern(question: Question) -> re.Pattern[str]:
    """The text of a question with anything in the place of its placeholders."""
    parts = re.split(r"\{(\w+)\}", question.text)
    seen: set[str] = set()
    found = ""
    for number, part in enumerate(parts):
        is_named = number % 2 and part in ("number", "candidate") and part not in seen
        found += f"(?P<{part}>.*?)" if is_named else "(?:.*?)" if number % 2 else re.escape(part)
        seen.add(part)
    return re.compile(found, re.DOTALL)


def _right(sample: Sample, question: Question, asked: re.Match[str]) -> float | None:
    groups = asked.groupdict()
    reference = int(groups.get("number") or 0) - 1
    named = groups.get("candidate")
    names = [c.phrase or c.name for c in sample.subjects[reference]] if named else []
    return right_answer(question.id, sample, reference, names.index(named) if named in names else -1)
