"""Our own directories come back as they were: keys, bytes, words; what would be set in vain is refused."""

import shutil

import published_sets
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from datagen.exporters.kept import Target, kept_of
from datagen.exporters.scone_parquet import SconeOptions, export_scone
from datagen.importers.directory import DirectorySettings
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.source import SourceError
from inline_run import run_inline
from shards.manifest import FILE


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished directory of thirteen samples in two shards."""
    root = tmp_path_factory.mktemp("first")
    published_sets.omnigen2(root / "set", count=13)
    settings = JsonlSettings(path=str(root / "set"), licence="cc-by-nc-4.0")
    return run_inline(root / "out", settings)


def test_a_directory_imported_and_exported_is_the_same_samples(first, tmp_path):
    again = run_inline(tmp_path, DirectorySettings(path=first.storage.uri), shard_size=5)
    assert sorted(again.samples, key=lambda s: s.key) == sorted(first.samples, key=lambda s: s.key)
    assert again.manifest.books.read == again.manifest.books.made == len(first.samples)
    options = SconeOptions(name="set", gpus=1, workers=1)
    export_scone(kept_of(again.storage.uri), Target(str(tmp_path / "x")), options)
    table = pq.read_table(tmp_path / "x/parquet_data/set/set_00000.parquet")
    found = {row["key"]: (row["instruction"], row["image"]) for row in table.to_pylist()}
    assert found == {
        s.key: (s.instruction, [i.data for i in (*s.references, s.target)]) for s in first.samples
    }


def test_conditions_licences_and_sampling_hold_for_a_directory_too(first, tmp_path):
    keys = sorted(sample.key for sample in first.samples)
    where = DirectorySettings(path=first.storage.uri, where={"key": keys[:3]})
    made = run_inline(tmp_path / "where", where)
    assert sorted(sample.key for sample in made.samples) == keys[:3]
    assert made.manifest.books.unused == 10
    drawn = DirectorySettings(path=first.storage.uri, sample=4, seed=3)
    assert len(run_inline(tmp_path / "drawn", drawn).samples) == 4
    strict = DirectorySettings(path=first.storage.uri, clean={"allow_non_commercial": False})
    made = run_inline(tmp_path / "strict", strict)
    assert made.reasons == {"licence": 13}
    assert made.samples == []


def test_its_identity_is_what_it_holds_and_not_how_it_was_made(first, tmp_path):
    copy = run_inline(tmp_path / "one", DirectorySettings(path=first.storage.uri))
    before = DirectorySettings(path=copy.storage.uri).computed()
    manifest = copy.storage.read(FILE)
    copy.storage.write(FILE, manifest.replace(b'"stats": {}', b'"stats": {"seconds": 1}'))
    assert copy.storage.read(FILE) != manifest
    assert DirectorySettings(path=copy.storage.uri).computed() == before
    assert DirectorySettings(path=first.storage.uri).computed() != before  # in other shards


@pytest.mark.parametrize(
    ("setting", "named"),
    [({"licence": "mit"}, "licence"), ({"clean": {"min_side_px": 512}}, r"clean\.min_side_px")],
)
def test_what_would_be_set_in_vain_is_refused(setting, named):
    with pytest.raises(ValidationError, match=rf"samples as they are, so no {named}: leave it out"):
        DirectorySettings(path="x", **setting)


def test_what_is_no_finished_directory_says_what_was_seen(first, tmp_path):
    published_sets.folder(tmp_path / "set")
    with pytest.raises(SourceError, match=r"expected a finished directory with its manifest\.json, got "):
        run_inline(tmp_path / "out", DirectorySettings(path=str(tmp_path / "set")))
    assert "set `path` to OUT/STEP-HASH" in DirectorySettings(path=str(tmp_path / "set")).missing()[0]
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / FILE).write_text('{"schema": 99}')
    assert "expected schema" in DirectorySettings(path=str(folder)).missing()[0]
    assert DirectorySettings(path=str(folder)).computed()["listing"] is None


def test_a_copy_that_is_not_whole_is_refused_and_a_changed_picture_is_a_reject(first, tmp_path):
    shutil.copytree(first.storage.path(), tmp_path / "copy")
    tar, index = tmp_path / "copy/shards/00001.tar", tmp_path / "copy/index/00000.parquet"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    settings = DirectorySettings(path=str(tmp_path / "copy"))
    made = run_inline(tmp_path / "out", settings)
    assert made.reasons == {"changed": 1}
    assert len(made.samples) == len(first.samples) - 1
    tar.write_bytes(data[:-1])
    assert "shards/00001.tar: expected" in DirectorySettings(path=str(tmp_path / "copy")).missing()[0]
    tar.write_bytes(data)
    changed = bytearray(index.read_bytes())
    changed[50] ^= 1
    index.write_bytes(changed)
    (told,) = DirectorySettings(path=str(tmp_path / "copy")).missing()
    assert "expected the bytes that its manifest names, got others; copy the directory again" in told
