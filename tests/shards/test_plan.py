"""Plans: written down before work starts, read a slice at a time, samples of earlier recipes re-used."""

import pyarrow.parquet as pq
import pytest

from fake_run import plan_step, run_step
from fake_stage import FakeConfig
from shards.index import Directory
from shards.plan import (
    PlanError,
    Refused,
    Unused,
    content_of,
    plan_sizes,
    planned_rows,
    read_keys,
    read_plan,
    read_summary,
    reasons_of,
    write_plan,
)
from shards.production import Production
from shards.stage import IndexRow, Planned
from shards.worker import Job


def write(storage, planned, **changes):
    settings = {"shard_size": 3, "recipe": {}, "made": {}, "copies_from": (), "read": None}
    return write_plan(storage, planned, **(settings | changes))


def test_a_plan_is_read_back_slice_by_slice(storage):
    write(storage, [Planned(key=f"k{n}", spec={"n": n, "text": "é"}) for n in range(7)])
    assert storage.names("work/plan") == ["00000.parquet", "00001.parquet", "00002.parquet", "summary.json"]
    assert [row.key for row in read_plan(storage, 1, 1, 3)] == ["k4", "k5"]
    assert read_plan(storage, 2, 0, 99)[0].spec == {"n": 6, "text": "é"}


def test_a_slice_of_a_large_shard_reads_the_rows_around_it_and_no_others(storage, monkeypatch):
    monkeypatch.setattr("shards.plan.GROUP_ROWS", 4)
    write(storage, [Planned(key=f"k{n:02d}") for n in range(30)], shard_size=30)
    read = []
    groups = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda self, wanted: read.extend(wanted) or groups(self, wanted)
    )
    for start, stop, held in ((0, 4, [0]), (6, 9, [1, 2]), (28, 30, [7]), (8, 99, list(range(2, 8)))):
        assert [row.key for row in read_plan(storage, 0, start, stop)] == [
            f"k{n:02d}" for n in range(start, min(stop, 30))
        ]
        assert read == held
        read.clear()
    assert read_plan(storage, 0, 30, 40) == []
    assert read_keys(storage, 0) == [f"k{n:02d}" for n in range(30)]


def test_a_plan_counts_what_it_read(storage):
    entries = [Planned(key="a"), Refused(origin="x", reason="bad"), Refused(origin="y", reason="bad")]
    summary = write(storage, entries)
    assert (summary.planned, summary.read, summary.used) == (1, 3, 1)
    assert reasons_of(summary.refused) == {"bad": 2}
    assert read_summary(storage) == summary


def test_an_entry_of_a_source_that_several_samples_are_made_of_is_read_once(storage):
    rounds = [Planned(key=f"k{n}-{turn}", is_more=turn > 0) for n in range(2) for turn in range(3)]
    summary = write(storage, [*rounds, Refused(origin="x", reason="bad"), Unused(count=4)])
    assert (summary.read, summary.used, summary.planned) == (7, 2, 6)


def test_what_a_plan_passes_over_is_read_and_neither_used_nor_refused(disk):
    entries = [Planned(key="a"), Unused(count=5), Refused(origin="x", reason="bad"), Unused(count=2)]
    summary = write(disk, entries)
    assert (summary.planned, summary.read, summary.used, len(summary.refused)) == (1, 9, 1, 1)
    assert (plan_sizes(summary, 1), plan_sizes(summary, 2)) == ([1], [1])


def test_of_samples_that_were_read_those_with_children_are_used_once(disk):
    parents = [
        IndexRow(
            key=f"p{n}", task="t", case="c", source="s", licence="l", references=1,
            directory=0, shard=n // 2, row=n % 2,
        )
        for n in range(3)
    ]  # fmt: skip
    entries = [Planned(key=f"k{n}", parents=tuple(parents[: 1 + n % 2])) for n in range(4)]
    place = content_of(entries[3], {})
    summary = write(disk, entries, read=3, made={place: (0, 4, 5)}, copies_from=("old",))
    assert (summary.planned, summary.read, summary.used, summary.copied) == (4, 3, 2, 1)
    rows = list(planned_rows(disk))
    assert [row.key for row in rows] == ["k0", "k1", "k2", "k3"]
    assert [row.parents for row in rows] == [((0, 0, 0),), ((0, 0, 0), (0, 0, 1))] * 2
    assert [row.copy_of for row in rows] == [None, None, None, (0, 4, 5)]
    assert (rows[3].made_by, len({row.made_by for row in rows})) == (place, 4)


def test_a_key_planned_twice_is_an_error_of_the_step(storage):
    with pytest.raises(PlanError, match="expected each key once, got 'a' twice"):
        write(storage, [Planned(key=key) for key in "aba"])
    assert read_summary(storage) is None


def test_what_decides_a_sample_is_its_content_and_nothing_else():
    entry = Planned(key="a", spec={"n": 1})
    known = content_of(entry, {"version": 1})
    assert content_of(Planned(key="a", spec={"n": 1}), {"version": 1}) == known
    assert content_of(entry, {"version": 2}) != known
    assert content_of(Planned(key="a", spec={"n": 2}), {"version": 1}) != known
    assert content_of(Planned(key="b", spec={"n": 1}), {"version": 1}) != known
    slower = FakeConfig(sleep_s=1, log="elsewhere")
    assert slower.content() == slower.computed() == FakeConfig().computed()


def test_samples_of_an_earlier_recipe_are_copied_and_not_made_again(disk, local_engine, make_config):
    config = make_config(count=10)
    before, _, _ = run_step(disk, config, local_engine)
    made = {
        by: (0, shard, row)
        for shard in Directory(before).shards
        for row, by in enumerate(Directory(before)._read(shard, ["made_by"]).column("made_by").to_pylist())
    }
    target = disk.child("again")
    plan = write_plan(
        target,
        config.plan([]),
        shard_size=8,
        recipe=config.content(),
        made=made,
        copies_from=["x"],
        read=None,
    )
    assert (plan.copied, plan.copies_from) == (10, ("x",))
    job = Job(
        name="again", kind="samples", storage=target, inputs=(), ledger=disk,
        config=config.model_copy(update={"raise_on": tuple(config.keys)}), copies_from=(before,),
    )  # fmt: skip
    production = Production(job, [8, 2], local_engine, slice_size=4, observe=lambda progress: None)
    production.run()
    assert production.progress.copied == 10
    for name in ("shards/00000.tar", "shards/00001.tar", "index/00000.parquet"):
        assert target.read(name) == before.read(name)
    assert plan_step(disk.child("other"), config, (), 8).copied == 0
