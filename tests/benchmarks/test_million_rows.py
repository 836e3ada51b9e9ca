"""A million index rows mixed and de-duplicated: seconds, and memory that columns decide and no picture."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.near import equal_pairs, near_pairs
from shards.books import Books
from shards.checksum import CHECKSUM_BYTES
from shards.index import MEMBER
from shards.index import SCHEMA as INDEX
from shards.manifest import Manifest, write_manifest
from shards.storage import Storage
from shards.tables import SCHEMA as TABLE

ROWS = 1_000_000
A_SHARD = 50_000

MEASURED = """
import json, resource, sys, time
from filters.dedup import DedupConfig
from shards.driver_step import Input
from shards.index import Directory
from shards.manifest import read_manifest
from shards.mix import MixConfig
from shards.storage import Storage

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def opened(name):
    storage = Storage(sys.argv[2] + "/" + name)
    return Input(storage=storage, manifest=read_manifest(storage))

before, began = peak_mb(), time.perf_counter()
if sys.argv[1] == "mix":
    rows = Directory(opened("samples-000000000000").storage).rows()
    made = sum(1 for _ in MixConfig(samples=70_000, balance="references").plan(rows))
else:
    inputs = {"input": [opened("samples-000000000000")], "prints": [opened("prints-000000000000")]}
    made = DedupConfig().make(inputs, Storage(sys.argv[2] + "/dedup")).books.made
print(json.dumps([made, time.perf_counter() - began, peak_mb() - before]))
"""


def write_shard(storage, number, random):
    keys = [f"set-{number:04d}{n:012x}" for n in range(A_SHARD)]
    digests = [hashlib.sha256(f"{number}-{n}".encode()).digest() for n in range(2 * A_SHARD)]
    if number % 2:  # every fiftieth target is that of the shard before
        for n in range(1, 2 * A_SHARD, 100):
            digests[n] = hashlib.sha256(f"{number - 1}-{n}".encode()).digest()
    fixed = {
        "name": pa.array([f"{key}.{part}" for key in keys for part in ("ref0.jpg", "target.jpg")]),
        "offset": pa.array(np.arange(2 * A_SHARD) * 400_000),
        "size": pa.array(np.full(2 * A_SHARD, 400_000)),
        "sha256": pa.array(digests, pa.binary(32)),
        "checksum": pa.array([digest[:CHECKSUM_BYTES] for digest in digests], pa.binary(CHECKSUM_BYTES)),
        "width": pa.array(np.full(2 * A_SHARD, 1024, np.int32)),
        "height": pa.array(np.full(2 * A_SHARD, 1024, np.int32)),
    }
    members = pa.StructArray.from_arrays([fixed[field.name] for field in MEMBER], fields=list(MEMBER))
    offsets = pa.array(np.arange(0, 2 * A_SHARD + 1, 2, dtype=np.int32))
    columns = {
        "key": keys,
        "references": pa.array(np.arange(A_SHARD) % 3 + 1, pa.int32()),
        "source": [f"set{number % 4}"] * A_SHARD,
        "members": pa.ListArray.from_arrays(offsets, members),
    }
    for name in INDEX.names:
        columns.setdefault(name, ["x" * (64 if name in ("digest", "made_by") else 12)] * A_SHARD)
    table = pa.table({name: columns[name] for name in INDEX.names}, schema=INDEX)
    with storage.scratch() as path:
        pq.write_table(table, path, compression="zstd")
        storage.publish(path, f"index/{number:05d}.parquet", is_durable=False)
    return prints_of(keys, random)


def prints_of(keys, random):
    bits = random.integers(0, 2, (A_SHARD, 64)).astype(np.float32)
    bits[1::50] = bits[::50]
    bits[1::50, 5] = 1 - bits[1::50, 5]  # near: one bit of 64
    offsets = pa.array(np.arange(0, 64 * A_SHARD + 1, 64, dtype=np.int32))
    probabilities = pa.ListArray.from_arrays(offsets, pa.array(bits.ravel()))
    columns = {"key": keys, "status": ["ok"] * A_SHARD, "probabilities": probabilities}
    whole = pa.array(np.full(A_SHARD, -1))
    found = [columns.get(f.name, whole) for f in TABLE]
    arrays = [
        pa.array(each, f.type) if isinstance(each, list) else each.cast(f.type)
        for each, f in zip(found, TABLE, strict=True)
    ]
    return pa.table(arrays, schema=TABLE)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A directory of a million rows and the perceptual hashes of their targets."""
    root = tmp_path_factory.mktemp("million")
    storage = Storage(str(root / "samples-000000000000"))
    random = np.random.default_rng(0)
    (root / "prints-000000000000/scores").mkdir(parents=True)
    with pq.ParquetWriter(
        root / "prints-000000000000/scores/phash.parquet", TABLE, compression="zstd"
    ) as writer:
        for number in range(ROWS // A_SHARD):
            writer.write_table(write_shard(storage, number, random))
    books = Books(read=ROWS, used=ROWS, planned=ROWS, made=ROWS)
    shared = {"hash": "0" * 64, "config": {}, "books": books}
    write_manifest(storage, Manifest(name="samples", type="pack", kind="samples", **shared))
    parents = {"input": ["samples-000000000000"]}
    prints = Manifest(name="prints", type="fingerprint", kind="scores", parents=parents, **shared)
    write_manifest(Storage(str(root / "prints-000000000000")), prints)
    return root


@pytest.mark.parametrize(("what", "made", "most_mb"), [("mix", 70_000, 500), ("dedup", None, 2500)])
def test_a_million_rows_take_the_memory_of_columns(what, made, most_mb, out, capsys):
    command = [sys.executable, "-c", MEASURED, what, str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found, took_s, more_mb = json.loads(ran.stdout)
    with capsys.disabled():
        print(f"\n{what} of {ROWS:,} rows: {found:,} kept, {took_s:.1f} s, {more_mb:.0f} MB at the most")
    # By dedup go the near ones, a fiftieth of all, and the equal ones, a fiftieth of every other shard's.
    assert found == (made or ROWS - ROWS // 50 - ROWS // 100)
    assert more_mb < most_mb


def test_a_million_hashes_are_compared(capsys, compare):
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, ROWS, dtype=np.uint64)
    hashes[ROWS // 2 :: 50] = hashes[: ROWS // 2 : 50] ^ np.uint64(1 << 17)
    assert len(equal_pairs(hashes)) == 0
    assert len(near_pairs(hashes, 4)) == ROWS // 100
