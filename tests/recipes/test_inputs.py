"""What a step reads: whole directories, what selections keep of them, and a hash of both."""

import pyarrow as pa
import pytest

from datagen.single_candidate import SingleCandidateConfig
from inline_run import run_inline
from recipes.inputs import contents, rows_of, samples_of
from shards.manifest import FileRecord, Manifest, ManifestError, write_manifest
from shards.selection import FILE, write_selection
from shards.storage import Storage


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Four rendered samples in two shards, made once."""
    out = tmp_path_factory.mktemp("out")
    return run_inline(out, SingleCandidateConfig(samples=4, size_px=128, seed=1), name="base", shard_size=3)


@pytest.fixture
def out(base):
    """The output that holds them."""
    return Storage(base.storage.uri.rpartition("/")[0])


def decide(out, name, of, keep):
    """A finished selection of a directory; its name."""
    manifest = Manifest(
        name=name, type="select", kind="selection", hash="0" * 64, config={}, parents={"input": [of, "other"]}
    )
    place = out.child(manifest.directory)
    table = pa.table({"key": list(keep), "keep": list(keep.values()), "reason": [""] * len(keep)})
    with place.scratch() as path:
        write_selection(table, path)
        place.publish(path, FILE)
    write_manifest(place, manifest)
    return manifest.directory


def test_of_a_directory_all_samples_are_read_and_of_selections_those_that_all_keep(base, out):
    keys = [sample.key for sample in base.samples]
    whole = samples_of(out, base.manifest.directory)
    one = decide(out, "one", base.manifest.directory, {key: key != keys[0] for key in keys})
    two = decide(out, "two", one, {keys[2]: True, keys[1]: False, keys[3]: True})
    inputs = [whole, samples_of(out, one), samples_of(out, two)]
    assert [len(each) for each in inputs] == [4, 3, 2]
    assert [each.storage.uri for each in inputs] == [base.storage.uri] * 3
    read = [(row.directory, row.key, row.shard, row.row) for row in rows_of(inputs)]
    places = [(keys[0], 0, 0), (keys[1], 0, 1), (keys[2], 0, 2), (keys[3], 1, 0)]
    assert read == [(number, *place) for number in range(3) for place in places[(0, 1, 2)[number] :]]


def test_a_directory_that_is_not_finished_is_told_with_the_way_out(out):
    with pytest.raises(ManifestError, match="gone: expected a finished directory, got none; run its step"):
        samples_of(out, "gone")


def finished(out, name, digest, kind="scores", of=()):
    parents = {"input": list(of), "scores": ["else-000000000000"]}
    files = {"a": FileRecord(3, digest)}
    manifest = Manifest(
        name=name, type="t", kind=kind, hash="0" * 64, config={}, parents=parents, files=files
    )
    write_manifest(out.child(manifest.directory), manifest)
    return manifest.directory


def test_the_hash_of_contents_follows_what_directories_hold_and_what_selections_point_at(tmp_path):
    out = Storage(str(tmp_path))
    scores, base = finished(out, "scores", "sha256:1"), finished(out, "base", "sha256:2")
    chosen = finished(out, "chosen", "sha256:3", "selection", [base, scores])
    packed = finished(out, "packed", "sha256:4", "samples", [base])
    read = {"input": [chosen], "scores": [packed]}
    known = contents(out, read)
    assert contents(out, {"input": [chosen, packed]}) == known
    assert contents(out, {"input": [packed, chosen]}) != known
    finished(out, "scores", "sha256:9")
    assert contents(out, read) == known  # read by the selection when it was made, and by nobody now
    for name, kind, of in (
        ("base", "scores", ()),
        ("chosen", "selection", [base]),
        ("packed", "samples", ()),
    ):
        finished(out, name, "sha256:8", kind, of)
        assert contents(out, read) != known
        known = contents(out, read)
    assert contents(out, {"input": ["gone-000000000000"]}) == contents(out, {})
