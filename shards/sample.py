"""What a sample is: reference images, an instruction, a target image, what it claims and where it is from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

KEY_PATTERN = re.compile(r"[a-z0-9_-]{1,80}")
EXTENSIONS = ("jpg", "jpeg", "png", "webp")
BENCHMARKS = frozenset({"sconeeval", "omnicontext"})
"""Sources whose samples measure a model; no training takes them."""


class SampleError(ValueError):
    """A sample that breaks the format: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class EncodedImage:
    """An image as the bytes of its file; pixels are never held in a sample.

    Attributes:
        data: the file's bytes, untouched since import.
        extension: one of `EXTENSIONS`, lower case, no dot.
    """

    data: bytes = field(repr=False)
    extension: str

    def __post_init__(self) -> None:
        if self.extension not in EXTENSIONS:
            raise SampleError(
                f"image: expected an extension of {', '.join(EXTENSIONS)}, got {self.extension!r}; "
                "convert the image first"
            )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One subject that a reference image shows, as SconeEval's `subject_list`/`subject_label` has it.

    Attributes:
        name: what it is called, e.g. "fox".
        category: its broad class, e.g. "Animals & Nature"; "" where unknown.
        phrase: the words that pick it, and only it, out of its reference image.
        is_target: whether the target image is to show it.
        box: (left, top, right, bottom) in pixels of the reference image, where known.
    """

    name: str
    category: str = ""
    phrase: str = ""
    is_target: bool = True
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a sample is from.

    Attributes:
        source: name of the published set or of the builder.
        licence: SPDX identifier or the publisher's words.
        task: SconeEval's task type, e.g. "composition_multi", "distinction_single_intra".
        case: case type, e.g. "character+object".
        parents: keys of the samples this one was made from.
        origin: how it was made or where in the source it stood: seeds, layout, models, file, row.
        truth: what the pictures really show, faults included. Known for rendered samples only. A judge
            never sees it.
    """

    source: str
    licence: str
    task: str
    case: str = ""
    parents: tuple[str, ...] = ()
    origin: Mapping[str, Json] = field(default_factory=dict)
    truth: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training sample of subject-driven generation, complete when made.

    Attributes:
        key: `[a-z0-9_-]+`, from content or plan, never from position.
        instruction: what to generate, in words.
        references: one image or more, in the order the instruction counts them.
        target: the image to generate.
        subjects: per reference image, its candidates.
        provenance: where it is from.
    """

    key: str
    instruction: str
    references: tuple[EncodedImage, ...]
    target: EncodedImage
    subjects: tuple[tuple[Candidate, ...], ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        check_key(self.key)
        if not self.instruction.strip():
            raise SampleError(f"sample {self.key}: instruction: expected words, got {self.instruction!r}")
        if not self.references:
            raise SampleError(f"sample {self.key}: references: expected at least one image, got none")
        if len(self.subjects) != len(self.references):
            raise SampleError(
                f"sample {self.key}: subjects: expected one list per reference "
                f"({len(self.references)}), got {len(self.subjects)}"
            )

    @property
    def images(self) -> dict[str, EncodedImage]:
        """Every image by its member name: `ref0`, `ref1`, ..., `target`."""
        named = {f"ref{number}": image for number, image in enumerate(self.references)}
        return named | {"target": self.target}


def check_key(key: str) -> str:
    """Return `key` if a WebDataset reader will keep it whole.

    >>> check_key("base-00ff")
    'base-00ff'
    >>> check_key("a.b")
    Traceback (most recent call last):
    ...
    shards.sample.SampleError: key: expected 1 to 80 of [a-z0-9_-], got 'a.b'; a reader cuts at the first dot
    """
    if not KEY_PATTERN.fullmatch(key):
        raise SampleError(
            f"key: expected 1 to 80 of [a-z0-9_-], got {key[:220]!r}; a reader cuts at the first dot"
        )
    return key


def canonical_json(value: Json) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    >>> canonical_json({"b": 1, "a": ["é", 0.5]})
    b'{"a":["\\xc3\\xa9",0.5],"b":1}'

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=dict
    )
    return text.encode()


def sample_json(sample: Sample) -> bytes:
    """The JSON member of a sample: everything but pixels."""
    return canonical_json(
        {
            "instruction": sample.instruction,
            "subjects": [
                [
                    {
                        "name": c.name,
                        "category": c.category,
                        "phrase": c.phrase,
                        "is_target": c.is_target,
                        "box": list(c.box) if c.box else None,
                    }
                    for c in candidates
                ]
                for candidates in sample.subjects
            ],
            "provenance": {
                "source": sample.provenance.source,
                "licence": sample.provenance.licence,
                "task": sample.provenance.task,
                "case": sample.provenance.case,
                "parents": list(sample.provenance.parents),
                "origin": sample.provenance.origin,
                "truth": sample.provenance.truth,
            },
        }
    )


def parse_sample(key: str, members: Mapping[str, EncodedImage], text: bytes) -> Sample:
    """The sample of a JSON member and its images (named `ref0`..., `target`).

    Raises:
        SampleError: the JSON is not what `sample_json` writes, or an image is missing or unasked for.
    """
    where = f"sample {key}"
    value = _object(parse_json(text, where), where)
    subjects = tuple(
        tuple(_candidate(entry, f"{where}: subjects[{number}]") for entry in _list(row, f"{where}: subjects"))
        for number, row in enumerate(_list(value.get("subjects"), f"{where}: subjects"))
    )
    return Sample(
        key=key,
        instruction=_text(value, "instruction", where),
        references=_references(members, where),
        target=_target(members, where),
        subjects=subjects,
        provenance=_parse_provenance(
            _object(value.get("provenance"), f"{where}: provenance"), f"{where}: provenance"
        ),
    )


MAX_JSON_BYTES = 4 << 20
MAX_JSON_DEPTH = 64


def parse_json(text: bytes, where: str) -> Json:
    """A JSON value of another hand: small, shallow, finite, and in characters that UTF-8 can write.

    Raises:
        SampleError: naming `where` and what is wrong.
    """
    if len(text) > MAX_JSON_BYTES:
        raise SampleError(f"{where}: expected JSON of at most {MAX_JSON_BYTES} bytes, got {len(text)}")
    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SampleError(f"{where}: expected JSON in UTF-8, got {text[:60]!r} ({error})") from error
    except RecursionError as error:
        raise SampleError(f"{where}: expected JSON at most {MAX_JSON_DEPTH} deep, got deeper") from error
    except ValueError as error:
        raise SampleError(f"{where}: {error}") from error
    _check_depth(value, where)
    if b"\\u" in text:
        _check_characters(value, where)
    return cast(Json, value)


def _check_characters(value: object, where: str) -> None:
    """Half a surrogate pair is valid JSON by the letter, and cannot be written again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SampleError(
            f"{where}: expected whole characters, got half a surrogate pair ({error})"
        ) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"expected finite numbers, got {name}")


