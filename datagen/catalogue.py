"""Subjects: pictures with alpha, their names, categories and attributes."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from PIL import Image

ASSETS = Path(__file__).parent / "assets"
EMBEDDED = "embedded"
COLUMNS = ("file", "name", "category", "subgroup", "attributes")
KINDS = ("character", "object", "scene")
HELD_OUT_PERCENT = 40  # of subjects and of panoramas: 370 subjects, 7 panoramas

Split: TypeAlias = Literal["all", "calibration", "heldout"]


class CatalogueError(ValueError):
    """A catalogue that cannot be used, with every bad row named."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing that pictures can show.

    Attributes:
        id: the picture's path in its catalogue without extension, e.g. "fluent/1f98a".
        name: e.g. "fox".
        category: broad class, e.g. "Animals & Nature".
        subgroup: narrow class, e.g. "animal-mammal".
        attributes: what else is known, all optional. `kind`: character, object or scene. `colour`. `number`:
            plural, mass or person (a proper name); absent for one countable thing. `series`: what things
            alike in all but colour are called. `nouns`: what else one may call it, narrow to broad, between
            slashes; the subgroup unless given. `family`: things too alike to be told apart at a glance.
            `twin_of`: id of the same thing in another design.
        file: the picture, relative to its catalogue.
    """

    id: str
    name: str
    category: str
    subgroup: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    file: str

    @property
    def kind(self) -> str:
        """Which of the paper's kinds it is: character, object or scene."""
        return self.attributes.get("kind", "object")

    @property
    def definite(self) -> str:
        """Its name with "the"; a person's proper name as it is."""
        return self.name if self.attributes.get("number") == "person" else f"the {self.name}"

    @property
    def nouns(self) -> tuple[str, ...]:
        """What it can be called, from its name to the broadest word."""
        series = self.attributes.get("series", "")
        words = (self.name, series, *self.attributes.get("nouns", self.subgroup).split("/"))
        return tuple(dict.fromkeys(word for word in words if word))

    @property
    def group(self) -> str:
        """What must not be divided between calibration and evaluation: its series, family or name."""
        return self.attributes.get("series") or self.attributes.get("family") or self.name


class Pictures(Protocol):
    """Where a catalogue's pictures are: one file each, by name."""

    def read(self, file: str) -> bytes: ...

    def __contains__(self, file: str) -> bool: ...


class ZippedPictures:
    """Pictures in one stored zip. Read whole on first use: a handle shared with a forked worker would mix
    up both sides' seeks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(self._path.read_bytes()))

    def read(self, file: str) -> bytes:
        return self._archive.read(file)

    def __contains__(self, file: str) -> bool:
        return file in self._archive.NameToInfo


class FolderPictures:
    """Pictures in a folder. Nothing outside of it is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read(self, file: str) -> bytes:
        return (self._folder / file).read_bytes()

    def __contains__(self, file: str) -> bool:
        path = (self._folder / file).resolve()
        return path.is_relative_to(self._folder) and path.is_file()


