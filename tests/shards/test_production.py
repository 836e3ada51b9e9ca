"""A step from plan to manifest on both engines and both storages: what is made, refused, lost, killed."""

import json
import os
from collections import Counter
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_run import made, plan_step, prepared, run_step
from fake_stage import fake_key, fake_sample, read_log
from fake_tree import all_files, digests
from shards.assemble import LostSamplesError
from shards.finish import read_rejects
from shards.index import Directory
from shards.local_executor import LocalExecutor
from shards.manifest import read_manifest, verify
from shards.plan import plan_sizes
from shards.production import Production, cover, gaps
from shards.slices import SLICE, MakeSlice
from shards.storage import Storage
from shards.tar import TarError

# What is made


def test_every_planned_sample_is_made_or_rejected_with_its_reason(storage, engine, make_config):
    config = make_config(count=20, reject=(fake_key(3), fake_key(17)), refuse=("row 7",))
    directory, manifest, _ = run_step(storage, config, engine)
    assert manifest.shards == [7, 8, 3]
    books = manifest.books
    assert (books.read, books.used, books.refused) == (21, 20, 1)
    assert (books.planned, books.made, books.failed) == (20, 18, 2)
    assert books.reasons == {"not_wanted": 2, "unreadable": 1}
    assert {(row["key"], row["stage"], row["reason"]) for row in read_rejects(directory)} == {
        ("row 7", "plan", "unreadable"),
        (fake_key(3), "base", "not_wanted"),
        (fake_key(17), "base", "not_wanted"),
    }
    kept = [key for key in config.keys if key not in config.reject]
    assert [row.key for row in Directory(directory).rows()] == kept
    for key in kept[::5]:
        assert Directory(directory)[key] == fake_sample(config.seed, key)
    assert Counter(made(config)) == Counter(config.keys)
    verify(directory, manifest, storage.child("stamps"))


def test_nothing_stays_behind_but_what_the_manifest_names(storage, engine, make_config):
    directory, manifest, _ = run_step(storage, make_config(), engine)
    assert sorted(all_files(directory)) == sorted([*manifest.files, "manifest.json"])


def test_scores_are_gathered_a_table_a_question(storage, engine, make_config):
    config = make_config(count=20)
    directory, _, _ = run_step(storage, config, engine)
    scores = config.model_copy(update={"makes": "scores", "reject": (fake_key(1),)})
    judged, manifest, _ = run_step(storage, scores, engine, name="judge", inputs=[directory])
    assert sorted(manifest.files) == ["rejects.parquet", "scores/each.parquet", "scores/whole.parquet"]
    assert (manifest.books.planned, manifest.books.made, manifest.books.failed) == (20, 19, 1)
    assert sorted(all_files(judged)) == sorted([*manifest.files, "manifest.json"])


def test_a_sample_that_nothing_could_be_asked_about_has_its_reason(disk, local_engine, make_config):
    config = make_config(count=20)
    directory, _, _ = run_step(disk, config, local_engine)
    silent = (fake_key(1), fake_key(9))
    scores = config.model_copy(update={"makes": "scores", "silent": silent})
    judged, manifest, _ = run_step(disk, scores, local_engine, name="judge", inputs=[directory])
    assert (manifest.books.made, manifest.books.reasons) == (18, {"nothing_to_ask": 2})
    assert {(row["key"], row["detail"]) for row in read_rejects(judged)} == {
        (key, "it has nothing that each could be asked of") for key in silent
    }


def test_work_is_done_in_two_processes_and_none_of_them_is_the_driver(disk, engine, make_config):
    config = make_config(count=40, sleep_s=0.03)
    _, _, progress = run_step(disk, config, engine)
    pids = {pid for _, pid, _ in read_log(config.log)}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert progress.pids == pids


def test_an_empty_plan_is_an_empty_directory(disk, local_engine, make_config):
    _, manifest, _ = run_step(disk, make_config(count=0), local_engine)
    assert manifest.shards == []
    assert manifest.books.planned == 0


def test_all_rejected_is_a_directory_of_rejects(disk, local_engine, make_config):
    config = make_config(count=10)
    config = config.model_copy(update={"reject": tuple(config.keys)})
    directory, manifest, _ = run_step(disk, config, local_engine)
    assert manifest.shards == [0, 0]
    assert len(read_rejects(directory)) == 10
    verify(directory, manifest, disk.child("stamps"))


def test_an_image_that_cannot_be_read_is_a_reject_not_a_crash(disk, local_engine, make_config):
    config = make_config(damage=(fake_key(5),))
    directory, manifest, _ = run_step(disk, config, local_engine)
    assert manifest.books.reasons == {"undecodable": 1}
    assert read_rejects(directory)[0]["key"] == fake_key(5)


# Same bytes


