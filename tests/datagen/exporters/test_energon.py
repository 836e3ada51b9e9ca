"""megatron-energon itself reads an export: `make test-energon`."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import published_sets
import pytest

from datagen.exporters import energon
from datagen.exporters.kept import Target, kept_of
from datagen.importers.jsonl import JsonlSettings
from inline_run import run_inline

pytestmark = pytest.mark.energon
ROOT = Path(__file__).parents[3]


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Thirty samples in three shards; JPEG, PNG and WebP among them."""
    published_sets.omnigen2(tmp_path / "set", count=30)
    monkeypatch.setattr(energon, "SAMPLES_A_SHARD", 10)
    settings = JsonlSettings(path=str(tmp_path / "set"), licence="apache-2.0")
    made = run_inline(tmp_path / "out", settings)
    energon.export_energon(kept_of(made.storage.uri), Target(str(tmp_path / "export")))
    return tmp_path / "export"


def read_by_energon(export):
    """Ends with 1 where what energon reads is not what the tars hold."""
    python = os.environ.get("BAKERY_ENERGON_PYTHON", str(ROOT / ".venv-energon/bin/python"))
    if not Path(python).exists():
        pytest.fail(
            f"{python}: expected the environment of megatron-energon, got none; run make test-energon"
        )
    command = [python, ROOT / "tools/check_energon.py", export]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_energon_reads_every_member_as_it_was_written(export):
    done = read_by_energon(export)
    assert done.returncode == 0, done.stderr
    assert "energon reads 120 members" in done.stdout  # 30 samples of four


def test_a_table_of_parts_that_is_off_by_a_byte_is_seen(export):
    with closing(sqlite3.connect(export / ".nv-meta/index.sqlite")) as base:
        base.execute("UPDATE sample_parts SET content_byte_offset = content_byte_offset + 1 WHERE rowid = 40")
        base.commit()
    done = read_by_energon(export)
    assert done.returncode == 1
    assert "read by name: expected 120 members as written, got 119" in done.stderr


def test_a_list_of_offsets_without_its_last_sample_is_seen(export):
    offsets = export / "shards/00001.tar.idx"
    offsets.write_bytes(offsets.read_bytes()[:-8])
    done = read_by_energon(export)
    assert done.returncode == 1
    assert "No valid files found in sample ITarSamplePointer(tar_file_id=1" in done.stderr
