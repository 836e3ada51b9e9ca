"""Every export is read back by who it is for; pictures are the bytes they were."""

import hashlib
import io
import json
import os
import sqlite3
import struct
import subprocess
import sys
import tarfile
from contextlib import closing
from functools import partial
from pathlib import Path

import pandas
import published_sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
import yaml
from PIL import Image
from published_sets import picture

from datagen.exporters import energon, omnigen2_jsonl, scone_parquet
from datagen.exporters.energon import export_energon
from datagen.exporters.hf import Card, export_hf
from datagen.exporters.kept import ExportError, Target, kept_of
from datagen.exporters.omnigen2_jsonl import export_jsonl
from datagen.exporters.scone_parquet import SconeOptions, export_scone
from datagen.importers.echo_4o import Echo4oSettings
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.musar_gen import MusarGenSettings
from datagen.importers.parquet import HfSettings
from datagen.importers.scone_parquet import SconeParquetSettings
from datagen.importers.subjects200k import Subjects200kSettings
from datagen.importers.table import TableSettings
from datagen.importers.uno_1m import Uno1mSettings
from datagen.importers.x2i import X2iSettings
from datagen.tokens import sample_tokens
from inline_run import run_inline

FORMATS = {
    "omnigen2": (published_sets.omnigen2, JsonlSettings),
    "folder": (published_sets.folder, TableSettings),
    "parquet": (published_sets.parquet, HfSettings),
    "parquet of binary": (partial(published_sets.parquet, cells="binary"), HfSettings),
    "parquet of base64": (partial(published_sets.parquet, cells="base64"), HfSettings),
    "scone": (published_sets.scone_parquet, SconeParquetSettings),
    "musar": (published_sets.musar_gen, MusarGenSettings),
    "subjects200k": (published_sets.subjects200k, Subjects200kSettings),
    "uno": (published_sets.uno_1m, Uno1mSettings),
    "echo": (published_sets.echo_4o, Echo4oSettings),
    "x2i": (published_sets.x2i, X2iSettings),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Samples with one, two and two references, JPEG, PNG and WebP among them."""
    root = tmp_path_factory.mktemp("made")
    published_sets.omnigen2(root / "set", count=30)
    return run_inline(
        root / "out", JsonlSettings(path=str(root / "set"), licence="apache-2.0"), shard_size=10
    )


@pytest.fixture(scope="module")
def kept(made):
    return kept_of(made.storage.uri)


def everything(made):
    return {s.instruction: [i.data for i in (*s.references, s.target)] for s in made.samples}


def read_as_the_released_class_does(paths):
    """Row groups to pandas, a row at a time: a list of binary, BytesIO each, the last is the target.

    Source: facts/data.md 2, `S2IIterableDataset.parse_row`.
    """
    found = {}
    for path in paths:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            for _, row in file.read_row_group(group).to_pandas().iterrows():
                *references, target = row["image"]
                for data in (*references, target):
                    assert isinstance(data, bytes)
                    Image.open(io.BytesIO(data)).load()
                found[row["instruction"]] = [*references, target]
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_archive_to_import_to_scone_parquet_and_back_is_the_same_bytes(form, tmp_path):
    write, settings = FORMATS[form]
    write(tmp_path / "set")
    made = run_inline(tmp_path / "out", settings(path=str(tmp_path / "set"), licence="apache-2.0"))
    books = made.manifest.books
    assert books.read == books.used + books.unused + books.refused
    assert books.planned == books.made + books.failed
    options = SconeOptions(name="set", gpus=1, workers=1)
    if len(made.samples) < 10:
        with pytest.raises(ExportError, match="expected at least 10 samples for 1 GPUs x 1 workers"):
            export_scone(kept_of(made.storage.uri), Target(str(tmp_path / "x")), options)
        made = run_inline(tmp_path / "out", _again(tmp_path, made), name="again")
    export_scone(kept_of(made.storage.uri), Target(str(tmp_path / "x")), options)
    found = read_as_the_released_class_does(sorted((tmp_path / "x/parquet_data/set").iterdir()))
    assert found == everything(made)


def _again(root, made):
    """The few samples of a format, twice over under other words, so that there are enough to export."""
    rows = []
    for number in range(10):
        sample = made.samples[number % len(made.samples)]
        names = []
        for place, image in enumerate((*sample.references, sample.target)):
            names.append(f"{sample.key}.{place}.{image.extension}")
            published_sets.write_files(root / "more", {names[-1]: image.data})
        words = f"{sample.instruction} ({number})"
        rows.append({"instruction": words, "input_images": names[:-1], "output_image": names[-1]})
    published_sets.write_jsonl(root / "more/x.jsonl", rows)
    return JsonlSettings(path=str(root / "more"))


def test_pandas_reads_the_whole_file_as_pyarrow_does(made, kept, tmp_path):
    export_scone(kept, Target(str(tmp_path / "x")), SconeOptions(name="base", gpus=1, workers=1))
    table = pandas.read_parquet(tmp_path / "x/parquet_data/base/base_00000.parquet")
    assert {row.instruction: list(row.image) for row in table.itertuples()} == everything(made)
    assert set(table.columns) == {"image", "instruction", "key"}


def test_the_file_says_plain_binary_whatever_it_was_written_from(kept, tmp_path):
    export_scone(kept, Target(str(tmp_path / "x")), SconeOptions(name="base", gpus=1, workers=1))
    file = pq.ParquetFile(tmp_path / "x/parquet_data/base/base_00000.parquet")
    assert file.schema_arrow.field("image").type.value_type == pa.binary()
    assert file.metadata.metadata is None
    column = file.metadata.row_group(0).column(0)
    assert (column.physical_type, column.compression, column.has_dictionary_page) == (
        "BYTE_ARRAY",
        "UNCOMPRESSED",
        False,
    )


def test_bytes_of_any_length_lie_in_the_column_as_they_are():
    rows = [[b"", b"a"], [], [b"b" * 11, b"c" * 12, b"d" * 13], [b"e" * 500]]
    assert scone_parquet._viewed(rows).to_pylist() == rows


def test_our_own_importer_reads_the_export_back_with_nothing_lost(made, kept, tmp_path):
    export_scone(kept, Target(str(tmp_path / "x")), SconeOptions(name="base", gpus=1, workers=1))
    again = run_inline(tmp_path / "out", SconeParquetSettings(path=str(tmp_path / "x"), licence="mit"))
    books = again.manifest.books
    assert (books.read, books.made, books.failed + books.refused) == (len(made.samples),) * 2 + (0,)
    assert everything(again) == everything(made)


def test_scone_parquet_has_the_exact_keys_and_even_row_groups(kept, tmp_path):
    options = SconeOptions(name="base", gpus=2, workers=3, rows_a_file=15)
    told = export_scone(kept, Target(str(tmp_path / "x")), options)
    data_dir = f"{tmp_path}/x/parquet_data/base"
    info = json.loads((tmp_path / "x/parquet_info/base.json").read_text())
    names = sorted(path.name for path in Path(data_dir).iterdir())
    assert list(info) == [f"{data_dir}/{name}" for name in names]
    counts = [pq.read_metadata(path).num_row_groups for path in info]
    assert counts == [entry["num_row_groups"] for entry in info.values()]
    assert sum(counts) % 6 == 0
    assert min(counts) >= 10
    assert f"            'data_dir': '{data_dir}'," in told
    assert "  - 2" in told
    assert "each of 6 loader workers sees 5 to 5 rows, none is left over" in told[-1]


def test_where_the_trainer_sees_the_files_is_what_the_keys_say(kept, tmp_path):
    options = SconeOptions(name="base", gpus=1, workers=1, data_dir="/mnt/data/parquet_data/base/")
    told = export_scone(kept, Target(str(tmp_path / "x")), options)
    info = json.loads((tmp_path / "x/parquet_info/base.json").read_text())
    assert list(info) == ["/mnt/data/parquet_data/base/base_00000.parquet"]
    assert "            'parquet_info_path': '/mnt/data/parquet_info/base.json'," in told


def test_of_a_set_in_a_bucket_the_trainer_s_path_must_be_told(kept, s3_server):
    target = Target(f"s3://bakery/export?scheme=http&endpoint_override={s3_server}&region=us-east-1")
    with pytest.raises(ExportError, match="say with --data-dir where the trainer will find the files"):
        export_scone(kept, target, SconeOptions(name="base", gpus=1, workers=1))
    assert target.storage.names() == []
    export_scone(kept, target, SconeOptions(name="base", gpus=1, workers=1, data_dir="/mnt/data/base"))
    info = json.loads(target.storage.read("parquet_info/base.json"))
    assert list(info) == ["/mnt/data/base/base_00000.parquet"]


@pytest.mark.parametrize(("room", "told"), [(0, []), (-1, ["30 samples have more than"])])
def test_samples_that_the_trainer_will_skip_are_counted(made, kept, tmp_path, monkeypatch, room, told):
    pixels = [(288, 288)] * 2
    longest = max(sample_tokens(pixels, pixels[0], sample.instruction) for sample in made.samples)
    least = min(sample_tokens(pixels, pixels[0], sample.instruction) for sample in made.samples)
    monkeypatch.setattr(scone_parquet, "TOKENS", longest if room == 0 else least - 1)
    lines = export_scone(kept, Target(str(tmp_path / "x")), SconeOptions(name="b", gpus=1, workers=1))
    assert [line[: len(words)] for line, words in zip(lines[-1:], told, strict=False)] == told
    assert any("the trainer skips them" in line for line in lines) == bool(told)


def test_an_export_into_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="expected an empty folder"):
        Target(str(tmp_path / "x"))


def test_a_directory_without_samples_is_refused_before_anything_is_written(tmp_path):
    published_sets.omnigen2(tmp_path / "set", count=2)
    strict = JsonlSettings(path=str(tmp_path / "set"), clean={"min_side_px": 4000})
    with pytest.raises(ExportError, match="expected samples, got none; see its rejects"):
        kept_of(run_inline(tmp_path / "out", strict).storage.uri)


def test_hugging_face_datasets_reads_the_layout_offline(made, kept, tmp_path):
    export_hf(kept, Target(str(tmp_path / "x")), Card(title="Small", picture=b"png"))
    script = (
        "import sys, json, hashlib, datasets\n"
        "set = datasets.load_dataset(sys.argv[1], 'references_2', split='train', cache_dir=sys.argv[2])\n"
        "pictures = ['ref0.jpg', 'ref1.png', 'target.webp']\n"
        "for name in pictures:\n"
        "    set = set.cast_column(name, datasets.Image(decode=False))\n"
        "digest = lambda row, name: hashlib.sha256(row[name]['bytes']).hexdigest()\n"
        "rows = [[row['json'], [digest(row, name) for name in pictures]] for row in set]\n"
        "print(json.dumps([sorted(set.column_names), rows]))\n"
    )
    columns, rows = json.loads(offline(script, tmp_path / "x", tmp_path / "cache")[-1])
    assert columns == ["__key__", "__url__", "json", "ref0.jpg", "ref1.png", "target.webp"]
    assert {text["licence"] for text, _ in rows} == {"apache-2.0"}
    assert {text["instruction"]: digests for text, digests in rows} == {
        words: [hashlib.sha256(data).hexdigest() for data in images]
        for words, images in everything(made).items()
    }


def test_hugging_face_datasets_reads_configs_of_mixed_types_whole_and_streaming(tmp_path):
    rows = []
    for n in range(6):
        names = [f"{n}a.{'jpg' if n % 2 else 'png'}", *([f"{n}b.png"] if n > 3 else []), f"{n}t.png"]
        for place, name in enumerate(names):
            data = picture(8000 + 10 * n + place, form="JPEG" if name.endswith("jpg") else "PNG")
            published_sets.write_files(tmp_path / "set", {name: data})
        rows.append({"instruction": f"cup {n}", "input_images": names[:-1], "output_image": names[-1]})
    published_sets.write_jsonl(tmp_path / "set/x.jsonl", rows)
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set"), licence="mit"))
    export_hf(kept_of(made.storage.uri), Target(str(tmp_path / "x")), Card(title="Small"))
    assert "&id" not in (tmp_path / "x/README.md").read_text()
    script = (
        "import sys, datasets\n"
        "for name in datasets.get_dataset_config_names(sys.argv[1]):\n"
        "    for more in ({'cache_dir': sys.argv[2]}, {'streaming': True}):\n"
        "        for row in datasets.load_dataset(sys.argv[1], name, split='train', **more):\n"
        "            held = sorted(k for k, v in row.items() if v is not None and k.startswith('ref'))\n"
        "            print('row', name, row['json']['instruction'], *held, row['target.png'].size)\n"
    )
    told = offline(script, tmp_path / "x", tmp_path / "cache")
    expected = []
    for n, row in enumerate(rows):
        held = [f"ref{place}.{name[-3:]}" for place, name in enumerate(row["input_images"])]
        expected += [f"row references_{len(held)} cup {n} {' '.join(held)} (288, 288)"] * 2
    assert sorted(line for line in told if line.startswith("row")) == sorted(expected)


def offline(script, root, cache):
    """Lines that a script of `datasets` prints of a folder, with no network."""
    env = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": f"{cache}-home"}
    command = [sys.executable, "-c", script, str(root), str(cache)]
    ran = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=200
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.splitlines()


def test_the_card_tells_counts_licences_and_the_recipe(kept, tmp_path):
    card = Card(title="Small", rubric={"consistency": "How well?\n\n- faces"}, calibration=["AUC 0.97"])
    export_hf(kept, Target(str(tmp_path / "x")), card)
    text = (tmp_path / "x/README.md").read_text()
    for words in (
        "license: apache-2.0",
        "| references_2 | 2 | 30 | 1 |",
        "**consistency**\n\n```text\nHow well?\n\n- faces\n```\n",
        "AUC 0.97",
        "min_side_px: 256",
    ):
        assert words in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards_of_the_layout(made, kept, tmp_path):
    export_hf(kept, Target(str(tmp_path / "x")), Card(title="Small"))
    url = str(tmp_path / "x/data/references_2/00000.tar")
    rows = list(webdataset.WebDataset(url, shardshuffle=False))
    found = {
        json.loads(r["json"])["instruction"]: [r["ref0.jpg"], r["ref1.png"], r["target.webp"]] for r in rows
    }
    assert found == everything(made)


def test_omnigen2_jsonl_is_read_back_by_our_own_importer(made, kept, tmp_path):
    export_jsonl(kept, Target(str(tmp_path / "x")))
    again = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "x")))
    assert everything(again) == everything(made)
    assert {s.provenance.licence for s in again.samples} == {"apache-2.0"}


def test_a_folder_of_pictures_holds_so_many_samples_and_a_line_says_what_they_are(
    kept, tmp_path, monkeypatch
):
    monkeypatch.setattr(omnigen2_jsonl, "A_FOLDER", 20)
    export_jsonl(kept, Target(str(tmp_path / "x")))
    assert [len(list((tmp_path / f"x/images/{n:05d}").iterdir())) for n in range(2)] == [60, 30]
    rows = [json.loads(line) for line in (tmp_path / "x/train.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == kept.index.column("key").to_pylist()
    folder = f"images/00001/{rows[20]['key']}"
    assert rows[20]["input_images"] == [f"{folder}.ref0.jpg", f"{folder}.ref1.png"]
    assert rows[20]["output_image"] == f"{folder}.target.webp"
    told = {name: rows[20][name] for name in ("task_type", "case_type", "licence", "source")}
    row = kept.index.slice(20, 1).to_pylist()[0]
    assert list(told.values()) == [row[name] for name in ("task", "case", "licence", "source")]


def test_of_several_shards_the_energon_sidecar_tells_which_holds_a_sample(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(energon, "SAMPLES_A_SHARD", 12)
    (told,) = export_energon(kept, Target(str(tmp_path / "x")))
    assert told.startswith("30 samples in 3 shards; CrudeWebdataset")
    meta = tmp_path / "x/.nv-meta"
    counts = {f"shards/{n:05d}.tar": count for n, count in enumerate((12, 12, 6))}
    assert json.loads((meta / ".info.json").read_text())["shard_counts"] == counts
    assert yaml.safe_load((meta / "split.yaml").read_text())["split_parts"]["train"] == list(counts)
    with closing(sqlite3.connect(meta / "index.sqlite")) as base:
        rows = base.execute(
            "SELECT tar_file_id, sample_index, sample_key, byte_offset, byte_size FROM samples"
        )
        for number, place, key, start, size in rows.fetchall():
            whole = (tmp_path / f"x/shards/{number:05d}.tar").read_bytes()[start : start + size]
            with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
                assert {name.partition(".")[0] for name in tar.getnames()} == {key}
                assert len(tar.getnames()) == 4
            assert kept.index.column("key")[number * 12 + place].as_py() == key
    again = Target(str(tmp_path / "y"))
    export_energon(kept, again)
    assert (tmp_path / "y/.nv-meta/index.uuid").read_bytes() == (meta / "index.uuid").read_bytes()


def test_the_energon_sidecar_holds_where_each_member_is(made, kept, tmp_path):
    export_energon(kept, Target(str(tmp_path / "x")))
    data = (tmp_path / "x/shards/00000.tar").read_bytes()
    with closing(sqlite3.connect(tmp_path / "x/.nv-meta/index.sqlite")) as base:
        query = (
            "SELECT s.sample_key, p.part_name, p.content_byte_offset, p.content_byte_size FROM samples s "
            "JOIN sample_parts p ON p.tar_file_id = s.tar_file_id AND p.sample_index = s.sample_index"
        )
        parts = {(key, part): data[at : at + size] for key, part, at, size in base.execute(query)}
        starts = [at for (at,) in base.execute("SELECT byte_offset FROM samples ORDER BY sample_index")]
    assert parts == {(s.key, part): value for s in kept.samples() for part, value in s.parts.items()}
    offsets = struct.unpack(f"<{len(starts) + 1}Q", (tmp_path / "x/shards/00000.tar.idx").read_bytes())
    assert list(offsets[:-1]) == starts
    assert data[offsets[-1] :] == bytes(1024)
