"""Galleries: a few samples as cards of small pictures, with what they claim, how they scored, what became."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.checks import ALL, QUESTIONS
from filters.decisions import Decisions
from filters.reasons import Reason, Reasons
from filters.truth import INHERITED, fault_of
from shards.image import ImageError, image_facts
from shards.index import Directory
from shards.sample import Candidate, EncodedImage, Json, Sample
from shards.storage import Storage
from shards.tables import questions, read_table

RELATIONS = ("cross", "intra")  # how tasks of several candidates end
# About twice the sides they are shown at, so that they are sharp on a dense screen.
TARGET_PX = 360
REFERENCE_PX = 224
QUALITY = 72


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A candidate on its reference: its words, whether it is to be shown, where it is."""

    words: str
    is_target: bool
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image made small, as a data URI; width and height are the original's, as the boxes are.

    `uri` is "" where the image could not be read; `alt` then says why.
    """

    name: str
    uri: str
    width: int
    height: int
    alt: str
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A question's answer about a sample, a value for each reference where it was asked so."""

    question: str
    words: str
    fails: bool


@dataclass(frozen=True, kw_only=True)
class Card:
    """One sample to look at.

    Attributes:
        is_kept: None where nothing was decided.
        reason: why it was refused.
        fault: what the truth says; None where it is not known.
        reasons: that a judge wrote down when asked for them.
    """

    key: str
    instruction: str
    task: str
    case: str
    references: tuple[Picture, ...]
    target: Picture
    chips: tuple[Chip, ...] = ()
    is_kept: bool | None = None
    reason: str = ""
    fault: str | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def kind(self) -> str:
        """Its case, and of several candidates whether those are of one category."""
        relation = self.task.rpartition("_")[2]
        return f"{self.case}, {relation}" if self.case and relation in RELATIONS else self.case or self.task

    @property
    def has_others(self) -> bool:
        """Whether a reference shows a candidate that the target must not."""
        return any(not mark.is_target for picture in self.references for mark in picture.marks)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Cards under a heading; `note` says of how many samples and how they were drawn."""

    heading: str
    note: str
    cards: list[Card]


def cards(
    directory: Directory,
    keys: Sequence[str],
    tables: Sequence[Storage] = (),
    decided: Decisions | None = None,
    written: Reasons | None = None,
) -> list[Card]:
    """Cards of these samples; no other image is opened.

    Args:
        directory: that holds the samples.
        keys: which ones, in order.
        tables: directories of scores about them.
        decided: the selection that decided them.
        written: what judges wrote about them.
    """
    chips = _chips(tables, keys, decided)
    rules = _rules(decided, keys) if decided else {}
    samples = [directory[key] for key in keys]
    said = {sample.key: written.of(sample) for sample in samples} if written else {}

    def make(sample: Sample) -> Card:
        key = sample.key
        return _card(sample, chips.get(key, ()), rules.get(key), said.get(key, ()))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(make, samples))


def _card(sample: Sample, chips: Sequence[Chip], reason: str | None, reasons: Sequence[Reason]) -> Card:
    found = sample.provenance
    return Card(
        key=sample.key,
        instruction=sample.instruction,
        task=found.task,
        case=found.case,
        references=tuple(
            picture(image, f"image {number}", REFERENCE_PX, candidates)
            for number, (image, candidates) in enumerate(
                zip(sample.references, sample.subjects, strict=True), start=1
            )
        ),
        target=picture(sample.target, "target", TARGET_PX),
        chips=tuple(chips),
        is_kept=None if reason is None else not reason,
        reason=reason or "",
        fault=_fault_words(found.truth),
        reasons=tuple(reasons),
    )


def _fault_words(truth: Mapping[str, Json]) -> str | None:
    """The fault, and whether it came with the parent; None where nothing is known."""
    fault = fault_of(truth)
    return f"{truth.get('fault')}, inherited" if fault == INHERITED else fault


def _rules(decided: Decisions, keys: Sequence[str]) -> dict[str, str]:
    """The rule that rejected each sample; "" of those kept."""
    places = pc.index_in(pa.array(keys, pa.string()), value_set=decided.keys).to_pylist()
    return {key: str(decided.reasons[place]) for key, place in zip(keys, places, strict=True)}


def picture(image: EncodedImage, name: str, side_px: int, candidates: Sequence[Candidate] = ()) -> Picture:
    """An image made small, with its candidates; one that cannot be read is told, not shown."""
    marks = tuple(Mark(words=c.phrase or c.name, is_target=c.is_target, box=c.box) for c in candidates)
    words = "; ".join(f"{m.words}{'' if m.is_target else ' (not to be shown)'}" for m in marks)
    try:
        facts = image_facts(image)
        uri = f"data:image/webp;base64,{base64.b64encode(thumbnail(image.data, side_px)).decode()}"
    except (ImageError, OSError, SyntaxError, ValueError, EOFError) as error:  # as Pillow says of damage
        return Picture(name=name, uri="", width=1, height=1, alt=f"{name}: {error}", marks=marks)
    alt = f"{name}: {words}" if words else name
    return Picture(name=name, uri=uri, width=facts.width, height=facts.height, alt=alt, marks=marks)


@lru_cache(maxsize=512)
def thumbnail(data: bytes, side_px: int) -> bytes:
    """An image fitted into a square, as WebP; what is transparent becomes white.

    Measured on the demo set: 5.7 ms and 2.6 KB; Lanczos and the encoder's default effort take 10 ms to save
    6 % of the bytes. A sample often stands in two galleries.
    """
    with Image.open(io.BytesIO(data)) as opened:
        opened.thumbnail((side_px, side_px), Image.Resampling.HAMMING)
        if opened.mode in ("RGBA", "LA", "P"):
            shown = opened.convert("RGBA")
            flat = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
        else:
            flat = opened.convert("RGB")
    out = io.BytesIO()
    flat.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()


def _chips(
    tables: Sequence[Storage], keys: Sequence[str], decided: Decisions | None
) -> dict[str, list[Chip]]:
    """Chips of each sample, those of the policy's scores first; of checks without the answers below them."""
    held = {question: storage for storage in tables for question in questions(storage)}
    if ALL in held:
        held = {question: storage for question, storage in held.items() if question not in QUESTIONS}
    ordered = [name for name in (decided.scores if decided else {}) if name in held]
    chips: dict[str, list[Chip]] = {key: [] for key in keys}
    for question in dict.fromkeys([*ordered, *held]):
        for key, rows in _rows(held[question], question, keys).items():
            chips[key].append(_chip(question, rows, decided))
    return chips


