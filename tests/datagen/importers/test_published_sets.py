"""Every published format: its dirt is refused with reasons, the rest comes out as the bytes it was."""

import io
import json

import published_sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from published_sets import picture

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
from shards.sample import MAX_JSON_BYTES


def bytes_of(sample):
    return [image.data for image in (*sample.references, sample.target)]


def test_omnigen2_jsonl_with_loose_pictures(tmp_path):
    rows, pictures = published_sets.omnigen2(tmp_path / "set")
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")))
    found = made.by_instruction()
    assert len(found) == len(rows)
    for row in rows:
        sample = found[row["instruction"]]
        assert bytes_of(sample) == [pictures[name] for name in [*row["input_images"], row["output_image"]]]
        assert sample.provenance.origin["task"] == "character_object"
        assert sample.provenance.task == "composition_multi"
    expected = {"bad_metadata": 2, "duplicate_record": 1, "missing_image": 1, "path_escape": 1}
    assert made.reasons == expected


def test_a_folder_with_a_csv(tmp_path):
    pictures = published_sets.folder(tmp_path / "set")
    settings = TableSettings(path=str(tmp_path / "set"), clean={"allow_non_commercial": False})
    made = run_inline(tmp_path / "out", settings)
    sample = made.by_instruction()["Put them, both, on shelf 1"]
    assert bytes_of(sample) == [pictures[f"p/1{name}.png"] for name in "abt"]
    assert sample.provenance.licence == "cc0-1.0"
    assert made.reasons == {"licence": 1}


def test_a_picture_that_is_none_is_told_by_its_file_and_row(tmp_path):
    published_sets.folder(tmp_path / "set")
    (tmp_path / "set/p/1b.png").write_text("no picture")
    (tmp_path / "set/p/0b.png").write_bytes(picture(3)[:900])
    made = run_inline(tmp_path / "out", TableSettings(path=str(tmp_path / "set")))
    details = sorted(row["detail"] for row in made.rejects if row["reason"] == "undecodable")
    assert len(details) == 2
    assert details[0].startswith("table.csv:2 (p/0a.png, p/0b.png, p/0t.png): ref1: expected a whole image")
    assert details[1].startswith("table.csv:3 (p/1a.png, p/1b.png, p/1t.png): ref1: expected a JPEG, PNG")


@pytest.mark.parametrize("cells", ["struct", "binary", "base64"])
def test_parquet_of_hugging_face_in_all_its_cells(tmp_path, cells):
    published_sets.parquet(tmp_path / "set", cells)
    settings = HfSettings(path=str(tmp_path / "set"), where={"kind": "a"})
    made = run_inline(tmp_path / "out", settings)
    found = made.by_instruction()
    assert set(found) == {"cup 1 on a table", "cup 3 on a table"}
    assert bytes_of(found["cup 3 on a table"]) == [picture(1030), picture(1031), picture(1032)]
    assert made.manifest.books.unused == 3


def test_scone_parquet_as_released(tmp_path):
    rows = published_sets.scone_parquet(tmp_path / "set")
    made = run_inline(
        tmp_path / "out", SconeParquetSettings(path=str(tmp_path / "set"), licence="apache-2.0")
    )
    found = made.by_instruction()
    assert {text: bytes_of(sample) for text, sample in found.items()} == {
        row["instruction"]: row["image"] for row in rows[:5]
    }
    assert made.reasons == {"no_reference": 1, "undecodable": 1}


def test_musar_gen_gets_instructions_that_name_both_images(tmp_path):
    rows = published_sets.musar_gen(tmp_path / "set")
    made = run_inline(tmp_path / "out", MusarGenSettings(path=str(tmp_path / "set")))
    assert len(made.samples) == len(rows)
    for sample in made.samples:
        row = next(row for row in rows if row["tgt_img"]["bytes"] == sample.target.data)
        assert row["cond_prompt_0"] in sample.instruction.lower()
        assert "sunny kitchen" in sample.instruction
        assert sample.provenance.origin["prompt"] == row["prompt"]
        assert [each[0].name for each in sample.subjects] == [row["cond_prompt_0"], "a lamp"]
    published = MusarGenSettings(path=str(tmp_path / "set"), instruction="published")
    assert rows[0]["prompt"] in run_inline(tmp_path / "out", published).by_instruction()


