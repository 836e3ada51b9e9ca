"""Deciding anew: how long a new threshold takes over 70,000 samples and three scores."""

import statistics
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.select import SelectConfig
from shards.books import Books
from shards.driver_step import Input
from shards.index import SCHEMA as INDEX
from shards.manifest import Manifest
from shards.storage import Storage
from shards.tables import SCHEMA as TABLE

SAMPLES = 70_000
QUESTIONS = ("consistency", "instruction_following", "quality")
ROUNDS = 7
BOUND_S = 0.5


def write_output(folder):
    """An index of 140 shards and three tables; there is no tar, so none can be opened."""
    keys = [f"base-{number:016x}" for number in range(SAMPLES)]
    (folder / "base/index").mkdir(parents=True)
    for shard in range(0, SAMPLES, 500):
        rows = pa.Table.from_pylist(
            [{"key": key, "task": "x"} for key in keys[shard : shard + 500]], schema=INDEX
        )
        pq.write_table(rows, folder / f"base/index/{shard // 500:05d}.parquet")
    (folder / "judged/scores").mkdir(parents=True)
    random = np.random.default_rng(0)
    for question in QUESTIONS:
        columns = {name: pa.nulls(SAMPLES, TABLE.field(name).type) for name in TABLE.names}
        columns |= {
            "key": pa.array(keys),
            "expected": pa.array(random.random(SAMPLES) * 4),
            "status": pa.array(["ok"] * SAMPLES),
        }
        pq.write_table(pa.table(columns, schema=TABLE), folder / f"judged/scores/{question}.parquet")


def as_input(folder, name, kind):
    manifest = Manifest(name=name, type=kind, hash="0" * 64, kind=kind, config={}, books=Books())
    return Input(storage=Storage(str(folder / name)), manifest=manifest)


@pytest.mark.bench
def test_deciding_70_000_samples_anew_takes_under_half_a_second(tmp_path):
    write_output(tmp_path)
    inputs = {
        "input": [as_input(tmp_path, "base", "samples")],
        "scores": [as_input(tmp_path, "judged", "scores")],
    }
    policy = SelectConfig(min_scores={"consistency": 1, "quality": 1}, best=22_000, order=QUESTIONS)
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        policy.make(inputs, Storage(str(tmp_path / "selected")))
        took.append(time.perf_counter() - began)
    median_s = statistics.median(took[1:])
    print(f"select, {SAMPLES} samples x {len(QUESTIONS)} scores, reading and writing: {median_s:.3f} s warm")
    assert median_s < BOUND_S
