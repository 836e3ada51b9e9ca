"""Lineage: finished directories with all that they were made from, each after its parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shards.driver_step import Input
from shards.manifest import Manifest, read_manifest


class LineageError(ValueError):
    """A directory that others were made from is not there: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class Edge:
    """`child` was made from `parent`, which it read in `role`; both are directory names."""

    parent: str
    child: str
    role: str


@dataclass(frozen=True)
class Lineage:
    """Finished directories by name, parents before children.

    Attributes:
        steps: by directory name.
        labels: what a page calls each: its step's name, with the hash where two steps share one.
    """

    steps: Mapping[str, Input]
    labels: Mapping[str, str]

    def edges(self) -> list[Edge]:
        """Every line from parent to child."""
        return [edge for name, step in self.steps.items() for edge in edges_of(name, step.manifest)]

    def parents(self, name: str, role: str) -> list[str]:
        """Directories that a step read in a role."""
        return list(self.steps[name].manifest.parents.get(role, ()))

    def of_kind(self, kind: str) -> Iterator[tuple[str, Input]]:
        """Steps whose directories hold samples, scores or a selection."""
        return ((name, step) for name, step in self.steps.items() if step.manifest.kind == kind)

    def samples_of(self, name: str) -> str:
        """The directory that holds the samples which scores or a selection are about."""
        while self.steps[name].manifest.kind != "samples":
            (name,) = self.parents(name, "input")
        return name

    def selections_of(self, name: str) -> list[str]:
        """Selections that read these scores, or select from these samples."""
        return [child for child, step in self.of_kind("selection") if name in _read(step.manifest)]


def edges_of(name: str, manifest: Manifest) -> Iterator[Edge]:
    """Lines that end in one directory."""
    return (Edge(parent, name, role) for role, parents in manifest.parents.items() for parent in parents)


def _read(manifest: Manifest) -> list[str]:
    return [name for names in manifest.parents.values() for name in names]


def trace(directories: Sequence[Input]) -> Lineage:
    """The directories and everything that they were made from; pages are left out.

    Raises:
        LineageError: none is given, or a parent is missing.
    """
    found: dict[str, Input] = {}
    for directory in directories:
        if directory.manifest.kind != "page":
            _collect(directory, found)
    if not found:
        raise LineageError("report: expected finished directories, got none; name steps under `of`")
    graph = {name: _read(step.manifest) for name, step in found.items()}
    return Lineage({name: found[name] for name in _in_lines(graph)}, _labels(found))


def _collect(directory: Input, found: dict[str, Input]) -> None:
    """Add a directory and its ancestors."""
    if directory.manifest.directory in found:
        return
    found[directory.manifest.directory] = directory
    for name in _read(directory.manifest):
        if name not in found:
            _collect(_parent(directory, name), found)


def _parent(child: Input, name: str) -> Input:
    storage = child.storage.sibling(name)
    manifest = read_manifest(storage)
    if manifest is None:
        raise LineageError(
            f"{storage.uri}: expected the finished directory that {child.manifest.directory} was made from, "
            "got none; run its recipe again, or leave that step out of the page"
        )
    return Input(storage=storage, manifest=manifest)


def _in_lines(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """Names with each one as soon after its last parent as can be, so that lines stay short."""
    place: dict[str, int] = {}
    while len(place) < len(graph):
        ready = [name for name in sorted(graph) if name not in place and all(p in place for p in graph[name])]
        if not ready:
            raise LineageError(
                f"report: expected parents made before children, got a cycle in {sorted(graph)}"
            )
        after = {name: max((place[parent] for parent in graph[name]), default=-1) for name in ready}
        place[max(ready, key=after.__getitem__)] = len(place)
    return list(place)


def _labels(found: Mapping[str, Input]) -> dict[str, str]:
    count = Counter(step.manifest.name for step in found.values())
    return {
        directory: step.manifest.name
        if count[step.manifest.name] == 1
        else f"{step.manifest.name}-{step.manifest.hash[:6]}"
        for directory, step in found.items()
    }
