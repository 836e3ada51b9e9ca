"""Questions as data: what a judge is asked, which images it needs, what its labels are worth."""

from __future__ import annotations

import difflib
import hashlib
import math
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import yaml

from shards.sample import canonical_json

Scope: TypeAlias = Literal["sample", "reference", "candidate"]
ImageRole: TypeAlias = Literal["references", "reference", "raw", "target"]

SHIPPED = Path(__file__).with_name("rubrics.yaml")

# What a text may speak of. All of it is what the sample claims; nothing of it is what is true.
PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "sample": frozenset({"instruction", "references", "subjects"}),
    "reference": frozenset({"instruction", "references", "subjects", "number", "subject"}),
    "candidate": frozenset(
        {"instruction", "references", "subjects", "number", "subject", "candidate", "category", "spot"}
    ),
}


class RubricError(ValueError):
    """A question that cannot be asked: *where: expected what, got what; the way out*."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a rubric.

    Attributes:
        id: its name, and that of its table of answers.
        version: raised with every change of meaning.
        text: the prompt, with placeholders of `PLACEHOLDERS`.
        labels: the answers that are read, in order, each with its value.
        images: which images are shown, in order; "reference" is the one asked about, "raw" what it was
            before it was edited. A question that shows "raw" is asked only where that is known.
        scope: asked once a sample, once a reference image, or once a candidate.
        source: where it is from.
    """

    id: str
    version: int
    text: str
    labels: Mapping[str, float]
    images: tuple[ImageRole, ...]
    scope: Scope
    source: str

    @property
    def hash(self) -> str:
        """Of all that a judge's answer depends on; the source is not asked."""
        return hashlib.sha256(
            canonical_json(
                {
                    "id": self.id,
                    "version": self.version,
                    "text": self.text,
                    "labels": [[label, value] for label, value in self.labels.items()],
                    "images": list(self.images),
                    "scope": self.scope,
                }
            )
        ).hexdigest()


@lru_cache
def load_questions(path: Path = SHIPPED) -> dict[str, Question]:
    """The questions of a YAML file, by id.

    Raises:
        RubricError: the file or a question in it is not what `rubrics.yaml` describes; all faults at once.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RubricError(f"{path}: expected a rubric in YAML, got {error}") from error
    if not isinstance(content, dict) or not content:
        raise RubricError(f"{path}: expected questions by id, got {content!r:.80}")
    faults = [fault for name, entry in content.items() for fault in _faults(name, entry)]
    if faults:
        raise RubricError("\n".join(f"{path}: {fault}" for fault in faults))
    return {name: _question(name, entry) for name, entry in content.items()}


def pick_questions(names: Iterable[str], path: Path = SHIPPED) -> tuple[Question, ...]:
    """The named questions of a rubric, in the order asked for.

    >>> [question.id for question in pick_questions(["presence", "colour"])]
    ['presence', 'colour']

    Raises:
        RubricError: a name that the rubric does not hold.
    """
    known = load_questions(path)
    return tuple(known[name] if name in known else _refuse_name(name, known, path) for name in names)


def _refuse_name(name: str, known: Mapping[str, Question], path: Path) -> Question:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "add it there"
    raise RubricError(f"{path}: expected a question of {', '.join(known)}, got {name!r}; {hint}")


def _question(name: str, entry: Mapping[str, Any]) -> Question:
    return Question(
        id=name,
        version=entry["version"],
        text=entry["text"].strip(),
        labels={label: float(value) for label, value in entry["labels"].items()},
        images=tuple(entry["images"]),
        scope=cast(Scope, entry["scope"]),
        source=entry["source"].strip(),
    )


FIELDS = ("version", "text", "labels", "images", "scope", "source")


def _faults(name: object, entry: object) -> list[str]:
    if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
        return [f"expected a question's id as a lower-case word, got {name!r}; it names its table"]
    if not isinstance(entry, dict):
        return [f"{name}: expected {', '.join(FIELDS)}, got {entry!r:.80}"]
    if sorted(entry) != sorted(FIELDS):
        return [f"{name}: expected exactly {', '.join(FIELDS)}, got {', '.join(map(str, entry))}"]
    return [f"{name}: {fault}" for fault in [*_kind_faults(entry), *_label_faults(entry["labels"])]] or [
        f"{name}: {fault}" for fault in _text_faults(entry["text"], entry["scope"])
    ]


def _kind_faults(entry: Mapping[str, object]) -> list[str]:
    faults = []
    if type(entry["version"]) is not int or entry["version"] < 1:
        faults.append(f"version: expected a whole number from 1, got {entry['version']!r}")
    faults += [
        f"{field}: expected text, got {entry[field]!r}"
        for field in ("text", "source")
        if not isinstance(entry[field], str) or not str(entry[field]).strip()
    ]
    if entry["scope"] not in get_args(Scope):
        faults.append(f"scope: expected one of {', '.join(get_args(Scope))}, got {entry['scope']!r}")
    return faults + _image_faults(entry["images"], entry["scope"])


def _image_faults(images: object, scope: object) -> list[str]:
    known = get_args(ImageRole)
    if not isinstance(images, list) or not images or not all(role in known for role in images):
        return [f"images: expected a list of {', '.join(known)}, got {images!r}"]
    found = next((role for role in ("reference", "raw") if role in images and scope == "sample"), None)
    if found:
        return [
            f"images: expected references or target, got {found!r}; a sample's question has no one reference"
        ]
    return []


def _label_faults(labels: object) -> list[str]:
    if not isinstance(labels, dict) or len(labels) < 2:
        return [f"labels: expected at least two labels with their values, got {labels!r}"]
    faults = [
        f"labels: expected text, got {label!r}; quote it" for label in labels if not isinstance(label, str)
    ]
    faults += [
        f"labels: {label}: expected a number, got {value!r}"
        for label, value in labels.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    ]
    if not faults and len(set(labels.values())) < len(labels):
        faults.append(
            f"labels: expected a value of its own for each, got {labels!r}; the likeliest label is no longer "
            "the likeliest value where two share one: leave one of them out"
        )
    return faults


def _text_faults(text: str, scope: str) -> list[str]:
    known = PLACEHOLDERS[scope]
    try:
        named = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError as error:
        return [f"text: expected placeholders in braces, got {error}; write {{{{ for a brace"]
    faults = [
        f"text: expected {{{field}}}, got a format or conversion in it; leave it out"
        for field, spec, conversion in named
        if spec or conversion
    ]
    return faults + [
        f"text: expected a placeholder of {', '.join(sorted(known))} (scope {scope}), got {field!r}"
        for field, _, _ in named
        if field not in known
    ]
