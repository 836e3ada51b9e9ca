"""Files on a disk or in an object store: whole objects in, whole objects out, nothing appended or locked."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

UPLOAD_BYTES = 8 << 20
EVEN_BYTES = 1 << 10
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # errors of a disk, which do not say where
SCRATCH = ".tmp"  # folder of files that are not whole yet, in each folder that is written into


class StorageError(OSError):
    """A file that could not be read or written: *where: what; the way out*."""


@dataclass(frozen=True)
class Storage:
    """A folder, named by a local path or a URI that pyarrow knows (`s3://bucket/prefix?...`).

    Pickles as its URI, a relative folder made absolute, so that a worker elsewhere opens the same.
    """

    uri: str

    def __post_init__(self) -> None:
        scheme, is_uri, rest = self.uri.partition("://")
        owner = rest.partition("/")[0].partition("?")[0]
        if is_uri and ("@" in owner or (":" in owner and scheme == "s3")):
            raise StorageError(
                f"{scheme}://...: expected no key in it, as it is shown and written down, got one; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
            )

    @cached_property
    def _opened(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.uri:
            return fs.LocalFileSystem(), str(Path(self.uri).absolute())
        try:
            filesystem, path = fs.FileSystem.from_uri(self.uri)
        except (ValueError, NotImplementedError) as error:
            raise StorageError(
                f"{self.uri}: expected a folder or a URI like s3://bucket/prefix, got: {error}"
            ) from error
        return filesystem, path

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.uri if "://" in self.uri else self.path(),)

    @property
    def filesystem(self) -> fs.FileSystem:
        """The pyarrow file system."""
        return self._opened[0]

    @property
    def is_local(self) -> bool:
        """Whether files are reached without a network."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, name: str = "") -> str:
        """The file system's path of a file in this folder."""
        root = self._opened[1]
        return f"{root}/{_inside(name)}" if name else root

    def child(self, name: str) -> Storage:
        """A folder in this one."""
        base, options = self._parts
        return Storage(f"{base}/{_inside(name)}{options}")

    def sibling(self, name: str) -> Storage:
        """A folder beside this one."""
        base, options = self._parts
        parent, slash, _ = base.rpartition("/")
        return Storage(f"{parent}{slash}{_inside(name)}{options}")

    @property
    def _parts(self) -> tuple[str, str]:
        """The place and, of a URI, its options; a folder's name may have a question mark in it."""
        base, question, options = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return base.rstrip("/"), question + options

    def exists(self, name: str = "") -> bool:
        """Whether there is such a file or folder."""
        return bool(self.filesystem.get_file_info(self.path(name)).type != fs.FileType.NotFound)

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            StorageError: there is no such file.
        """
        return self.stat(name)[0]

    def stat(self, name: str) -> tuple[int, int]:
        """(bytes, time of last change in ns) of a file.

        Raises:
            StorageError: there is no such file.
        """
        info = self.filesystem.get_file_info(self.path(name))
        if info.type != fs.FileType.File:
            raise StorageError(f"{self.path(name)}: expected a file, got none")
        return info.size, info.mtime_ns or 0

    def stats(self) -> dict[str, tuple[int, int]]:
        """What `stat` says of every file in this folder and below, by name; a few requests for thousands."""
        root = self.path()
        selector = fs.FileSelector(root, allow_not_found=True, recursive=True)
        return {
            info.path[len(root) :].lstrip("/"): (info.size or 0, info.mtime_ns or 0)
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        }

    def names(self, folder: str = "") -> list[str]:
        """Names of what is directly in a folder, sorted; none where there is no such folder."""
        return sorted(name for name, _ in self._entries(folder))

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return sorted(name for name, is_folder in self._entries(folder) if is_folder)

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        selector = fs.FileSelector(self.path(folder), allow_not_found=True)
        for info in self.filesystem.get_file_info(selector):
            yield info.base_name, info.type == fs.FileType.Directory

    def total_size(self) -> int:
        """Bytes of all files in this folder and below."""
        selector = fs.FileSelector(self.path(), allow_not_found=True, recursive=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            StorageError: there is no such file.
        """
        with self.open(name) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
        """A file for random access.

        Raises:
            StorageError: there is no such file.
        """
        try:
            return self.filesystem.open_input_file(self.path(name))
        except FileNotFoundError as error:
            raise StorageError(f"{self.path(name)}: expected a file, got none") from error

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local file name for `publish`, on the target's own disk where that is local."""
        folder = Path(self.path(SCRATCH)) if self.is_local else Path(tempfile.gettempdir())
        _make_folder(folder)
        path = folder / f"bakery-{uuid.uuid4().hex}"
        try:
            yield path
        except OSError as error:
            if error.errno in DISK:  # others may be of whoever makes what is written
                error.add_note(f"while writing into {self.uri}")
            raise
        finally:
            path.unlink(missing_ok=True)

    def start_writing(self, path: Path, start: int, stop: int) -> None:
        """Have the disk begin with bytes that a scratch file just got: `publish` then waits less for it.

        Linux starts to write fresh pages when told that they are not needed, and keeps them until it has.
        """
        if self.is_local and hasattr(os, "posix_fadvise"):
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), start, stop - start, os.POSIX_FADV_DONTNEED)

    def publish(self, path: Path, name: str, *, is_durable: bool = True) -> None:
        """Move a finished local file to its final name, whole or not at all.

        Durable means that it outlives the machine's power; a mark that need only outlive its process
        can do without and costs no wait for the disk.

        On an object store an interrupted upload can leave a truncated object: what names the object
        (a receipt, a manifest) is published after it, so nobody reads it.

        Raises:
            OSError: the disk is full, the place cannot be written.
        """
        if self.is_local:
            _publish_local(path, Path(self.path(name)), is_durable)
        else:
            self._upload(path, name)

    def _upload(self, path: Path, name: str) -> None:
        target = self._sink(name)
        try:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, UPLOAD_BYTES)
        except BaseException:
            with suppress(OSError):
                target.close()
            self.delete(name)  # closing has published what the stream got so far
            raise
        target.close()  # all or nothing: where this fails, an object that was there still is
        if self.size(name) != path.stat().st_size:
            raise StorageError(
                f"{self.path(name)}: expected {path.stat().st_size} bytes, got {self.size(name)}"
            )

    def _sink(self, name: str) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
        """Bytes as they are: pyarrow would compress a `.gz` once more."""
        return self.filesystem.open_output_stream(self.path(name), compression=None)

    def write(self, name: str, data: bytes, *, is_durable: bool = True) -> None:
        """Publish bytes under a name, whole or not at all."""
        with self.scratch() as path:
            path.write_bytes(data)
            self.publish(path, name, is_durable=is_durable)

    def write_again(self, name: str, text: bytes) -> None:
        """Publish JSON that changes while others read it, filled up with spaces to whole `EVEN_BYTES`.

        An object store is asked for the size first, then for so many bytes: where a longer text came between,
        a reader got the beginning of it. A mark of a process: not durable.
        """
        self.write(name, text.ljust(-(-len(text) // EVEN_BYTES) * EVEN_BYTES), is_durable=False)

    def delete(self, name: str) -> None:
        """Delete a file or a folder; it is no error if there is none."""
        kind = self.filesystem.get_file_info(self.path(name)).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self.path(name))


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise StorageError(f"{name!r}: expected a path inside its folder, got one that leaves it")
    return str(path)


def _publish_local(path: Path, target: Path, is_durable: bool) -> None:
    _make_folder(target.parent)
    if path.stat().st_dev != target.parent.stat().st_dev:
        path = _copy_beside(path, target)
    if is_durable:
        _sync(path)
    path.replace(target)
    if is_durable:
        _sync(target.parent)


def _make_folder(folder: Path) -> None:
    """A folder with all above it, each durably: a file is lost with the folder whose name is."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _copy_beside(path: Path, target: Path) -> Path:
    copy = target.parent / f".{target.name}-{uuid.uuid4().hex}"
    try:
        shutil.copyfile(path, copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return copy


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_words(size_bytes: float) -> str:
    """Bytes for people.

    >>> size_words(19_267_600_000), size_words(5_832_704), size_words(2_310)
    ('19.3 GB', '5.8 MB', '2.3 KB')
    """
    for unit, worth in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= worth:
            return f"{size_bytes / worth:.1f} {unit}"
    return f"{size_bytes:.0f} B"
