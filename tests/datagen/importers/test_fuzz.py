"""Damaged archives, JSON, parquet, pictures: no crash, no hang; each loss has a reason, the books balance."""

import io
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import published_sets
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from datagen.importers.directory import DirectorySettings
from datagen.importers.echo_4o import Echo4oSettings
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.musar_gen import MusarGenSettings
from datagen.importers.parquet import HfSettings
from datagen.importers.scone_parquet import SconeParquetSettings
from datagen.importers.source import SourceError
from datagen.importers.subjects200k import Subjects200kSettings
from datagen.importers.table import TableSettings
from datagen.importers.uno_1m import Uno1mSettings
from datagen.importers.x2i import X2iSettings
from inline_run import run_inline
from shards.manifest import ManifestError

CASES = int(os.environ.get("BAKERY_FUZZ_CASES", "500"))
SEED = int(os.environ.get("BAKERY_FUZZ_SEED", "0"))  # `make fuzz` takes another each time, and prints it


def finished_directory(root):
    """One of ours, where a set would lie."""
    published_sets.omnigen2(root.parent / "jsonl", count=2)
    made = run_inline(root.parent / "out", JsonlSettings(path=str(root.parent / "jsonl"), clean=SMALL))
    shutil.copytree(made.storage.path(), root, ignore=shutil.ignore_patterns(".tmp", "work"))


SMALL = {"min_side_px": 8}
SETS = {
    "omnigen2": (published_sets.omnigen2, JsonlSettings),
    "folder": (published_sets.folder, TableSettings),
    "parquet": (partial(published_sets.parquet, cells="base64"), HfSettings),
    "scone": (published_sets.scone_parquet, SconeParquetSettings),
    "musar": (published_sets.musar_gen, MusarGenSettings),
    "subjects200k": (published_sets.subjects200k, Subjects200kSettings),
    "uno": (lambda root: published_sets.uno_1m(root, splits=(1,), pairs=3), Uno1mSettings),
    "echo": (published_sets.echo_4o, Echo4oSettings),
    "x2i": (published_sets.x2i, X2iSettings),
    "directory": (finished_directory, lambda path, **_: DirectorySettings(path=path)),
}
SHARES = {name: CASES // len(SETS) + (number < CASES % len(SETS)) for number, name in enumerate(SETS)}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """One small set of each format, its pictures as small as cleaning may take them."""
    roots = {}
    for name, (write, _) in SETS.items():
        roots[name] = tmp_path_factory.mktemp("originals") / name
        side, published_sets.SIDE = published_sets.SIDE, 24
        try:
            write(roots[name])
        finally:
            published_sets.SIDE = side
    return roots


@st.composite
def damages(draw):
    """What happens to a file: which, where, what."""
    return [
        (
            draw(st.integers(0, 1 << 20)),
            draw(st.sampled_from(("flip", "cut", "insert", "zero", "swap", "text", "empty", "double"))),
            draw(st.floats(0, 1)),
            draw(st.binary(min_size=1, max_size=24)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


TEXTS = (
    b'{"instruction": NaN}\n',
    b'"\xed\xa0\x80"',
    b'{"a":' * 300,
    b"[1e999]",
    b"\xff\xfe",
    b'"../../x"',
    b"null",
)


def spoil(data, how, where, salt):
    at = int(where * len(data))
    if how == "flip":
        return (
            data[:at] + bytes(b ^ s for b, s in zip(data[at:], salt, strict=False)) + data[at + len(salt) :]
        )
    if how == "text":
        return data[:at] + TEXTS[salt[0] % len(TEXTS)] + data[at:]
    if how == "swap":
        return data[at:] + data[:at]
    changed = {"cut": data[:at], "insert": data[:at] + salt + data[at:], "empty": b"", "double": data + data}
    return changed.get(how, data[:at] + bytes(len(salt)) + data[at + len(salt) :])


@pytest.mark.parametrize("name", SETS)
def test_no_damage_crashes_an_import_or_loses_a_sample_unsaid(name, originals):
    importer = SETS[name][1]

    @seed(SEED)
    @settings(
        max_examples=SHARES[name], suppress_health_check=list(HealthCheck), database=None, print_blob=False
    )
    @given(damages())
    def damaged(what):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "set"
            shutil.copytree(originals[name], root)
            files = sorted(path for path in root.rglob("*") if path.is_file())
            for number, how, where, salt in what:
                path = files[number % len(files)]
                path.write_bytes(spoil(path.read_bytes(), how, where, salt))
            try:
                made = run_inline(Path(folder) / "out", importer(path=str(root), clean=SMALL, licence="mit"))
            except (SourceError, ManifestError) as error:
                assert "; " in str(error)  # the way out
                return
            books = made.manifest.books
            books.check(name)
            assert len(made.rejects) == books.refused + books.failed
            assert all(row["reason"] for row in made.rejects)
            assert len(made.samples) == books.made

    damaged()


def test_the_undamaged_sets_are_read(originals):
    with tempfile.TemporaryDirectory() as folder:
        for name, (_, importer) in SETS.items():
            small = importer(path=str(originals[name]), clean=SMALL, licence="mit")
            assert run_inline(Path(folder) / name, small).samples, name


def test_spoiling_changes_a_file():
    data = io.BytesIO(bytes(range(100))).getvalue()
    for how in ("flip", "cut", "insert", "zero", "swap", "text", "empty", "double"):
        assert spoil(data, how, 0.5, b"abc") != data
