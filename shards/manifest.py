"""The manifest of a directory: written last, so that its presence is what "finished" means."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from shards.books import Books, BooksError
from shards.sample import Json, canonical_json
from shards.storage import Storage, StorageError
from shards.tar import ShardDigest, check_padding, read_headers
from shards.tar_header import BLOCK

SCHEMA = 1
FILE = "manifest.json"
READ_BYTES = 4 << 20


class ManifestError(ValueError):
    """A directory that is not what its manifest says: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and digest of one file: `sha256:...`, or for a shard `members:...`."""

    size: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished directory is and was made from.

    Attributes:
        name: the step's name in its recipe.
        type: the step's type, e.g. "single_candidate".
        hash: of all that was computed; the directory's name ends in its first 12 digits.
        kind: "samples", "scores", "selection" or "page".
        config: the computed settings.
        run: how it was run; not part of the hash.
        parents: directory names by role, e.g. {"input": ["base-0123456789ab"]}.
        files: every file of the directory.
        shards: samples in each shard, in order.
        books: what was read, made and refused.
        stats: seconds, rates and costs.
        versions: of the software that made it.
    """

    name: str
    type: str
    hash: str
    kind: str
    config: Mapping[str, Json]
    run: Mapping[str, Json] = field(default_factory=dict)
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    shards: Sequence[int] = ()
    books: Books = field(default_factory=Books)
    stats: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> str:
        """The directory's name."""
        return directory_name(self.name, self.hash)


def directory_name(name: str, digest: str) -> str:
    """`<step>-<hash>`.

    >>> directory_name("base", "0123456789abcdef")
    'base-0123456789ab'
    """
    return f"{name}-{digest[:12]}"


def versions() -> dict[str, str]:
    """Versions of what can change a result or explain a failure."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("scone-bakery", "numpy", "pillow", "pyarrow", "onnxruntime", "ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Check the books and finish the directory.

    Raises:
        BooksError: the books do not balance; the directory stays unfinished.
    """
    manifest.books.check(manifest.directory)
    value = {"schema": SCHEMA, **asdict(manifest)}
    storage.write(FILE, json.dumps(value, indent=1, sort_keys=True).encode())


def read_manifest(storage: Storage) -> Manifest | None:
    """The manifest of a directory, or None where it is not finished.

    Raises:
        ManifestError: there is a manifest that this version cannot read.
    """
    try:
        text = storage.read(FILE)
    except StorageError:
        return None
    try:
        value: dict[str, Any] = json.loads(text)
        schema = value.pop("schema", None)
        if schema != SCHEMA:
            raise ManifestError(
                f"{storage.path(FILE)}: expected schema {SCHEMA}, got {schema!r}; "
                "make the directory again or use the version that wrote it"
            )
        value["books"] = Books(**value["books"])
        value["files"] = {name: FileRecord(**record) for name, record in value["files"].items()}
        return Manifest(**value)
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(
            f"{storage.path(FILE)}: expected a manifest, got {text[:40]!r} ({error}); "
            "delete the directory to make it again"
        ) from error


def record(storage: Storage, name: str) -> FileRecord:
    """Size and digest of a file as it lies there."""
    if name.endswith(".tar"):
        return FileRecord(storage.size(name), f"members:{shard_digest(storage, name)}")
    digest = hashlib.sha256()
    with storage.open(name) as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
    return FileRecord(storage.size(name), f"sha256:{digest.hexdigest()}")


def shard_digest(storage: Storage, name: str) -> str:
    """The digest of a shard as its writer computes it, from the bytes that are there.

    Raises:
        TarError: the shard is damaged.
    """
    digest = ShardDigest()
    with storage.open(name) as file:
        for head, member, offset, size in read_headers(file, storage.path(name), storage.size(name)):
            file.seek(offset)
            data = memoryview(file.read(size + -size % BLOCK))
            check_padding(bytes(data[size:]), f"{storage.path(name)}: {member}")
            digest.add(head, hashlib.sha256(data[:size]).digest())
    return digest.hex()


def verify(storage: Storage, manifest: Manifest, stamps: Storage) -> None:
    """Check that every file is what the manifest says.

    A file whose size and time of change are those of its last check is not hashed again; `stamps` keeps
    what was checked.

    Raises:
        ManifestError: naming the first file that differs, or the sum in it that is wrong.
    """
    try:
        manifest.books.check(storage.path(FILE))
    except BooksError as error:
        raise ManifestError(f"{error}; delete {manifest.directory} to make it again") from error
    name = f"{manifest.directory}.json"
    known, held = _read_stamps(stamps, name), storage.stats()
    found = {
        file: _checked(storage, manifest, file, held.get(file), known.get(file)) for file in manifest.files
    }
    if found != known:
        stamps.write(name, canonical_json(found), is_durable=False)


def stamp(storage: Storage, manifest: Manifest, stamps: Storage) -> None:
    """Note that every file is what the manifest says: for who has just written and hashed them."""
    held = storage.stats()
    found = {file: list(held[file]) for file in manifest.files}
    stamps.write(f"{manifest.directory}.json", canonical_json(found), is_durable=False)


def _read_stamps(stamps: Storage, name: str) -> dict[str, Any]:
    """What was checked before; a file that a crash left empty or cut means that all is checked again."""
    try:
        value = json.loads(stamps.read(name))
    except (StorageError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _checked(
    storage: Storage, manifest: Manifest, file: str, held: tuple[int, int] | None, known: list[int] | None
) -> list[int]:
    """A file's stamp, if it is what the manifest says; `held` is its stamp now, `known` what was checked."""
    expected = manifest.files[file]
    way_out = f"delete {manifest.directory} to make it again"
    if held is None:
        raise ManifestError(
            f"{storage.path(file)}: expected the file that the manifest names, got none; {way_out}"
        )
    stamp = list(held)
    if stamp == known:
        return stamp
    try:
        found = record(storage, file)
    except ValueError as error:
        words = str(error).removeprefix(f"{storage.path(file)}: ")
        raise ManifestError(f"{storage.path(file)}: {words}; {way_out}") from error
    if found != expected:
        raise ManifestError(
            f"{storage.path(file)}: expected {expected.size} bytes with {expected.digest[:23]}, "
            f"got {found.size} with {found.digest[:23]}: changed since it was made; {way_out}"
        )
    return stamp