def test_subjects200k_is_cut_to_the_pixel_and_null_is_not_high_quality(tmp_path):
    published_sets.subjects200k(tmp_path / "set")
    settings = Subjects200kSettings(path=str(tmp_path / "set"), where={"hq": True})
    made = run_inline(tmp_path / "out", settings)
    assert made.reasons == {"unknown_layout": 1}
    assert made.manifest.books.unused == 3
    sample = made.by_instruction()["a mug 0 in the grass"]
    _, halves = published_sets.composite(4000)
    for image, half in zip((sample.references[0], sample.target), halves, strict=True):
        assert image.extension == "png"
        assert Image.open(io.BytesIO(image.data)).tobytes() == half.tobytes()
    assert set(sample.provenance.origin["images"]) == {"ref0", "target"}
    assert len(sample.provenance.origin["images"]["target"]["sha256"]) == 64


def test_uno_1m_recomputes_scores_before_it_reads_archives(tmp_path):
    total = published_sets.uno_1m(tmp_path / "set")
    settings = Uno1mSettings(path=str(tmp_path / "set"), where={"score": {"min": 3.9}})
    made = run_inline(tmp_path / "out", settings)
    scores = {s.instruction: s.provenance.origin["scores"]["uno"] for s in made.samples}
    assert scores == {
        "a vase 1-1 on a beach": 4.0,
        "a vase 1-3 on a beach": 4.0,
        "a vase 2-1 on a beach": 4.0,
        "a vase 2-3 on a beach": 4.0,
        "a vase 10-0 on a beach": 4.0,  # its published score is 131184.67
        "a vase 10-3 on a beach": 4.0,
    }
    assert made.manifest.books.read == len(total)
    assert made.reasons == {}


def test_echo_4o_with_its_folders_and_a_cut_archive(tmp_path):
    _, members, outputs = published_sets.echo_4o(tmp_path / "set")
    made = run_inline(tmp_path / "out", Echo4oSettings(path=str(tmp_path / "set")))
    scenes = [sample for sample in made.samples if sample.provenance.case == "character+scene"]
    assert len(scenes) == 3
    for n, sample in enumerate(sorted(scenes, key=lambda sample: sample.instruction)):
        inputs = [members["human"][f"human/{n:05d}.jpg"], members["sence"][f"sence/{n:05d}.jpg"]]
        assert bytes_of(sample) == [*inputs, outputs["hum_sce"][f"{n:05d}.jpg"]]
    assert made.manifest.books.reasons["missing_column"] == 1
    cut = made.manifest.books.reasons
    assert sum(cut[name] for name in cut if name.startswith("archive_")) in (1, 2, 3)
    assert len(made.samples) + made.manifest.books.failed == 6


def test_x2i_reads_split_parts_as_one_stream(tmp_path):
    rows, others, members = published_sets.x2i(tmp_path / "set")
    assert len(list((tmp_path / "set/single").iterdir())) > 2
    made = run_inline(tmp_path / "out", X2iSettings(path=str(tmp_path / "set")))
    found = made.by_instruction()
    for row in [*rows[:-1], *others]:
        assert bytes_of(found[row["instruction"]]) == [
            members[name] for name in [*row["input_images"], row["output_image"]]
        ]
    assert made.reasons == {"link": 1}


def test_sampling_is_seeded_and_exact_and_a_longer_draw_holds_the_shorter(tmp_path):
    published_sets.uno_1m(tmp_path / "set")

    def drawn(count, seed):
        settings = Uno1mSettings(path=str(tmp_path / "set"), sample=count, seed=seed)
        return {sample.key for sample in run_inline(tmp_path / "out", settings).samples}

    assert len(drawn(5, 1)) == 5
    assert drawn(3, 1) < drawn(5, 1)
    assert drawn(5, 1) != drawn(5, 2)


def test_a_layout_that_is_not_known_says_what_was_seen_and_how_to_map_it(tmp_path):
    published_sets.parquet(tmp_path / "set")
    with pytest.raises(
        SourceError, match="got instruction, input_images, output_image, kind; map them with `columns"
    ):
        run_inline(tmp_path / "a", MusarGenSettings(path=str(tmp_path / "set")))
    published_sets.write_jsonl(tmp_path / "other/x.jsonl", [{"text": "a", "in": [], "out": "b"}])
    with pytest.raises(SourceError, match=r"got at x\.jsonl:1: text, in, out; map them"):
        run_inline(tmp_path / "b", X2iSettings(path=str(tmp_path / "other")))
    published_sets.uno_1m(tmp_path / "uno")
    with pytest.raises(SourceError, match=r"expected columns of .*score.*, got 'scor'"):
        run_inline(tmp_path / "c", Uno1mSettings(path=str(tmp_path / "uno"), where={"scor": 3}))


