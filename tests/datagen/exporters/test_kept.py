"""What is exported: which samples, in which order, and what they were made from."""

import published_sets
import pyarrow as pa
import pytest

from datagen.exporters import kept as kept_module
from datagen.exporters.kept import ExportError, Target, kept_of
from datagen.importers.jsonl import JsonlSettings
from inline_run import run_inline
from shards.manifest import Manifest, write_manifest
from shards.selection import FILE, write_selection


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Nine samples in three shards, the last of one."""
    root = tmp_path_factory.mktemp("made")
    published_sets.omnigen2(root / "set", count=9)
    return run_inline(root / "out", JsonlSettings(path=str(root / "set")), name="base", shard_size=4)


def decide(made, name, keep, of, kind="selection"):
    """A finished selection beside `made`, of the directories named; its place."""
    place = made.storage.sibling(f"{name}-000000000000")
    keys = [sample.key for sample in made.samples]
    table = pa.table({"key": keys, "keep": [key in keep for key in keys], "reason": [""] * len(keys)})
    with place.scratch() as path:
        write_selection(table, path)
        place.publish(path, FILE)
    write_manifest(
        place, Manifest(name=name, type="t", hash="0" * 64, kind=kind, config={}, parents={"input": of})
    )
    return place.uri


def test_samples_come_in_order_with_their_own_bytes_however_few_are_read_at_once(made, monkeypatch):
    monkeypatch.setattr(kept_module, "ROWS", 3)
    kept = kept_of(made.storage.uri)
    found = list(kept.samples())
    assert [sample.key for sample in found] == [sample.key for sample in made.samples]
    for sample, known in zip(found, made.samples, strict=True):
        assert [name for name, _ in sample.images] == ["ref0.jpg", "ref1.png", "target.webp"]
        assert [data for _, data in sample.images] == [i.data for i in (*known.references, known.target)]
    some = kept.index.take([7, 1, 8])
    assert [sample.key for sample in kept.samples(some)] == some.column("key").to_pylist()


def test_of_selections_of_selections_that_is_exported_which_all_keep(made):
    keys = [sample.key for sample in made.samples]
    decide(made, "one", set(keys[1:7]), [made.manifest.directory])
    kept = kept_of(decide(made, "two", {keys[0], keys[5], keys[2]}, ["one-000000000000"]) + "/")
    assert (kept.name, len(kept)) == ("two", 2)
    assert [sample.key for sample in kept.samples()] == [keys[2], keys[5]]
    assert [manifest.name for manifest in kept.chain] == ["two", "one", "base"]


def test_a_source_that_two_steps_read_or_that_is_gone_stands_in_the_chain_once_or_never(made):
    base = made.manifest.directory
    keys = {sample.key for sample in made.samples}
    left = decide(made, "left", keys, [base, "gone-000000000000"])
    parents = [base, left.rpartition("/")[2], base]
    assert [m.name for m in kept_of(decide(made, "all", keys, parents)).chain] == ["all", "base", "left"]


def test_what_holds_no_samples_is_refused_by_its_kind(made):
    scores = decide(made, "scores", set(), [made.manifest.directory], kind="scores")
    with pytest.raises(
        ExportError, match="expected a directory of samples or a selection, got one of scores"
    ):
        kept_of(scores)
    with pytest.raises(ExportError, match=r"nowhere: expected a finished directory, got none; run its step"):
        kept_of(made.storage.sibling("nowhere").uri)


def test_a_manifest_below_that_cannot_be_read_ends_the_chain_and_not_the_export(made):
    old = made.storage.sibling("old-000000000000")
    old.write("manifest.json", b'{"schema": 0}')
    kept = kept_of(
        decide(made, "late", {made.samples[0].key}, [made.manifest.directory, old.uri.rpartition("/")[2]])
    )
    assert [manifest.name for manifest in kept.chain] == ["late", "base"]


def test_what_is_written_as_bytes_is_known_by_its_hash(tmp_path):
    target = Target(f"{tmp_path}/x/")
    target.write("a/b.txt", b"abc")
    assert (tmp_path / "x/a/b.txt").read_bytes() == b"abc"
    assert target.sha256 == {"a/b.txt": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
