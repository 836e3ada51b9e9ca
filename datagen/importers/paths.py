"""From the path that a record writes down to the file, or the archive's member, that it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from datagen.importers.archives import Archive
from datagen.importers.source import Source, SourceError
from datagen.unusable import UnusableError
from shards.sample import Json

Parts = tuple[str, ...]

# Folders that publishers write in two ways, within one set. Source: facts/data.md 4, Echo-4o-Image.
SPELLINGS = {"sence": "scene", "Surrel-Fantasy-Image": "Surreal-Fantasy-Image"}


def split_path(path: object) -> Parts:
    """The parts of a relative path; a leading `/` or `./` is left out, as publishers write both.

    >>> split_path("/Echo-4o-Image/images/00000.jpg")
    ('Echo-4o-Image', 'images', '00000.jpg')

    Raises:
        UnusableError: it leaves the set's folder, or is no path.
    """
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise UnusableError("bad_metadata", f"expected the path of an image, got {path!r:.80}")
    parts = tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))
    if ".." in parts or not parts:
        raise UnusableError("path_escape", f"expected a path inside the set, got {path!r:.120}")
    return parts


@dataclass
class Paths:
    """Resolves the paths of one set's records.

    A record's path and an archive's member rarely agree to the letter: one has the set's name in front,
    the other starts inside the archive. So an archive is looked for by how much of its folder and name the
    path repeats, and a member by any ending of the path that starts below that.

    Attributes:
        source: the set.
        archives: its archives, by name.
        mapping: from the recipe: a path's beginning to a pattern of archive names.
    """

    source: Source
    archives: Mapping[str, Archive]
    mapping: Mapping[str, str] = field(default_factory=dict)
    _respelt: dict[str, str] | None = None
    _groups: dict[Parts, tuple[str, ...]] = field(default_factory=dict)

    def locate(self, path: object, beside: str = "") -> dict[str, Json]:
        """Where an image is: `{"file": name}`, or `{"archives": [name, ...], "path": path}`.

        Args:
            path: as the record has it.
            beside: the record's own file; loose images may be named from its folder.

        Raises:
            UnusableError: the path leaves the set, or neither file nor archive can be meant.
        """
        parts = split_path(path)
        for name in _loose(parts, beside):
            if found := self._file(name):
                return {"file": found}
        group = self._group(parts[:-1])
        if not group:
            raise UnusableError(
                "missing_image",
                f"{'/'.join(parts)}: expected a file of the set or an archive that could hold it, got none",
            )
        return {"archives": list(group), "path": "/".join(parts)}

    def _file(self, parts: Parts) -> str | None:
        """A loose file of the set by its path, however its folders are spelt."""
        if (name := "/".join(parts)) in self.source.sizes:
            return name
        if self._respelt is None:
            named = (("/".join(spelt(tuple(each.split("/")))), each) for each in self.source.sizes)
            self._respelt = {ours: each for ours, each in named if ours != each}
        name = "/".join(spelt(parts))
        return name if name in self.source.sizes else self._respelt.get(name)

    def _group(self, folder: Parts) -> tuple[str, ...]:
        if folder not in self._groups:
            mapped = self._mapped("/".join(folder))
            self._groups[folder] = mapped or _best(folder, self.archives.values())
        return self._groups[folder]

    def check_mapping(self) -> None:
        """Raise if the recipe maps a path to no archive.

        Raises:
            SourceError: it names the archives that there are.
        """
        for begin, pattern in self.mapping.items():
            if not any(fnmatchcase(name, pattern) for name in self.archives):
                raise SourceError(
                    f"archives: {begin}: expected a pattern of {', '.join([*self.archives][:6]) or 'none'}, "
                    f"got {pattern!r}"
                )

    def _mapped(self, folder: str) -> tuple[str, ...]:
        """The archives of the longest beginning that fits, whatever the order they are written in."""
        fitting = [each for each in self.mapping if f"{folder}/".startswith(each.strip("/") + "/")]
        if not fitting:
            return ()
        pattern = self.mapping[max(fitting, key=lambda each: (len(each.strip("/")), each))]
        return tuple(name for name in self.archives if fnmatchcase(name, pattern))


def spelt(parts: Parts) -> Parts:
    """Parts with the folders that publishers write in two ways written in one."""
    return tuple(SPELLINGS.get(part, part) for part in parts)


def _loose(parts: Parts, beside: str) -> Iterator[Parts]:
    yield (*beside.split("/")[:-1], *parts)
    for start in range(min(len(parts), 3)):  # the set's own name, or an absolute folder, may stand in front
        yield parts[start:]


def _best(folder: Parts, archives: Iterable[Archive]) -> tuple[str, ...]:
    """Archives that repeat most of the path; those in the set's root are the last resort."""
    scores = {archive.name: _overlap(folder, archive) for archive in archives}
    best = max(scores.values(), default=0)
    if best == 0:
        return tuple(archive.name for archive in archives if not archive.folder)
    return tuple(name for name, score in scores.items() if score == best)


def _overlap(folder: Parts, archive: Archive) -> int:
    """How many of the last parts of the archive's folder and stem stand in `folder`, the stem counting."""
    with_stem, folder = spelt((*archive.folder, archive.stem)), spelt(folder)
    return max(_run(with_stem, folder), _run(with_stem[:-1], folder))


def _run(wanted: Sequence[str], folder: Parts) -> int:
    for start in range(len(wanted)):
        tail = tuple(wanted[start:])
        if any(folder[at : at + len(tail)] == tail for at in range(len(folder))):
            return len(tail)
    return 0


def beginning(parts: Parts, archive: Archive, mapping: Iterable[str] = ()) -> int:
    """Where the part of a path begins that lies inside an archive for certain; more of it may.

    Args:
        parts: of the path, spelt in one way.
        archive: that may hold it.
        mapping: beginnings that the recipe maps to archives; what comes after one lies in the archive.

    >>> beginning(("Set", "images", "cat", "1.png"), Archive("images/cat.tar.gz", ()))
    3
    """
    mapped = [len(begin) for each in mapping if parts[: len(begin := spelt(split_path(each)))] == begin]
    return max([_below(parts, archive), *mapped])


def _below(parts: Parts, archive: Archive) -> int:
    """Where the part of a path begins that lies inside the archive for certain."""
    folder = parts[:-1]
    with_stem = spelt((*archive.folder, archive.stem))
    for wanted in (with_stem, with_stem[:-1]):
        for start in range(len(wanted)):
            tail = wanted[start:]
            for at in range(len(folder) - len(tail), -1, -1):
                if folder[at : at + len(tail)] == tail:
                    return at + len(tail)
    return 0