def test_an_archive_with_nothing_of_what_its_records_name_is_an_error_with_the_way_out(tmp_path):
    root = tmp_path / "set"
    published_sets.write_tar(root / "pics.tar.gz", {"a/other.png": picture(1)})
    row = {"instruction": "x", "input_images": ["deep/in/0.png"], "output_image": "deep/in/1.png"}
    published_sets.write_jsonl(root / "x.jsonl", [row])
    with pytest.raises(SourceError, match=r"got members like 'a/other.png'.*archives: \{deep: PATTERN\}"):
        run_inline(tmp_path / "out", JsonlSettings(path=str(root)))


def test_a_missing_part_of_a_split_archive_is_named(tmp_path):
    published_sets.x2i(tmp_path / "set")
    (tmp_path / "set/single/single.tar.gz.ab").unlink()
    with pytest.raises(SourceError, match=r"single\.tar\.gz\.ac out of turn; fetch the missing ones"):
        run_inline(tmp_path / "out", X2iSettings(path=str(tmp_path / "set")))
    assert "out of turn" in X2iSettings(path=str(tmp_path / "set")).missing()[0]


def test_nothing_of_the_hash_depends_on_where_the_set_lies(tmp_path):
    for name in ("one", "other"):
        published_sets.x2i(tmp_path / name)
    one, other = (X2iSettings(path=str(tmp_path / name)).computed() for name in ("one", "other"))
    assert one == other
    (tmp_path / "other/more.jsonl").write_text("{}")
    assert X2iSettings(path=str(tmp_path / "other")).computed() != one


def test_a_source_behind_a_variable_that_is_not_set_is_missing_and_no_crash(monkeypatch):
    monkeypatch.delenv("NO_SUCH_SET", raising=False)
    settings = X2iSettings(path="${NO_SUCH_SET}/x2i")
    assert "expected the variable NO_SUCH_SET to be set" in settings.missing()[0]
    assert settings.computed()["listing"] is None


def test_a_row_of_a_csv_that_is_no_text_is_refused_and_the_others_are_read(tmp_path):
    published_sets.folder(tmp_path / "set")
    table = tmp_path / "set/table.csv"
    table.write_bytes(table.read_bytes().replace(b"shelf 1", b"shelf \xe9"))
    made = run_inline(tmp_path / "out", TableSettings(path=str(tmp_path / "set")))
    assert set(made.by_instruction()) == {
        "Put them, both, on shelf 0",
        "Put them, both, on shelf 2",
        "For research only",
    }
    assert made.reasons == {"bad_metadata": 1}


def test_licences_of_rows_are_held_against_the_recipe_in_parquet_too(tmp_path):
    rows = [
        {
            "instruction": f"cup {n}",
            "input_images": [picture(n)],
            "output_image": picture(n + 9),
            "terms": terms,
        }
        for n, terms in enumerate(["cc-by-nc-4.0", "mit", None])
    ]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set/a.parquet")
    settings = HfSettings(
        path=str(tmp_path / "set"), columns={"licence": "terms"}, clean={"allow_non_commercial": False}
    )
    made = run_inline(tmp_path / "out", settings)
    assert set(made.by_instruction()) == {"cup 1", "cup 2"}
    assert made.reasons == {"licence": 1}


