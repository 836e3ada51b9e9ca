"""Import against a bare loop that reads, hashes and decodes; export against a bare copy with hashing."""

import gc
import hashlib
import io
import shutil
import statistics
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
from inline_run import run_inline
from shards.local_executor import LocalExecutor

PAIRS = 60


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


@pytest.fixture
def compare_both(capsys):
    """Medians of theirs / ours by the clock and by the process's own seconds, rounds in turn.

    The second is what a worker costs, and hardly moves where other work shares the cores.
    """

    def run(what, ours, theirs, *, size_bytes, rounds=5):
        pairs = [(spent(ours), spent(theirs)) for _ in range(rounds + 1)][1:]
        wall, own = (statistics.median(b[n] / a[n] for a, b in pairs) for n in (0, 1))
        rates = [
            size_bytes / statistics.median(side[n] for side in sides) / 1e6
            for n in (0, 1)
            for sides in zip(*pairs, strict=True)
        ]
        with capsys.disabled():
            print(
                f"\n{what}: {wall:.2f} of a bare loop by the clock ({rates[0]:.0f} of {rates[1]:.0f} MB/s), "
                f"{own:.2f} by processor time ({rates[2]:.0f} of {rates[3]:.0f} MB/s)"
            )
        return own

    return run


def spent(call):
    gc.collect()
    wall, own = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - own


def size_of(made):
    return sum(len(image.data) for sample in made.samples for image in (*sample.references, sample.target))


@pytest.mark.parametrize("form", ["tar.gz with jsonl", "parquet"])
def test_import_reaches_most_of_a_bare_loop(source, tmp_path, compare_both, form):
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

    bare = bare_tar if is_tar else bare_parquet
    reached = 0.55 if is_tar else 0.7  # floors on a busy machine; the aim is 0.8: docs/performance.md
    assert compare_both(f"import {form}", ours, bare, size_bytes=size_of(made)) > reached


@pytest.mark.parametrize("form", ["scone-parquet", "omnigen2-jsonl"])
def test_export_reaches_most_of_a_bare_copy_with_hashing(source, tmp_path, compare_both, form):
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

    reached = 0.6  # a floor, as above
    assert compare_both(f"export {form}", ours, bare, size_bytes=size_of(made)) > reached


def test_two_workers_import_several_archives_faster_than_one(tmp_path, capsys):
    for number in range(4):
        pairs = range(20 * number, 20 * number + 20)
        members = {f"s{number}/{n}{side}.jpg": photo(2 * n + side) for n in pairs for side in (0, 1)}
        write_tar(tmp_path / f"set/s{number}.tar.gz", members)
        rows = [
            {
                "instruction": f"pair {n}",
                "input_images": [f"s{number}/{n}0.jpg"],
                "output_image": f"s{number}/{n}1.jpg",
            }
            for n in pairs
        ]
        write_jsonl(tmp_path / f"set/s{number}.jsonl", rows)
    took: dict[int, list[float]] = {1: [], 2: []}
    executors = {workers: LocalExecutor(workers) for workers in took}
    for round_ in range(4):
        for workers, executor in executors.items():
            # A prefix of its own, as a worker keeps its stage, scratch and all, for a step of one hash.
            settings = X2iSettings(path=str(tmp_path / "set"), threads=workers, prefix=f"r{round_}")
            began = time.perf_counter()
            out = tmp_path / f"{workers}-{round_}"
            run_inline(out, settings, shard_size=20, opens=False, executor=executor)
            took[workers].append(time.perf_counter() - began)
    for executor in executors.values():
        executor.close()
    one, two = (statistics.median(took[workers][1:]) for workers in (1, 2))
    with capsys.disabled():
        print(f"\nimport of 4 tar.gz: one worker {one:.2f} s, two {two:.2f} s, {one / two:.2f} times as fast")
    assert one / two > 1.2  # a floor on a busy machine of two cores, see docs/performance.md
