"""Packing: kept samples into even shards, byte for byte, in an order that removals do not disturb."""

from dataclasses import replace
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from fake_run import plan_step, run_step
from fake_stage import fake_sample
from inline_run import run_inline
from shards.checksum import checksum
from shards.index import Directory, pack_sample, write_index, write_packed
from shards.pack import PackConfig
from shards.plan import Refused
from shards.slices import MakeSlice
from shards.stage import IndexRow, Planned
from shards.storage import Storage
from shards.tar import TarWriter
from shards.worker import Job, Worker

keys = st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), unique=True, max_size=30)


def rows_of(names, directory=0):
    return [
        IndexRow(
            key=name, task="t", case="c", source="s", licence="l", references=1,
            directory=directory, shard=0, row=number,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


def order(names, seed):
    return [entry.key for entry in PackConfig(seed=seed).plan(rows_of(names))]


@given(keys, st.integers(0, 5), st.data())
def test_removing_samples_does_not_change_the_order_of_the_rest(names, seed, data):
    left = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    whole = order(names, seed)
    assert sorted(whole) == sorted(names)
    assert order(left, seed) == [key for key in whole if key in left]


def test_another_seed_is_another_order():
    names = [f"k{number}" for number in range(50)]
    assert order(names, 1) != order(names, 2)


def test_a_key_in_two_inputs_comes_from_the_first_and_the_other_is_a_row():
    entries = list(PackConfig().plan([*rows_of("abcdefg", 1), *rows_of("bdfhjln", 0)]))
    planned = {entry.key: entry.parents[0].directory for entry in entries if isinstance(entry, Planned)}
    assert planned == dict.fromkeys("aceg", 1) | dict.fromkeys("bdfhjln", 0)
    refused = [(entry.origin, entry.reason) for entry in entries if isinstance(entry, Refused)]
    assert sorted(refused) == [(key, "duplicate_key") for key in "bdf"]


def test_samples_are_packed_byte_for_byte(disk, local_engine, make_config):
    base, _, _ = run_step(disk, make_config(count=20), local_engine)
    packed, manifest, _ = run_step(
        disk, PackConfig(seed=4), local_engine, name="pack", inputs=[base], shard_size=6
    )
    assert manifest.shards == [6, 6, 6, 2]
    before, after = Directory(base), Directory(packed)
    assert sorted(after.places) == sorted(before.places)
    for key, place in after.places.items():
        parts = [(part.name, part.data) for part in after.packed(*place).parts]
        assert parts == [(part.name, part.data) for part in before.packed(*before.places[key]).parts]


def test_what_is_in_hand_is_marked_a_batch_at_a_time(disk, local_engine, make_config, monkeypatch):
    base, _, _ = run_step(disk, make_config(count=32), local_engine, shard_size=40)
    config, target = PackConfig(), disk.child("packed")
    plan_step(target, config, [base], 40)
    job = Job(
        name="pack", kind="samples", storage=target, inputs=(base,), config=config, ledger=disk.child("l")
    )
    written = []
    write = Storage.write
    monkeypatch.setattr(
        Storage,
        "write",
        lambda self, name, data, **how: written.append(name) or write(self, name, data, **how),
    )
    task = MakeSlice(job=job, shard=0, start=0, stop=32)
    assert task(Worker()).made == 32
    assert written == [task.mark, task.mark]


def test_a_parent_is_handed_on_as_it_was_written_whatever_this_version_would_write(disk, tmp_path):
    """JSON of another version, or with a field that this one does not know, stays what it was."""
    packed = pack_sample(fake_sample(1), "by")
    text = b" " + packed.parts[0].data
    changed = replace(packed.parts[0], data=text, sha256=sha256(text).digest(), checksum=checksum(text))
    base = disk.child("base-000000000000")
    with TarWriter(tmp_path / "0.tar") as writer:
        rows = [write_packed(writer, replace(packed, parts=(changed, *packed.parts[1:])))]
    base.publish(tmp_path / "0.tar", "shards/00000.tar")
    write_index(rows, tmp_path / "index")
    base.publish(tmp_path / "index", "index/00000.parquet")
    handed_on = run_inline(tmp_path, PackConfig(), inputs=[base]).directory.packed(0, 0)
    assert handed_on.parts == (changed, *packed.parts[1:])
    assert handed_on.row["digest"] == rows[0]["digest"]
    assert handed_on.row["made_by"] not in ("by", "")