def test_a_text_that_is_none_costs_its_own_row_of_a_parquet_and_no_other(tmp_path):
    words = pa.array([b"cup 0", b"cup \xff\xfe", b"cup 2", b"cup 3"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(words), words.buffers())
    pictures = pa.array([picture(n) for n in range(4)])
    (tmp_path / "set").mkdir()
    table = pa.table({"instruction": texts, "input_images": pictures, "output_image": pictures[::-1]})
    pq.write_table(table, tmp_path / "set/a.parquet")
    made = run_inline(tmp_path / "out", HfSettings(path=str(tmp_path / "set")))
    assert set(made.by_instruction()) == {"cup 0", "cup 2", "cup 3"}
    assert made.reasons == {"bad_metadata": 1}


def test_a_reference_column_may_be_empty_but_not_all_of_them(tmp_path):
    cells = [(picture(1), picture(2)), (picture(3), None), (None, None)]
    rows = [
        {"instruction": f"cup {n}", "r0": first, "r1": second, "output_image": picture(10 + n)}
        for n, (first, second) in enumerate(cells)
    ]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set/a.parquet")
    made = run_inline(
        tmp_path / "out", HfSettings(path=str(tmp_path / "set"), columns={"references": "r0,r1"})
    )
    assert {words: len(s.references) for words, s in made.by_instruction().items()} == {
        "cup 0": 2,
        "cup 1": 1,
    }
    assert made.reasons == {"no_reference": 1}


def test_a_row_without_any_reference_is_refused_however_many_columns_there_are(tmp_path):
    published_sets.write_files(tmp_path / "set", {"a.png": picture(1), "b.png": picture(2)})
    rows = [
        {"instruction": f"{first}", "r0": first, "r1": None, "output_image": "b.png"}
        for first in ("a.png", "")
    ]
    published_sets.write_jsonl(tmp_path / "set/x.jsonl", rows)
    made = run_inline(
        tmp_path / "out", JsonlSettings(path=str(tmp_path / "set"), columns={"references": "r0,r1"})
    )
    assert set(made.by_instruction()) == {"a.png"}
    assert made.reasons == {"no_reference": 1}


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_line_longer_than_any_record_is_refused_and_not_passed_over(tmp_path, place):
    published_sets.write_files(tmp_path / "set", {"a.png": picture(1), "b.png": picture(2)})
    rows = [
        {"instruction": words, "input_images": ["a.png"], "output_image": "b.png"}
        for words in ("short", "x" * (MAX_JSON_BYTES + (1 << 20)))
    ]
    published_sets.write_jsonl(tmp_path / "set/x.jsonl", rows[:: -1 if place == "first" else 1])
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")))
    assert set(made.by_instruction()) == {"short"}
    (reject,) = made.rejects
    assert f"got b'a line of more than {MAX_JSON_BYTES} bytes'" in reject["detail"]


def test_two_folders_may_call_their_pictures_alike(tmp_path):
    for number, folder in enumerate(("one", "two")):
        pictures = {"a.png": picture(10 * number), "b.png": picture(10 * number + 1)}
        published_sets.write_files(tmp_path / "set" / folder, pictures)
        row = {"instruction": "Combine them", "input_images": ["a.png"], "output_image": "b.png"}
        published_sets.write_jsonl(tmp_path / "set" / folder / "x.jsonl", [row, row])
    made = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")))
    assert {sample.target.data for sample in made.samples} == {picture(1), picture(11)}
    assert made.reasons == {"duplicate_record": 2}


def test_a_bad_first_pair_of_uno_1m_is_a_row_and_no_end(tmp_path):
    published_sets.uno_1m(tmp_path / "set", splits=(1,))
    labels = tmp_path / "set/labels/split1.json"
    whole = run_inline(tmp_path / "whole", Uno1mSettings(path=str(tmp_path / "set")))
    labels.write_text(json.dumps([{"oops": 1}, *json.loads(labels.read_text())]))
    made = run_inline(tmp_path / "out", Uno1mSettings(path=str(tmp_path / "set")))
    assert set(made.by_instruction()) == set(whole.by_instruction())
    assert made.reasons["bad_metadata"] == whole.reasons.get("bad_metadata", 0) + 1


def test_the_place_of_a_row_is_its_line(tmp_path):
    published_sets.folder(tmp_path / "set")
    made = run_inline(tmp_path / "out", TableSettings(path=str(tmp_path / "set")))
    places = {words: s.provenance.origin["place"] for words, s in made.by_instruction().items()}
    assert places["Put them, both, on shelf 0"] == "table.csv:2"
    assert places["For research only"] == "table.csv:5"


def test_the_folder_of_echo_4o_is_found_below_the_set_s_own(tmp_path):
    published_sets.echo_4o(tmp_path / "Echo-4o-Image")
    where = {"folder": "Multi-Reference-Image"}
    found = [
        set(run_inline(out, Echo4oSettings(path=str(path), where=where)).by_instruction())
        for out, path in ((tmp_path / "a", tmp_path), (tmp_path / "b", tmp_path / "Echo-4o-Image"))
    ]
    assert found[0] == found[1] != set()


def test_a_subject_of_musar_gen_without_a_name_is_refused(tmp_path):
    published_sets.musar_gen(tmp_path / "set", count=2)
    (path,) = (tmp_path / "set").rglob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[0]["cond_prompt_1"] = " . "
    pq.write_table(pa.Table.from_pylist(rows), path)
    made = run_inline(tmp_path / "out", MusarGenSettings(path=str(tmp_path / "set")))
    assert (len(made.samples), made.reasons) == (1, {"bad_metadata": 1})
