"""Parquet that unpacks to far more than it is: told before it is unpacked; others are read as ever."""

import json
import os
import subprocess
import sys

import numpy as np
import published_sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_sets import picture

from datagen.importers import parquet_pages
from datagen.importers.parquet import HfSettings
from datagen.importers.parquet_pages import rows_at_once
from datagen.importers.scone_parquet import SconeParquetSettings
from datagen.unusable import UnusableError
from inline_run import run_inline

MB = 1 << 20


def at_once(path, columns, limit=64 * MB, most=8):
    with pa.OSFile(str(path)) as file:
        return rows_at_once(pq.ParquetFile(path), file, 0, columns, limit, most)


def repeated(value, count):
    """A column that is one value, `count` times, and a few bytes in a file."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([value]))


def write(path, columns, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    pq.write_table(pa.table(columns), path, **(plain | how))


def page_bomb(path):
    columns = {
        "instruction": ["a cup"],
        "image": pa.array([[bytes(400 * MB), picture(1)]], pa.list_(pa.binary())),
    }
    write(path, columns, use_dictionary=False)


def list_bomb(path):
    count = 100_000
    values = repeated(picture(1) + bytes(8 * MB), count)
    images = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), values)
    write(path, {"instruction": ["a cup"], "image": images})


def text_bomb(path):
    words = repeated("x" * (40 * MB), 1000)
    images = pa.array([[picture(1), picture(2)]] * 1000)
    write(path, {"instruction": words, "image": images}, row_group_size=1000)


IMPORT = """
import json, resource, sys
sys.path[:0] = sys.argv[2:]
from datagen.importers.scone_parquet import SconeParquetSettings
from inline_run import run_inline
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = run_inline(sys.argv[1] + "/out", SconeParquetSettings(path=sys.argv[1] + "/set"), opens=False)
more_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps([dict(made.reasons), made.rejects[0]["detail"], more_mb]))
"""


@pytest.mark.parametrize(
    ("bomb", "way_out"),
    [(page_bomb, "leave the file out with `files`"), (list_bomb, "set `max_page_bytes`")],
    ids=["page", "list"],
)
def test_a_bomb_of_pictures_is_a_reject_and_takes_no_memory(tmp_path, bomb, way_out):
    bomb(tmp_path / "set/a.parquet")
    assert (tmp_path / "set/a.parquet").stat().st_size < 2 * MB
    command = [sys.executable, "-c", IMPORT, str(tmp_path), *sys.path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ran.returncode == 0, ran.stderr[-2000:]
    reasons, detail, more_mb = json.loads(ran.stdout)
    assert reasons == {"file_bomb": 1}
    assert "image.list.element: expected" in detail
    assert way_out in detail
    assert more_mb < 200


def test_a_bomb_of_texts_is_one_refusal_and_other_groups_are_read(tmp_path):
    text_bomb(tmp_path / "set/a.parquet")
    published_sets.scone_parquet(tmp_path / "set", count=2)
    settings = SconeParquetSettings(path=str(tmp_path / "set"), max_page_bytes=32 * MB)
    made = run_inline(tmp_path / "out", settings)
    assert set(made.by_instruction()) == {"fox 0 runs", "fox 1 runs"}
    assert made.reasons["file_bomb"] == 1
    (told,) = (row["detail"] for row in made.rejects if row["reason"] == "file_bomb")
    assert told.startswith("row group 0 of 1000 rows: instruction: expected a page of at most 33554432, got")
    assert told.endswith("set `max_page_bytes`")


def test_of_large_values_in_a_dictionary_fewer_rows_are_read_at_once(tmp_path):
    text_bomb(tmp_path / "a.parquet")
    assert at_once(tmp_path / "a.parquet", ["instruction"], most=1024) == 6  # 240 of 256 MB
    assert at_once(tmp_path / "a.parquet", ["image"], most=100) == 100


def test_texts_that_repeat_themselves_are_no_bomb_however_well_they_pack(tmp_path):
    count = 70 * MB // 100
    write(tmp_path / "a.parquet", {"instruction": pa.repeat("x" * 96, count)}, use_dictionary=False)
    assert (tmp_path / "a.parquet").stat().st_size < MB // 4
    assert at_once(tmp_path / "a.parquet", ["instruction"], limit=1 << 30, most=1024) >= 200
    with pytest.raises(UnusableError, match="expected pages of at most 68157440, got"):
        at_once(tmp_path / "a.parquet", ["instruction"], limit=65 * MB)


class Counted:
    """A file that counts its reads: each is a request to an object store."""

    def __init__(self, file):
        self._file = file
        self.sizes = []

    def read_at(self, size, at):
        self.sizes.append(size)
        return self._file.read_at(size, at)


@pytest.mark.parametrize(("page_bytes", "most"), [(200, 2), (16 << 10, 4), (2 * MB, 20)])
def test_headers_of_many_small_pages_are_read_together(tmp_path, page_bytes, most):
    random = np.random.default_rng(1)
    cells = [random.bytes(page_bytes // 2) for _ in range(160 if page_bytes < MB else 16)]
    how = {"data_page_size": page_bytes // 4, "write_batch_size": 1, "use_dictionary": False}
    write(tmp_path / "a.parquet", {"image": cells}, **how)
    with pa.OSFile(str(tmp_path / "a.parquet")) as file:
        counted = Counted(file)
        rows_at_once(pq.ParquetFile(tmp_path / "a.parquet"), counted, 0, ["image"], 64 * MB, 8)
    assert len(counted.sizes) <= most
    assert page_bytes < MB or sum(counted.sizes) < MB  # of large pages the pictures are not read


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
def test_the_longest_row_is_found_in_pages_of_every_kind(tmp_path, version, compression, monkeypatch):
    lengths = [1, 5, 2, 0, 40, 3, 3] * 60
    cells = [[b"%d" % (n % 9) * 99] * length for n, length in enumerate(lengths)]
    how = {
        "data_page_version": version,
        "compression": compression,
        "data_page_size": 64,
        "write_batch_size": 7,
    }
    write(tmp_path / "a.parquet", {"image": pa.array(cells)}, **how)
    chunk = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0)
    with pa.OSFile(str(tmp_path / "a.parquet")) as file:
        found = parquet_pages._Chunk(file, chunk, 1, limit=64 * MB).row_bytes()
        assert found == 40 * 9 * 103
        assert parquet_pages._Chunk(file, chunk, 1, limit=20 * 9 * 103).row_bytes() == 40 * 99
        with pytest.raises(UnusableError, match="a row's values of at most 3959, got"):
            parquet_pages._Chunk(file, chunk, 1, limit=40 * 99 - 1).row_bytes()


@pytest.mark.parametrize("cells", ["struct", "binary", "base64"])
def test_ordinary_files_are_read_however_their_pictures_are_kept(tmp_path, cells):
    published_sets.parquet(tmp_path / "set", cells)
    assert len(run_inline(tmp_path / "out", HfSettings(path=str(tmp_path / "set"))).samples) == 5


def test_a_limit_that_is_as_ever_changes_no_hash():
    usual, lower = HfSettings(path="x"), HfSettings(path="x", max_page_bytes=MB)
    assert "max_page_bytes" not in usual.computed()
    assert "max_page_bytes" not in usual.content()
    assert lower.computed()["max_page_bytes"] == MB
    assert lower.content()["max_page_bytes"] == MB
