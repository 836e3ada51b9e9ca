"""A set in an object store gives the bytes and the hash that it gives from a disk, and streams from there."""

import uuid
from pathlib import Path

import published_sets
import pytest

from datagen.importers.parquet import HfSettings
from datagen.importers.source import SourceError
from datagen.importers.uno_1m import Uno1mSettings
from datagen.importers.x2i import X2iSettings
from inline_run import run_inline
from shards.listing import BLOCK_BYTES, WHOLE_BYTES, list_files, listing_digest
from shards.storage import Storage

FORMATS = {
    "x2i": (published_sets.x2i, X2iSettings),
    "uno": (lambda root: published_sets.uno_1m(root, splits=(1,)), Uno1mSettings),
    "parquet": (published_sets.parquet, HfSettings),
}


@pytest.fixture
def bucket(s3_server):
    """An empty prefix of a bucket."""
    where = f"s3://bakery/{uuid.uuid4().hex}"
    return Storage(f"{where}?scheme=http&endpoint_override={s3_server}&region=us-east-1")


def upload(root, bucket):
    for path in sorted(Path(root).rglob("*")):
        if path.is_file():
            bucket.write(str(path.relative_to(root)), path.read_bytes())


@pytest.mark.parametrize("form", FORMATS)
def test_a_set_in_a_bucket_gives_what_it_gives_from_a_disk(form, bucket, tmp_path):
    write, settings = FORMATS[form]
    write(tmp_path / "set")
    upload(tmp_path / "set", bucket)
    disk = run_inline(tmp_path / "disk", settings(path=str(tmp_path / "set")))
    store = run_inline(tmp_path / "store", settings(path=bucket.uri))
    assert disk.manifest.books.made > 0
    assert store.samples == disk.samples
    assert store.manifest.files == disk.manifest.files
    assert store.manifest.hash == disk.manifest.hash


def test_a_file_on_a_disk_is_no_set(tmp_path):
    (tmp_path / "samples.csv").write_text("instruction,references,target\n")
    (told,) = X2iSettings(path=str(tmp_path / "samples.csv")).missing()
    assert told.endswith("samples.csv: expected a folder, got a file; set the path of the one it lies in")


def test_a_bucket_without_the_set_says_so(bucket):
    settings = X2iSettings(path=bucket.uri)
    assert "expected a folder, got none; set its path" in settings.missing()[0]
    bucket.write("other.txt", b"x")
    told = "expected a folder, got a file; set the path of the one it lies in"
    assert X2iSettings(path=bucket.child("other.txt").uri).missing()[0].endswith(told)
    with pytest.raises(SourceError, match=r"expected files like \*\.jsonl, got other\.txt"):
        X2iSettings(path=bucket.uri).check()


@pytest.mark.parametrize("at", [0, WHOLE_BYTES // 2, -1])
def test_a_file_of_the_same_name_and_size_is_another_set(tmp_path, at):
    storage = Storage(str(tmp_path))
    storage.write("a.jsonl", bytes(BLOCK_BYTES))
    storage.write("a.tar.gz", bytes(WHOLE_BYTES))

    def digest():
        return listing_digest(storage, list_files(storage))

    before = digest()
    (tmp_path / "a.tar.gz").touch()
    assert digest() == before
    changed = bytearray(WHOLE_BYTES)
    changed[at] = 1
    storage.write("a.tar.gz", bytes(changed))
    assert digest() != before


def test_of_a_large_file_the_end_counts(tmp_path):
    storage = Storage(str(tmp_path))
    digests = set()
    for last in (b"0", b"1"):
        storage.write("a.tar.gz", bytes(WHOLE_BYTES + 99) + last)
        digests.add(listing_digest(storage, list_files(storage)))
    assert len(digests) == 2
