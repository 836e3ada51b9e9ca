"""The end of a step: the books are counted from what lies there, and a full disk damages nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_run import main, plan_step, run_step
from fake_stage import fake_key
from fake_tree import all_files, digests
from shards.books import Books, BooksError
from shards.finish import finish, read_rejects
from shards.index import write_index
from shards.manifest import Manifest, read_manifest, write_manifest
from shards.plan import read_summary
from shards.production import Production
from shards.storage import Storage
from shards.worker import Job


@pytest.fixture
def unfinished(disk, local_engine, make_config):
    """A step of 12 samples, two rejected and two refused, with everything made but the manifest."""
    config = make_config(reject=(fake_key(2), fake_key(9)), refuse=("row 1", "row 5"))
    plan = plan_step(disk, config, (), 8)
    job = Job(name="base", kind="samples", storage=disk, inputs=(), config=config, ledger=disk)
    records = Production(job, [8, 4], local_engine, slice_size=4, observe=lambda progress: None).run()
    return disk, Manifest(name="base", type="fake", hash="0" * 64, kind="samples", config={}), plan, records


def test_books_are_counted_from_what_lies_there(unfinished):
    storage, draft, plan, records = unfinished
    manifest = finish(storage, draft, plan, records)
    assert manifest.books == Books(
        read=14,
        used=12,
        refused=2,
        planned=12,
        made=10,
        failed=2,
        reasons={"not_wanted": 2, "unreadable": 2},
    )
    assert len(read_rejects(storage)) == 4


def test_one_reject_deleted_ends_the_step(unfinished):
    storage, draft, plan, records = unfinished
    done = json.loads(storage.read("work/done/00000.json"))
    done["rejects"] = []
    storage.write("work/done/00000.json", json.dumps(done).encode())
    with pytest.raises(BooksError, match=r"planned = made \+ failed: expected 12, got 10 \+ 1"):
        finish(storage, draft, plan, records)
    assert read_manifest(storage) is None


def test_one_row_lost_from_an_index_ends_the_step(unfinished):
    storage, draft, plan, records = unfinished
    path = Path(storage.path("index/00001.parquet"))
    rows = pq.read_table(path).to_pylist()
    write_index(rows[1:], path)
    with pytest.raises(BooksError, match=r"expected 12, got 9 \+ 2"):
        finish(storage, draft, plan, records)


def test_one_shard_lost_ends_the_step(unfinished):
    storage, draft, plan, records = unfinished
    storage.delete("index/00000.parquet")
    with pytest.raises(BooksError, match="planned = made"):
        finish(storage, draft, plan, records)


def test_a_judged_sample_lost_from_the_tables_ends_the_step(disk, local_engine, make_config):
    config = make_config()
    base, _, _ = run_step(disk, config, local_engine)
    scores = config.model_copy(update={"makes": "scores"})
    from shards import finish as module

    storage = disk.child("judge-0")
    plan = plan_step(storage, scores, [base], 8)
    job = Job(name="judge", kind="scores", storage=storage, inputs=(base,), config=scores, ledger=disk)
    records = Production(job, [8, 4], local_engine, slice_size=4, observe=lambda progress: None).run()
    for question in ("each", "whole"):
        path = Path(storage.path(f"work/tables/{question}/00000.parquet"))
        table = pq.read_table(path)
        first = table.column("key")[0].as_py()
        pq.write_table(table.filter([key.as_py() != first for key in table.column("key")]), path)
    draft = Manifest(name="judge", type="fake", hash="1" * 64, kind="scores", config={})
    with pytest.raises(BooksError, match=r"expected 12, got 11 \+ 0"):
        module.finish(storage, draft, plan, records)


counts = st.integers(0, 50)


@given(counts, counts, counts, counts, counts, st.sampled_from([*"ruxpmf", ""]), st.integers(1, 5))
def test_books_balance_exactly_when_nothing_is_missing(used, unused, refused, made, failed, wrong, by):
    values = {
        "read": used + unused + refused + by * (wrong == "r"),
        "used": used + by * (wrong == "u"),
        "unused": unused,
        "refused": refused,
        "planned": made + failed + by * (wrong == "p"),
        "made": made + by * (wrong == "m"),
        "failed": failed,
        "reasons": {"a": refused, "b": failed + by * (wrong == "x")},
    }
    books = Books(**values)
    if wrong in ("", "f"):
        books.check("base")
    else:
        with pytest.raises(BooksError, match="base: "):
            books.check("base")


# Full disks

FULL = """
import json, resource, sys
import fake_run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
fake_run.main(json.loads(open(sys.argv[1]).read()))
"""


@pytest.mark.parametrize("limit", [300, 20_000], ids=["plan", "slice"])
def test_a_full_disk_is_one_clear_error_and_going_on_gives_the_same_bytes(tmp_path, make_config, limit):
    """A limit on the size of files that workers inherit: writes fail in the middle, as on a full disk."""
    config = make_config(side_px=48, count=24)
    request = {
        "out": str(tmp_path / "out"),
        "engine": "local",
        "workers": 1,
        "shard_size": 8,
        "slice_size": 2,
        "config": config.model_dump(),
    }
    order = tmp_path / "order.json"
    order.write_text(json.dumps(request))
    command = [sys.executable, "-W", "ignore", "-c", FULL, str(order), str(limit)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    out = Storage(request["out"])
    assert not [name for name in all_files(out) if name.endswith(("manifest.json", ".tar"))]
    main(request)
    main(request | {"out": str(tmp_path / "clean")})
    [went_on], [clean] = (
        [each.child(name) for name in each.folders() if name.startswith("base-")]
        for each in (out, Storage(str(tmp_path / "clean")))
    )
    assert digests(went_on) == digests(clean)


def test_a_finished_file_survives_a_disk_that_is_full_when_it_is_written_again(unfinished):
    storage, draft, plan, records = unfinished
    finish(storage, draft, plan, records)
    before = digests(storage)
    script = (
        "import resource, sys; from shards.manifest import *; from shards.storage import Storage\n"
        "storage = Storage(sys.argv[1]); manifest = read_manifest(storage)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)); write_manifest(storage, manifest)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, storage.uri], capture_output=True, text=True, check=False
    )
    assert "File too large" in ended.stderr
    assert digests(storage) == before
    write_manifest(storage, read_manifest(storage))


def test_a_plan_that_was_not_finished_is_made_anew(disk, local_engine, make_config):
    config = make_config()
    plan_step(disk, config, (), 8)
    disk.delete("work/plan/summary.json")
    assert read_summary(disk) is None
    assert plan_step(disk, config, (), 8).planned == 12


def test_a_step_may_be_named_as_the_stage_of_what_was_refused(disk, local_engine, make_config):
    config = make_config(count=6, reject=(fake_key(2),), refuse=("row 7",))
    _, manifest, _ = run_step(disk, config, local_engine, name="plan")
    assert (manifest.books.refused, manifest.books.made, manifest.books.failed) == (1, 5, 1)
    assert manifest.books.reasons == {"not_wanted": 1, "unreadable": 1}
