"""Import against a bare loop that reads, hashes and decodes; export against a bare copy with hashing."""

import hashlib
import io
import resource
import shutil
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from published_sets import write_jsonl, write_tar

from datagen.exporters.kept import Target, kept_of
from datagen.exporters.omnigen2_jsonl import export_jsonl
from datagen.exporters.scone_parquet import SconeOptions, export_scone
from datagen.importers.parquet import HfSettings
from datagen.importers.x2i import X2iSettings
from filters.near import equal_pairs, near_pairs
from inline_run import run_inline
from shards.index import SCHEMA as INDEX
from shards.index import Directory
from shards.mix import MixConfig
from shards.storage import Storage

PAIRS = 60
ROWS = 1_000_000


def photo(number):
    """A JPEG of 1024 px with the detail of a photograph: about 400 KB."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).resize((1024, 1024))
    pixels = np.asarray(small, dtype=np.int16) + random.integers(-18, 18, (1024, 1024, 1), dtype=np.int16)
    sink = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=90)
    return sink.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("source")
    members = {f"single/{n}.jpg": photo(n) for n in range(2 * PAIRS)}
    rows = [
        {
            "instruction": f"pair {n}",
            "input_images": [f"single/{2 * n}.jpg"],
            "output_image": f"single/{2 * n + 1}.jpg",
        }
        for n in range(PAIRS)
    ]
    write_tar(root / "tar/single/single.tar.gz", members)
    write_jsonl(root / "tar/pairs.jsonl", rows)
    cells = [
        {"instruction": f"pair {n}", "input_images": [a], "output_image": b}
        for n, (a, b) in enumerate(zip(*[iter(members.values())] * 2, strict=True))
    ]
    (root / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(cells), root / "parquet/a.parquet", row_group_size=20)
    return root


def size_of(made):
    return sum(len(image.data) for sample in made.samples for image in (*sample.references, sample.target))


@pytest.mark.parametrize("form", ["tar.gz with jsonl", "parquet"])
def test_import_reaches_most_of_a_bare_loop(source, tmp_path, compare, form):
    is_tar = form.startswith("tar")
    settings = X2iSettings(path=str(source / "tar")) if is_tar else HfSettings(path=str(source / "parquet"))
    made = run_inline(tmp_path / "first", settings, shard_size=500)

    def ours():
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        run_inline(tmp_path / "out", settings, shard_size=500, opens=False)

    def look(data):
        hashlib.sha256(data).digest()
        Image.open(io.BytesIO(data)).load()

    def bare_tar():
        with tarfile.open(source / "tar/single/single.tar.gz", "r|gz", bufsize=1 << 20) as tar:
            for member in tar:
                look(tar.extractfile(member).read())

    def bare_parquet():
        for batch in pq.ParquetFile(source / "parquet/a.parquet").iter_batches(8):
            for row in batch.to_pylist():
                for data in (*row["input_images"], row["output_image"]):
                    look(data)

    ratio = compare(
        f"import {form}", ours, bare_tar if is_tar else bare_parquet, rounds=5, size_bytes=size_of(made)
    )
    assert ratio > 0.5


@pytest.mark.parametrize("form", ["scone-parquet", "omnigen2-jsonl"])
def test_export_reaches_most_of_a_bare_copy_with_hashing(source, tmp_path, compare, form):
    made = run_inline(tmp_path / "made", HfSettings(path=str(source / "parquet")), shard_size=500)
    tars = [made.storage.path(f"shards/{name}") for name in made.storage.names("shards")]

    def ours():
        shutil.rmtree(tmp_path / "export", ignore_errors=True)
        kept, target = kept_of(made.storage.uri), Target(str(tmp_path / "export"))
        if form == "scone-parquet":
            export_scone(kept, target, SconeOptions(name="x", gpus=1, workers=1))
        else:
            export_jsonl(kept, target)

    def bare():
        shutil.rmtree(tmp_path / "bare", ignore_errors=True)
        (tmp_path / "bare").mkdir()
        with (tmp_path / "bare/copy").open("wb") as copy:
            for path in tars:
                with tarfile.open(path) as tar:
                    for member in tar:
                        data = tar.extractfile(member).read()
                        hashlib.sha256(data).digest()
                        if form == "scone-parquet":
                            copy.write(data)
                        else:
                            (tmp_path / "bare" / member.name).write_bytes(data)

    assert compare(f"export {form}", ours, bare, rounds=5, size_bytes=size_of(made)) > 0.5


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_index(storage):
    """A million rows of an index, as a directory of 500,000 in two shards would be."""
    for shard in range(ROWS // 50_000):
        keys = [f"set-{shard:04d}{n:012x}" for n in range(50_000)]
        columns = {
            "key": keys,
            "references": pa.array(np.arange(50_000) % 3 + 1, pa.int32()),
            "source": [f"set{shard % 4}"] * 50_000,
        }
        text = [name for name in INDEX.names if name not in (*columns, "members")]
        columns |= {name: ["x" * (64 if name in ("digest", "made_by") else 12)] * 50_000 for name in text}
        columns["members"] = pa.nulls(50_000, INDEX.field("members").type)
        table = pa.table({name: columns[name] for name in INDEX.names}, schema=INDEX)
        with storage.scratch() as path:
            pq.write_table(table, path, compression="zstd")
            storage.publish(path, f"index/{shard:05d}.parquet", is_durable=False)


def test_a_million_rows_mix_in_memory_of_columns(tmp_path, capsys):
    storage = Storage(str(tmp_path / "big"))
    write_index(storage)
    before, began = peak_mb(), time.perf_counter()
    rows = list(Directory(storage).rows())
    config = MixConfig(samples=70_000, balance="references")
    drawn = sum(1 for _ in config.plan(rows))
    with capsys.disabled():
        took_s, more_mb = time.perf_counter() - began, peak_mb() - before
        print(f"\nmix 70,000 of {ROWS:,}: {took_s:.1f} s, {more_mb:.0f} MB more")
    assert drawn == 70_000


def test_a_million_pictures_are_compared(capsys):
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, ROWS, dtype=np.uint64)
    hashes[ROWS // 2 :: 50] = hashes[: ROWS // 2 : 50] ^ np.uint64(1 << 17)
    before, began = peak_mb(), time.perf_counter()
    equal = equal_pairs(hashes)
    exact_s = time.perf_counter() - began
    near = near_pairs(hashes, 4)
    with capsys.disabled():
        near_s, more_mb = time.perf_counter() - began - exact_s, peak_mb() - before
        print(f"\n{ROWS:,} hashes: equal {exact_s:.1f} s, within 4 bits {near_s:.1f} s, {more_mb:.0f} MB")
    assert len(equal) == 0
    assert len(near) == ROWS // 100