class Catalogue:
    """Subjects with look-ups; pictures are read when asked for.

    `subjects` are those to build with. Their twins (the same thing in another design) are apart: good
    distractors and wrong subjects, never claimed.
    """

    def __init__(self, subjects: Sequence[Subject], pictures: Pictures) -> None:
        self._pictures = pictures
        self._by_id = {subject.id: subject for subject in subjects}
        self.subjects = tuple(s for s in subjects if "twin_of" not in s.attributes)
        self._twins = {s.attributes["twin_of"]: s for s in subjects if "twin_of" in s.attributes}
        self._by_kind = _grouped(self.subjects, lambda s: s.kind)
        self._by_category = _grouped(self.subjects, lambda s: s.category)
        self._by_series = _grouped(self.subjects, lambda s: s.attributes.get("series", ""))
        self._by_name = _grouped(self.subjects, lambda s: s.name)

    def __len__(self) -> int:
        return len(self.subjects)

    def __iter__(self) -> Iterator[Subject]:
        return iter(self.subjects)

    def by_id(self, id: str) -> Subject:  # noqa: A002
        """The subject or twin called `id`."""
        if id not in self._by_id:
            raise CatalogueError(f"catalogue: expected one of {len(self._by_id)} subjects, got {id!r}")
        return self._by_id[id]

    def named(self, name: str) -> tuple[Subject, ...]:
        return self._by_name.get(name, ())

    def of_kind(self, kind: str) -> tuple[Subject, ...]:
        return self._by_kind.get(kind, ())

    def of_category(self, category: str) -> tuple[Subject, ...]:
        return self._by_category.get(category, ())

    def twin(self, subject: Subject) -> Subject | None:
        """The same thing in another design, where the catalogue has it."""
        return self._twins.get(subject.id)

    def colour_siblings(self, subject: Subject) -> tuple[Subject, ...]:
        """Subjects alike in all but colour, e.g. the other hearts."""
        series = self._by_series.get(subject.attributes.get("series") or " ", ())
        return tuple(s for s in series if s.id != subject.id)

    def picture(self, subject: Subject) -> Image.Image:
        """The subject's picture, RGBA.

        Raises:
            CatalogueError: the picture cannot be decoded or has no alpha.
        """
        return open_picture(self._pictures, subject.file)

    def check_pictures(self) -> None:
        """Decode every picture; name all that cannot be used.

        Raises:
            CatalogueError: at least one picture is bad.
        """
        problems = []
        for subject in self._by_id.values():
            try:
                self.picture(subject)
            except CatalogueError as error:
                problems.append(str(error))
        if problems:
            raise CatalogueError("\n".join(problems))


def open_picture(pictures: Pictures, file: str) -> Image.Image:
    """One picture, RGBA, if it is a cut-out."""
    try:
        opened = Image.open(io.BytesIO(pictures.read(file)))
        has_alpha = opened.has_transparency_data
        picture = opened.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CatalogueError(f"{file}: expected a picture, got {str(error)!r}; replace the file") from error
    lowest, highest = picture.getchannel("A").getextrema()
    if not has_alpha or lowest == 255 or highest == 0:
        found = "a fully transparent picture" if highest == 0 else "no transparent pixel"
        raise CatalogueError(f"{file}: expected a subject cut out by alpha, got {found}; cut it out first")
    return picture


def _grouped(subjects: Sequence[Subject], label: _Label) -> dict[str, tuple[Subject, ...]]:
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        groups.setdefault(label(subject), []).append(subject)
    return {name: tuple(members) for name, members in groups.items()}


class _Label(Protocol):
    def __call__(self, subject: Subject, /) -> str: ...


def is_held_out(group: str) -> bool:
    """Whether a subject's group or a panorama is kept from calibration; by hash: adding one moves none.

    >>> is_held_out("fox"), is_held_out("wolf")
    (True, False)
    """
    return int(hashlib.sha256(f"held out: {group}".encode()).hexdigest(), 16) % 100 < HELD_OUT_PERCENT


def in_split(group: str, split: Split) -> bool:
    """Whether a subject's group or a panorama belongs to `split`."""
    return split == "all" or is_held_out(group) == (split == "heldout")


def load_catalogue(where: str = EMBEDDED, split: Split = "all") -> Catalogue:
    """The embedded catalogue, or any folder of pictures with alpha and one CSV beside them.

    Raises:
        CatalogueError: the folder, its table or rows of it cannot be used; names every bad row.
    """
    whole = _load(where)
    chosen = [s for s in whole if in_split(s.group, split)]
    pictures: Pictures = (
        ZippedPictures(ASSETS / "subjects.zip") if where == EMBEDDED else FolderPictures(Path(where))
    )
    return Catalogue(chosen, pictures)


