"""A published set as it lies on a disk or in an object store: its files, their sizes, its jsonl and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from datagen.unusable import UnusableError
from shards.listing import ListingError, list_files, listing_digest
from shards.sample import MAX_JSON_BYTES
from shards.storage import Storage

MAX_LIST_BYTES = 1 << 30  # a split of UNO-1M's labels is about 10 MB
READ_BYTES = 1 << 20
TOO_LONG = f"a line of more than {MAX_JSON_BYTES} bytes".encode()  # no JSON, and no row of a table


class SourceError(ListingError):
    """A source that is not what its importer knows: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class Source:
    """The folder of a published set."""

    storage: Storage

    @property
    def where(self) -> str:
        """For messages."""
        return self.storage.uri

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file by its name in the folder, sorted; hidden files and folders are left out.

        Raises:
            ListingError: there is no such folder.
        """
        return list_files(self.storage)

    @cached_property
    def digest(self) -> str:
        """A hash of what the set is, not of where it lies or when it came there."""
        return listing_digest(self.storage, self.sizes)

    def matching(self, *patterns: str) -> list[str]:
        """Names of files that fit a pattern (`*` also crosses folders), sorted."""
        return [name for name in self.sizes if any(fnmatchcase(name, pattern) for pattern in patterns)]

    def some(self, *patterns: str) -> list[str]:
        """As `matching`.

        Raises:
            SourceError: nothing fits; it tells what is there.
        """
        found = self.matching(*patterns)
        if not found:
            raise SourceError(
                f"{self.where}: expected files like {' or '.join(patterns)}, got {self.sketch()}; "
                "set `path` to the folder that holds them"
            )
        return found

    def sketch(self) -> str:
        """The first few names, for messages."""
        names = list(self.sizes)
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        return (", ".join(names[:6]) + more) or "an empty folder"

    def stream(self, name: str) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
        """A file's bytes as they are, front to back."""
        return self.storage.filesystem.open_input_stream(self.storage.path(name), compression=None)

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most `limit` bytes.

        Raises:
            UnusableError: it is longer.
        """
        if self.sizes[name] > limit:
            raise UnusableError(
                "too_large", f"{name}: expected at most {limit} bytes, got {self.sizes[name]}"
            )
        return self.storage.read(name)

    def lines(self, name: str) -> Iterator[bytes]:
        """Lines of a text file; in the place of one longer than any record stands `TOO_LONG`."""
        rest, skipped = b"", False
        with self.stream(name) as file:
            while part := bytes(file.read(READ_BYTES)):
                *whole, rest = (rest + part).split(b"\n")
                for line in whole:
                    yield TOO_LONG if skipped else line
                    skipped = False
                if len(rest) > MAX_JSON_BYTES:
                    rest, skipped = b"", True
        if rest or skipped:
            yield TOO_LONG if skipped else rest

    def json_list(self, name: str) -> list[Any]:
        """A JSON file that holds a list.

        Raises:
            UnusableError: it is damaged or holds something else.
        """
        value = parse_json(self.read(name, MAX_LIST_BYTES), name)
        if not isinstance(value, list):
            raise UnusableError("bad_metadata", f"{name}: expected a list of records, got {value!r:.60}")
        return value


def parse_json(text: bytes, where: str) -> Any:  # noqa: ANN401, any JSON
    """JSON with finite numbers only.

    Raises:
        UnusableError: it is none.
    """
    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=_refuse)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnusableError(
            "bad_metadata", f"{where}: expected JSON, got {text[:60]!r} ({error!s:.80})"
        ) from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")
