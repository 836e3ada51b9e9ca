"""The manifest: its presence is what "finished" means, and every file is what it says."""

import json
from dataclasses import replace

import pytest

from fake_run import run_step
from shards.books import Books, BooksError
from shards.manifest import (
    FILE,
    FileRecord,
    Manifest,
    ManifestError,
    directory_name,
    read_manifest,
    record,
    stamp,
    verify,
    versions,
    write_manifest,
)
from shards.storage import Storage

DRAFT = Manifest(name="base", type="fake", hash="0123456789abcdef", kind="samples", config={"seed": 1})


@pytest.fixture
def made(storage, local_engine, make_config):
    directory, manifest, _ = run_step(storage, make_config(), local_engine)
    return directory, manifest, storage.child("stamps")


def test_a_manifest_comes_back_as_it_was_written(storage):
    manifest = replace(
        DRAFT,
        run={"workers": 2},
        parents={"input": ["a-0"]},
        files={"x": FileRecord(3, "sha256:0")},
        shards=[3, 4],
        books=Books(planned=2, made=1, failed=1, reasons={"x": 1}),
        stats={"seconds": 1.5},
        versions=versions(),
    )
    assert read_manifest(storage) is None
    write_manifest(storage, manifest)
    assert read_manifest(storage) == manifest
    assert manifest.directory == directory_name("base", DRAFT.hash) == "base-0123456789ab"


def test_books_that_do_not_balance_leave_the_directory_unfinished(storage):
    with pytest.raises(BooksError, match="base-0123456789ab: planned = made"):
        write_manifest(storage, replace(DRAFT, books=Books(planned=2, made=1)))
    assert read_manifest(storage) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 99}',
        b"\xff",
        b'{"schema": 1, "books": 3}',
    ],
)
def test_a_manifest_that_cannot_be_read_is_an_error_with_the_way_out(storage, text):
    storage.write(FILE, text)
    with pytest.raises(ManifestError, match=r"make (it|the directory) again"):
        read_manifest(storage)


def test_a_finished_directory_is_what_its_manifest_says(made):
    directory, manifest, stamps = made
    verify(directory, manifest, stamps)
    assert {name: record(directory, name) for name in manifest.files} == dict(manifest.files)


@pytest.mark.parametrize("name", ["shards/00000.tar", "index/00001.parquet", "rejects.parquet"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_file_that_differs_is_named(made, name, how):
    directory, manifest, stamps = made
    data = bytearray(directory.read(name))
    data[len(data) // 2] ^= 255
    if how == "gone":
        directory.delete(name)
    else:
        directory.write(name, bytes(data) if how == "changed" else bytes(data[:-600]))
    with pytest.raises(ManifestError, match=rf"{name}.*delete {manifest.directory} to make it again"):
        verify(directory, manifest, stamps)


def test_a_manifest_edited_so_that_its_books_do_not_balance_is_told(made):
    directory, manifest, stamps = made
    edited = replace(manifest, books=replace(manifest.books, made=manifest.books.made + 1))
    with pytest.raises(ManifestError, match=r"manifest.json: planned = made \+ failed: .*; delete base-"):
        verify(directory, edited, stamps)


def test_a_file_that_was_checked_is_not_read_again_until_it_is_touched(disk, local_engine, make_config):
    import os
    from pathlib import Path

    directory, manifest, _ = run_step(disk, make_config(), local_engine)
    stamps = disk.child("stamps")
    verify(directory, manifest, stamps)
    path = Path(directory.path("shards/00000.tar"))
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    verify(directory, manifest, stamps)  # same size, same time: believed
    path.touch()
    with pytest.raises(ManifestError, match=r"00000\.tar"):
        verify(directory, manifest, stamps)


def test_files_are_not_asked_for_one_by_one_as_there_are_thousands_in_an_object_store(made, monkeypatch):
    directory, manifest, stamps = made
    stamp(directory, manifest, stamps)
    asked = []
    monkeypatch.setattr(Storage, "stat", lambda self, name: asked.append(name))
    monkeypatch.setattr("shards.manifest.record", lambda storage, name: asked.append(name))
    verify(directory, manifest, stamps)
    assert asked == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"shards/00000.tar": 3}'])
def test_stamps_that_cannot_be_read_are_made_anew(made, text):
    directory, manifest, stamps = made
    stamps.write(f"{manifest.directory}.json", text)
    verify(directory, manifest, stamps)
    assert set(json.loads(stamps.read(f"{manifest.directory}.json"))) == set(manifest.files)