def _check_depth(value: object, where: str) -> None:
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        if any(isinstance(v, float) and not math.isfinite(v) for v in level):
            raise SampleError(f"{where}: expected finite numbers, got an infinite one")
        level = [
            child
            for v in level
            if isinstance(v, dict | list)
            for child in (v.values() if isinstance(v, dict) else v)
        ]
        if not level:
            return
    raise SampleError(f"{where}: expected JSON at most {MAX_JSON_DEPTH} deep, got deeper")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SampleError(f"{where}: expected an object, got {_short(value)}")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise SampleError(f"{where}: expected a list, got {_short(value)}")
    return value


def _text(value: Mapping[str, object], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise SampleError(f"{where}: {name}: expected text, got {_short(text)}")
    return text


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _candidate(value: object, where: str) -> Candidate:
    entry = _object(value, where)
    is_target = entry.get("is_target")
    if not isinstance(is_target, bool):
        raise SampleError(f"{where}: is_target: expected true or false, got {_short(is_target)}")
    return Candidate(
        name=_text(entry, "name", where),
        category=_text(entry, "category", where),
        phrase=_text(entry, "phrase", where),
        is_target=is_target,
        box=_box(entry.get("box"), where),
    )


def _box(value: object, where: str) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    numbers = [n for n in _list(value, f"{where}: box") if isinstance(n, int) and not isinstance(n, bool)]
    if len(numbers) != 4 or len(numbers) != len(_list(value, where)):
        raise SampleError(f"{where}: box: expected [left, top, right, bottom] in pixels, got {_short(value)}")
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _parse_provenance(value: Mapping[str, object], where: str) -> Provenance:
    parents = _list(value.get("parents"), f"{where}: parents")
    if not all(isinstance(parent, str) for parent in parents):
        raise SampleError(f"{where}: parents: expected keys, got {_short(parents)}")
    return Provenance(
        source=_text(value, "source", where),
        licence=_text(value, "licence", where),
        task=_text(value, "task", where),
        case=_text(value, "case", where),
        parents=tuple(cast(list[str], parents)),
        origin=cast("dict[str, Json]", _object(value.get("origin"), f"{where}: origin")),
        truth=cast("dict[str, Json]", _object(value.get("truth"), f"{where}: truth")),
    )


def _references(members: Mapping[str, EncodedImage], where: str) -> tuple[EncodedImage, ...]:
    names = [f"ref{number}" for number in range(sum(name != "target" for name in members))]
    unknown = sorted(set(members) - set(names) - {"target"})
    if unknown or not names:
        raise SampleError(f"{where}: expected images ref0, ref1, ... without a gap, got {sorted(members)}")
    return tuple(members[name] for name in names)


def _target(members: Mapping[str, EncodedImage], where: str) -> EncodedImage:
    if "target" not in members:
        raise SampleError(f"{where}: expected a target image, got {sorted(members)}")
    return members["target"]
