"""Steps that the driver makes by itself, in seconds: they read tables, and open a few images at most."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shards.books import Books
from shards.manifest import FileRecord, Manifest
from shards.sample import Json
from shards.step import StepSettings
from shards.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Input:
    """A finished directory that a step reads; those it was made from lie beside it."""

    storage: Storage
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a step made: its files, already published, and its books."""

    files: Mapping[str, FileRecord]
    books: Books
    stats: Mapping[str, Json] = field(default_factory=dict)


class DriverStep(StepSettings):
    """Settings of a step that needs no workers."""

    @abstractmethod
    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Make the step's directory but for its manifest.

        Args:
            inputs: finished directories by role.
            target: the directory to write to.
        """
