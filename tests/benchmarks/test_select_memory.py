"""Deciding over 10 million score rows: time and memory, and that images per sample cost neither."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.select import SelectConfig
from shards.books import Books
from shards.driver_step import Input
from shards.index import SCHEMA as INDEX
from shards.manifest import Manifest
from shards.storage import Storage
from shards.tables import SCHEMA as TABLE

QUESTIONS = ("consistency", "instruction_following", "image_quality")
A_SHARD = 50_000
POLICY = {"min_scores": {"consistency": 1, "image_quality": 1}, "best": 22_000, "order": QUESTIONS}


def filled(columns, schema, rows):
    """A table whose other columns are null."""
    nulls = {name: pa.nulls(rows, schema.field(name).type) for name in schema.names if name not in columns}
    return pa.table(nulls | columns, schema=schema)


def members(count, rows):
    """As an index names a sample's files: one for each image."""
    one = {"name": "k.ref0.jpg", "offset": 1, "size": 1, "sha256": b"0" * 32, "width": 8, "height": 8}
    values = pa.array([one], INDEX.field("members").type.value_type).take(
        pa.array(np.zeros(rows * count, int))
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * count, pa.int32()), values)


def write_output(folder, samples, images):
    """An index and a table for each question, written in pieces; there is no tar, so none can be opened."""
    (folder / "base/index").mkdir(parents=True)
    (folder / "judged/scores").mkdir(parents=True)
    random = np.random.default_rng(0)
    tables = {q: pq.ParquetWriter(folder / f"judged/scores/{q}.parquet", TABLE) for q in QUESTIONS}
    for start in range(0, samples, A_SHARD):
        rows = min(A_SHARD, samples - start)
        keys = pa.array([f"base-{number:016x}" for number in range(start, start + rows)])
        index = filled({"key": keys, "members": members(images, rows)}, INDEX, rows)
        pq.write_table(index, folder / f"base/index/{start // A_SHARD:05d}.parquet")
        for table in tables.values():
            values = {"key": keys, "expected": pa.array(random.random(rows) * 4)}
            values["status"] = pa.array(np.full(rows, "ok"))
            values["probabilities"] = pa.array([[0.2] * 5] * rows, TABLE.field("probabilities").type)
            table.write_table(filled(values, TABLE, rows))
    for table in tables.values():
        table.close()


def as_input(folder, name, kind):
    manifest = Manifest(name=name, type=kind, hash="0" * 64, kind=kind, config={}, books=Books())
    return Input(storage=Storage(str(folder / name)), manifest=manifest)


def decide(folder):
    """Run in a process of its own: one decision's seconds, those of CPU, and the most memory that it took."""
    before = peak_kb()
    began, began_cpu = time.perf_counter(), time.process_time()
    inputs = {
        "input": [as_input(folder, "base", "samples")],
        "scores": [as_input(folder, "judged", "scores")],
    }
    SelectConfig(**POLICY).make(inputs, Storage(str(folder / "selected")))
    took = time.perf_counter() - began
    cpu_s = time.process_time() - began_cpu
    return {"seconds": took, "cpu_s": cpu_s, "mb": (peak_kb() - before) / 1024}


def peak_kb():
    """The most memory of this program; `ru_maxrss` begins with that of the one that started it."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def measured(folder, samples, images, times=1):
    """Of several runs the one that took the least memory: when some is given back differs by a tenth."""
    write_output(folder, samples, images)
    command = [sys.executable, __file__, str(folder)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(times)]
    return min((json.loads(run.stdout) for run in runs), key=lambda found: found["mb"])


def test_ten_million_rows_are_decided_in_memory_that_no_image_adds_to(tmp_path, capsys):
    few = measured(tmp_path / "few", 500_000, 2, times=4)
    many = measured(tmp_path / "many", 500_000, 12, times=4)
    all_rows = measured(tmp_path / "all", 10_000_000 // len(QUESTIONS) + 1, 4)
    with capsys.disabled():
        print(
            f"\nselect, 10 million rows ({len(QUESTIONS)} scores), best 22,000: {all_rows['seconds']:.1f} s, "
            f"{all_rows['cpu_s']:.1f} s of CPU, {all_rows['mb']:.0f} MB; 1.5 million rows with 2 images a "
            f"sample {few['mb']:.0f} MB, with 12 {many['mb']:.0f} MB"
        )
    assert many["mb"] < few["mb"] * 1.1
    assert all_rows["mb"] < few["mb"] * 10_000_000 / 1_500_000 * 1.2


if __name__ == "__main__":
    print(json.dumps(decide(Path(sys.argv[1]))))