def fingerprint(where: str) -> str:
    """A catalogue by its content; a folder may lie anywhere. The embedded one changes with the program only.

    Raises:
        CatalogueError: there is no such folder.
    """
    if where == EMBEDDED:
        return EMBEDDED
    folder = Path(where)
    if not folder.is_dir():
        raise CatalogueError(f"catalogue {where}: expected a folder with one .csv, got 'no such folder'")
    hasher = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        hasher.update(
            f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return hasher.hexdigest()


@cache
def _load(where: str) -> tuple[Subject, ...]:
    if where == EMBEDDED:
        return _read_table(ASSETS / "subjects.csv", ZippedPictures(ASSETS / "subjects.zip"))
    folder = Path(where)
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        found = ", ".join(t.name for t in tables) or ("no table" if folder.is_dir() else "no such folder")
        raise CatalogueError(f"catalogue {where}: expected a folder with one .csv, got {found!r}")
    return _read_table(tables[0], FolderPictures(folder))


def _read_table(path: Path, pictures: Pictures) -> tuple[Subject, ...]:
    try:
        return parse_table(str(path), path.read_text(encoding="utf-8-sig"), pictures)
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{path}: expected text in UTF-8, got: {error}; save it as UTF-8") from error
    except csv.Error as error:
        raise CatalogueError(f"{path}: expected rows between commas, got: {error}") from error


def parse_table(where: str, text: str, pictures: Pictures) -> tuple[Subject, ...]:
    """The rows of a catalogue's table.

    Raises:
        CatalogueError: a column is missing, or rows are bad; all of them are named.
    """
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise CatalogueError(
            f"{where}: expected the columns {', '.join(COLUMNS)}, got {reader.fieldnames!r}; add {missing[0]}"
        )
    subjects, problems = [], []
    for line, row in enumerate(reader, start=2):
        try:
            subjects.append(_subject(f"{where}:{line}", row, pictures))
        except CatalogueError as error:
            problems.append(str(error))
    problems += _repeated(where, subjects)
    if problems or not subjects:
        raise CatalogueError("\n".join(problems) or f"{where}: expected at least one row, got none")
    return tuple(subjects)


def _subject(where: str, row: Mapping[str, str | None], pictures: Pictures) -> Subject:
    values = {column: (row[column] or "").strip() for column in COLUMNS}
    for column in ("file", "name", "category"):
        if not values[column]:
            raise CatalogueError(f"{where}: {column}: expected text, got {values[column]!r}")
    if values["file"] not in pictures:
        raise CatalogueError(f"{where}: file: expected a picture in this catalogue, got {values['file']!r}")
    return Subject(
        id=str(Path(values["file"]).with_suffix("")),
        name=values["name"],
        category=values["category"],
        subgroup=values["subgroup"] or values["category"],
        attributes=parse_attributes(where, values["attributes"]),
        file=values["file"],
    )


def parse_attributes(where: str, text: str) -> dict[str, str]:
    """`name=value` pairs between semicolons.

    >>> parse_attributes("table.csv:2", "kind=character;colour=orange")
    {'kind': 'character', 'colour': 'orange'}

    Raises:
        CatalogueError: a pair has no "=", or `kind` is unknown.
    """
    pairs = [pair.partition("=") for pair in text.split(";") if pair.strip()]
    for name, equals, _ in pairs:
        if not equals or not name.strip():
            raise CatalogueError(f"{where}: attributes: expected name=value;name=value, got {text!r}")
    attributes = {name.strip(): value.strip() for name, _, value in pairs}
    if attributes.get("kind", "object") not in KINDS:
        raise CatalogueError(f"{where}: kind: expected one of {', '.join(KINDS)}, got {attributes['kind']!r}")
    return attributes


def _repeated(where: str, subjects: Sequence[Subject]) -> list[str]:
    seen: set[str] = set()
    problems = []
    for subject in subjects:
        if subject.id in seen:
            problems.append(
                f"{where}: file: expected each picture once, got {subject.file!r} again; drop a row"
            )
        seen.add(subject.id)
    return problems