def _rows(storage: Storage, question: str, keys: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    table = read_table(
        storage, question, ["key", "reference", "candidate", "expected", "label_mass", "status"]
    )
    table = table.filter(pc.is_in(table.column("key"), value_set=pa.array(keys, pa.string())))
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in table.sort_by([("reference", "ascending"), ("candidate", "ascending")]).to_pylist():
        found.setdefault(row["key"], []).append(row)
    return found


def _chip(question: str, rows: Sequence[Mapping[str, Any]], decided: Decisions | None) -> Chip:
    values = [row["expected"] if row["status"] == "ok" else None for row in rows]
    words = " · ".join(value_words(row) for row in rows)
    return Chip(
        question=question, words=words, fails=decided is not None and _fails(question, values, decided)
    )


def value_words(row: Mapping[str, Any]) -> str:
    """A row's value for people; no label mass in a row that could be read says that nothing was measured.

    >>> value_words({"status": "ok", "expected": 0.926, "label_mass": 1.0})
    '0.93'
    """
    if row["status"] != "ok":
        return "unreadable"
    return f"{row['expected']:.2f}" if row["label_mass"] else "–"


def _fails(question: str, values: Sequence[float | None], decided: Decisions) -> bool:
    """Whether a rule about this question's expected value rejects one of the values."""
    least, most = decided.bounds(question)
    if least is None and most is None:
        return False
    return any(
        value is None or (least is not None and value < least) or (most is not None and value > most)
        for value in values
    )