@pytest.mark.parametrize("batch", [1, 3])
def test_the_same_bytes_whatever_the_workers_the_slices_and_the_engine(
    tmp_path, disk, local_engine, ray_engine, make_config, batch
):
    config = make_config(count=30, reject=(fake_key(4), fake_key(29)), batch=batch)
    found = []
    with closing(LocalExecutor(1)) as alone:
        engines = [(alone, 4), (local_engine, 4), (local_engine, 16), (ray_engine, 4), (ray_engine, 1)]
        for number, (executor, slice_size) in enumerate(engines):
            out = disk.child(f"out{number}")
            base, _, _ = run_step(out, config, executor, slice_size=slice_size)
            scores = config.model_copy(update={"makes": "scores", "reject": ()})
            judged, _, _ = run_step(
                out, scores, executor, name="judge", inputs=[base], slice_size=slice_size, shard_size=7
            )
            found.append((digests(base), digests(judged)))
    assert all(each == found[0] for each in found[1:])
    assert len(found[0][0]) == 4 * 2 + 2


def test_the_same_bytes_on_a_disk_and_in_an_object_store(disk, s3_server, local_engine, make_config):
    from shards.storage import Storage

    config = make_config(count=20)
    remote = Storage(f"s3://bakery/same-bytes?scheme=http&endpoint_override={s3_server}&region=us-east-1")
    here, _, _ = run_step(disk, config, local_engine)
    there, _, _ = run_step(remote, config, local_engine)
    assert digests(here) == digests(there)


# Programs that are wrong


def test_an_exception_of_a_stage_ends_the_step_and_names_the_samples(disk, engine, make_config):
    config = make_config(raise_on=(fake_key(6),))
    with pytest.raises(RuntimeError, match="the program is wrong") as found:
        run_step(disk, config, engine)
    assert any(fake_key(6) in note and "base" in note for note in found.value.__notes__)
    assert not any(name == "manifest.json" for name in all_files(disk))


def test_after_an_exception_the_committed_slices_are_kept(disk, make_config):
    config = make_config(raise_on=(fake_key(11),))
    with closing(LocalExecutor(1)) as executor, pytest.raises(RuntimeError, match="wrong"):
        run_step(disk, config, executor)
    first = made(config)
    with closing(LocalExecutor(1)) as executor:
        run_step(disk, config.model_copy(update={"raise_on": ()}), executor)
    assert set(first[:8]) == set(config.keys[:8])
    assert not set(made(config)[len(first) :]) & set(config.keys[:8])


def test_an_exception_leaves_no_process_behind(disk, make_config):
    config = make_config(raise_on=(fake_key(6),), count=30, sleep_s=0.05)
    before = children()
    executor = LocalExecutor(2)
    with pytest.raises(RuntimeError, match="wrong"):
        run_step(disk, config, executor)
    executor.close()
    assert children() <= before


def children():
    """Processes that this one started, but for multiprocessing's own resource tracker."""
    files = Path("/proc/self/task").glob("*/children")
    found = {int(pid) for file in files for pid in file.read_text().split()}
    return {pid for pid in found if b"resource_tracker" not in cmdline(pid)}


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_damaged_input_ends_the_step_and_is_no_death_of_a_worker(disk, engine, make_config):
    base, _, _ = run_step(disk, make_config(), engine)
    tar = Path(base.path("shards/00000.tar"))
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(bytes(data))
    scores = make_config(makes="scores")
    with pytest.raises(TarError, match=r"00000\.tar: .*expected the bytes that its index names"):
        run_step(disk, scores, engine, name="judge", inputs=[base])


def test_two_steps_that_differ_only_in_how_they_run_have_a_stage_each(disk, make_config, tmp_path):
    """As two steps of one hash whose servers, or whose scratch files, are not the same."""
    with closing(LocalExecutor(1)) as executor:
        for name in ("one", "two"):
            run_step(disk, make_config(log=str(tmp_path / name)), executor, name=name)
    assert len(read_log(tmp_path / "one")) == len(read_log(tmp_path / "two")) == 12


@pytest.mark.parametrize("batch", [1, 4])
def test_an_outcome_that_a_stage_loses_ends_the_step(disk, local_engine, make_config, batch):
    with pytest.raises(ValueError, match="shorter"):
        run_step(disk, make_config(lose=(fake_key(2),), batch=batch), local_engine)


def test_a_sample_of_another_key_than_planned_ends_the_step(disk, local_engine, make_config):
    with pytest.raises(ValueError, match=f"expected sample '{fake_key(2)}' as planned, got 'another'"):
        run_step(disk, make_config(rename=(fake_key(2),)), local_engine)


def test_scores_where_samples_were_planned_end_the_step(disk, local_engine, make_config):
    config = make_config()
    base, _, _ = run_step(disk, config, local_engine)
    scores = config.model_copy(update={"makes": "scores"})
    _, job = prepared(disk, scores, inputs=[base], kind="samples")
    with pytest.raises(TypeError, match="expected samples"):
        Production(job, [8, 4], local_engine, slice_size=4, observe=lambda progress: None).run()


# The books


def commit_all_slices(out, config, engine):
    """A step killed after its last slice: everything committed, nothing assembled."""
    storage, job = prepared(out, config)
    for shard, start, stop in ((0, 0, 4), (0, 4, 8), (1, 0, 4)):
        while not engine.has_room():
            engine.wait(1)
        engine.submit(MakeSlice(job=job, shard=shard, start=start, stop=stop))
    while engine.in_hand:
        engine.wait(1)
    return storage


def rewrite(storage, name, change):
    """Change the rows of a committed slice."""
    with pa.ipc.open_file(pa.BufferReader(storage.read(name))) as reader:
        rows = reader.read_all().to_pylist()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SLICE) as writer:
        writer.write_table(pa.Table.from_pylist(change(rows), schema=SLICE))
    storage.write(name, sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[1:],
        lambda rows: rows[:-1],
        lambda rows: [*rows, rows[0]],
        lambda rows: [{**rows[0], "key": "other"}, *rows[1:]],
        lambda rows: [],
    ],
    ids=["first row lost", "last row lost", "a row twice", "another key", "all lost"],
)
def test_a_row_lost_from_a_slice_ends_the_step(disk, local_engine, make_config, change):
    config = make_config()
    storage = commit_all_slices(disk, config, local_engine)
    rewrite(storage, f"work/slices/{storage.names('work/slices')[1]}", change)
    with pytest.raises(LostSamplesError, match="expected 8 planned samples made or rejected"):
        run_step(disk, config, local_engine)
    assert read_manifest(storage) is None


def test_committed_slices_are_assembled_without_making_anything_again(storage, local_engine, make_config):
    config = make_config()
    directory = commit_all_slices(storage, config, local_engine)
    assert len(directory.names("work/slices")) == 3
    _, _, progress = run_step(storage, config, local_engine)
    assert Counter(made(config)) == Counter(config.keys)
    assert progress.resumed == 12


@pytest.mark.parametrize("cut", [0, 100, -10])
def test_a_slice_that_was_published_in_part_is_made_again(storage, local_engine, make_config, cut):
    config = make_config()
    directory = commit_all_slices(storage, config, local_engine)
    name = f"work/slices/{directory.names('work/slices')[1]}"
    directory.write(name, directory.read(name)[:cut])
    _, manifest, _ = run_step(storage, config, local_engine)
    assert manifest.books.made == 12
    assert len(made(config)) == 16


def test_a_new_step_asks_for_no_shard_that_cannot_be_there(storage, local_engine, make_config, monkeypatch):
    read = []
    before = Storage.open
    monkeypatch.setattr(Storage, "open", lambda self, name: read.append(name) or before(self, name))
    run_step(storage, make_config(count=40), local_engine)
    done = [name for name in read if name.startswith("work/done/")]
    assert sorted(done) == [f"work/done/{shard:05d}.json" for shard in range(5)]  # once each, at its end


# Spans

spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1])), max_size=12
)


@given(spans, st.integers(1, 90), st.integers(1, 20))
def test_chosen_spans_and_gaps_cover_a_shard_exactly_once(found, size, slice_size):
    chosen = cover({span: str(span) for span in found if span[1] <= size})
    missing = gaps(sorted(chosen), size, slice_size)
    together = sorted([*chosen, *missing])
    assert [place for start, stop in together for place in range(start, stop)] == list(range(size))
    assert all(chosen[span] == str(span) for span in chosen)
    assert all(stop - start <= slice_size for start, stop in missing)
    assert all(start // slice_size == (stop - 1) // slice_size for start, stop in missing)


@given(st.integers(0, 2000), st.integers(1, 700))
def test_shards_hold_the_plan(planned, shard_size):
    from shards.plan import PlanSummary

    sizes = plan_sizes(PlanSummary(planned=planned, read=0, used=0), shard_size)
    assert sum(sizes) == planned
    assert all(size == shard_size for size in sizes[:-1])
    assert all(0 < size <= shard_size for size in sizes)


def test_progress_adds_up_and_is_observed(disk, local_engine, make_config):
    config = make_config(count=30, reject=(fake_key(3),), sleep_s=0.02)
    seen = []
    run_step(disk, config, local_engine, observe=lambda p: seen.append((p.done, p.planned)))
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)
    assert len(seen) > 4


def test_summary_of_a_plan_survives_its_json(disk, make_config):
    summary = plan_step(disk, make_config(refuse=("a", "b")), (), 8)
    from shards.plan import read_summary

    assert read_summary(disk) == summary
    assert json.loads(disk.read("work/plan/summary.json"))["planned"] == 12
