"""`draw_benchmark`: SconeEval and OmniContext in their published forms, whose cases have no target."""

import hashlib
import io
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from published_sets import picture, write_tar

import published_benchmarks
from datagen.draw_benchmark import DrawBenchmarkConfig
from datagen.importers.source import SourceError
from inline_run import run_inline
from published_benchmarks import IMAGES, keys, plan_of, planned
from shards.forgotten import Forgotten
from shards.image import check_image
from shards.local_executor import LocalExecutor
from shards.plan import Refused, Unused
from shards.sample import sample_json


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def draw_benchmark(tmp_path, server, images_api):
    """A finished directory of a benchmark that the fake drew."""

    def run(benchmark, root="set", **settings):
        settings = {"images": images_api(server, does=("edit",)), "size_px": 128, **settings}
        config = DrawBenchmarkConfig(benchmark=benchmark, path=str(tmp_path / root), **settings)
        with closing(LocalExecutor(1)) as executor:
            return run_inline(tmp_path / "out", config, name="drawn", executor=executor)

    return run


def test_sconeeval_as_it_is_published(tmp_path, server, draw_benchmark):
    rows, pictures = published_benchmarks.sconeeval(tmp_path / "set")
    made = draw_benchmark("sconeeval")
    found = {sample.key: sample for sample in made.samples}
    assert list(found) == [row["key"] for row in rows]
    for number, row in enumerate(rows, start=1):
        sample, about = found[row["key"]], found[row["key"]].provenance
        paths = row.get("input_images") or [row["input_image"]]
        assert [image.data for image in sample.references] == [pictures[path] for path in paths]
        assert sample.instruction == row["instruction"]
        assert (about.source, about.task, about.case) == ("sconeeval", row["task_type"], row["case_type"])
        assert about.parents == ()
        assert about.origin["place"] == f"data.jsonl:{number}"
        assert (about.origin["case_key"], about.origin["round"]) == (row["key"], 0)
        names = [[candidate.name for candidate in candidates] for candidates in sample.subjects]
        labels = [[int(candidate.is_target) for candidate in candidates] for candidates in sample.subjects]
        assert names == row.get("subject_list", [[]] * len(paths))
        assert labels == row.get("subject_label", [[]] * len(paths))
        assert check_image(sample.target).width == 128
    assert {asked.path for asked in server.asked} == {"edits"}
    sent = {digest for asked in server.asked for digest in asked.references}
    assert sent == {hashlib.sha256(data).hexdigest() for data in pictures.values()}


@pytest.mark.parametrize(
    "form", [published_benchmarks.omnicontext_jsonl, published_benchmarks.omnicontext_parquet]
)
def test_omnicontext_in_both_forms_and_in_english_alone(tmp_path, draw_benchmark, form):
    rows, pictures = form(tmp_path / "set")
    made = draw_benchmark("omnicontext")
    assert [sample.key for sample in made.samples] == [row["key"] for row in rows[:3]]
    for sample, row in zip(made.samples, rows, strict=False):
        about = sample.provenance
        assert [image.data for image in sample.references] == [pictures[path] for path in row["input_images"]]
        counted = "single" if len(sample.references) == 1 else "multi"
        assert about.task == f"composition_{counted}"
        assert (about.source, about.case) == ("omnicontext", row["task_type"])
        assert sample.subjects == ((),) * len(sample.references)
    books = made.manifest.books
    assert (books.read, books.used, books.unused, books.made) == (4, 3, 1, 3)


@pytest.mark.parametrize(
    ("benchmark", "expected"),
    [
        ("sconeeval", "479093cbe08e8a166c0a70cd9eb6e948e18e50a1f509aad4090bf5a8b0c42da1"),
        ("omnicontext", "5130c6ba6dc1b515e7766489c1d9bc9abc6e2831823418bf0eee6606b6123bf9"),
    ],
)
def test_what_a_case_says_is_what_it_said(tmp_path, draw_benchmark, benchmark, expected):
    """Keys, seeds, candidates, provenance; pixels are a server's. Where this changes, VERSION is raised."""
    is_scone = benchmark == "sconeeval"
    write = published_benchmarks.sconeeval if is_scone else published_benchmarks.omnicontext_jsonl
    write(tmp_path / "set")
    samples = draw_benchmark(benchmark, rounds=2).samples
    words = hashlib.sha256(b"".join(sample.key.encode() + sample_json(sample) for sample in samples))
    assert words.hexdigest() == expected


def test_both_forms_give_the_same_pictures(tmp_path, server, draw_benchmark):
    published_benchmarks.omnicontext_jsonl(tmp_path / "lines")
    published_benchmarks.omnicontext_parquet(tmp_path / "cells")
    lines = draw_benchmark("omnicontext", "lines", rounds=2)
    cells = draw_benchmark("omnicontext", "cells", rounds=2)
    assert [(s.key, s.target) for s in lines.samples] == [(s.key, s.target) for s in cells.samples]
    assert len(server.asked) == 6


def test_rounds_are_read_and_counted_once_a_case_and_drawn_each(tmp_path, server, draw_benchmark):
    published_benchmarks.sconeeval(tmp_path / "set")
    once = draw_benchmark("sconeeval", sample=4)
    assert len(server.asked) == 4
    thrice = draw_benchmark("sconeeval", sample=4, rounds=3)
    assert len(server.asked) == 12
    books = thrice.manifest.books
    assert (books.read, books.used, books.unused, books.planned, books.made) == (6, 4, 2, 12, 12)
    found = {sample.key: sample for sample in thrice.samples}
    assert {sample.key: sample for sample in once.samples}.items() <= found.items()
    for sample in once.samples:
        rounds = [found[sample.key + end] for end in ("", "-r1", "-r2")]
        assert len({each.target for each in rounds}) == 3
        assert {each.provenance.origin["case_key"] for each in rounds} == {sample.key}
        assert [each.provenance.origin["round"] for each in rounds] == [0, 1, 2]
        assert {each.references for each in rounds} == {sample.references}


def test_where_chooses_and_the_rest_is_counted(tmp_path):
    published_benchmarks.sconeeval(tmp_path)
    plan = plan_of(tmp_path, where={"task_type": ["distinction_single_cross", "distinction_multi_cross"]})
    assert keys(plan) == ["dist-1", "dist-3"]
    assert [entry.count for entry in plan if isinstance(entry, Unused)] == [4]


def test_another_language_is_drawn_where_it_is_asked_for(tmp_path):
    published_benchmarks.omnicontext_jsonl(tmp_path)
    (case,) = planned(plan_of(tmp_path, "omnicontext", where={"instruction_language": "cn"}))
    assert case.spec["case"] == "single_object"


def bomb():
    """A picture of more pixels than are ever decoded, in some 80 KB."""
    sink = io.BytesIO()
    Image.new("1", (9000, 9000)).save(sink, "png")
    return sink.getvalue()


def test_a_picture_that_cannot_be_read_is_a_reject_with_row_and_file_in_every_round(
    tmp_path, server, draw_benchmark
):
    cut = picture(5)[:-500]
    spoilt = {"images/comp-1_0.png": cut, "images/dist-1_0.png": b"GIF89a", "images/comp-2_1.jpg": bomb()}
    published_benchmarks.sconeeval(tmp_path / "set", pictures=spoilt)
    made = draw_benchmark("sconeeval", rounds=2)
    told = {row["key"]: (row["reason"], row["detail"]) for row in made.rejects}
    assert set(told) == {f"{key}{end}" for key in ("comp-1", "comp-2", "dist-1") for end in ("", "-r1")}
    assert told["comp-1"][0] == told["dist-1"][0] == "undecodable"
    assert told["comp-2"][0] == "too_many_pixels"
    assert told["comp-1"][1].startswith("data.jsonl:1 (images/comp-1_0.png): ref0: expected a whole image")
    assert told["comp-2"][1].startswith("data.jsonl:2 (images/comp-2_0.png, images/comp-2_1.jpg): ref1: ")
    books = made.manifest.books
    assert (books.read, books.used, books.planned, books.made, books.failed) == (6, 6, 12, 6, 6)
    assert len(server.asked) == 6


def test_rows_of_parquet_that_are_no_cases_are_rejects_with_file_and_row(tmp_path, draw_benchmark):
    _, pictures = published_benchmarks.omnicontext()
    cell = {"bytes": next(iter(pictures.values())), "path": None}
    row = {"key": "x", "task_type": "single_object", "instruction": "A", "instruction_language": "en"}
    published_benchmarks.omnicontext_parquet(
        tmp_path / "set",
        more=[
            {**row, "task_type": "several", "input_images": [cell]},
            {**row, "key": "y", "instruction": " ", "input_images": [cell]},
            {
                **row,
                "key": "z",
                "instruction": "Cut",
                "input_images": [{"bytes": b"\xff\xd8\xff", "path": None}],
            },
            {**row, "key": "none", "instruction": "None", "input_images": []},
            {**row, "key": "fine", "instruction": "Fine", "input_images": [cell]},
        ],
    )
    made = draw_benchmark("omnicontext")
    assert [sample.key for sample in made.samples][-1] == "fine"
    assert len(made.samples) == 4
    told = {row["key"]: row["reason"] for row in made.rejects}
    assert told == {
        "train-00000.parquet:4": "unknown_task",
        "train-00000.parquet:5": "empty_instruction",
        "z": "undecodable",
        "none": "no_reference",
    }
    details = {row["key"]: row["detail"] for row in made.rejects}
    assert details["z"].startswith("train-00000.parquet:6: ref0: ")


def test_a_case_that_was_taken_down_is_drawn_in_no_round(tmp_path):
    published_benchmarks.sconeeval(tmp_path)
    config = DrawBenchmarkConfig(benchmark="sconeeval", path=str(tmp_path), images=IMAGES, rounds=3)
    one = list(Forgotten(keys=frozenset({"dist-1"})).refuse(config.plan(), config))
    assert [entry.origin for entry in one if isinstance(entry, Refused)] == [
        "dist-1",
        "dist-1-r1",
        "dist-1-r2",
    ]
    assert len(planned(one)) == 15
    assert not planned(Forgotten(sources=frozenset({"sconeeval"})).refuse(config.plan(), config))


def test_pictures_may_lie_in_an_archive_beside_the_rows(tmp_path, draw_benchmark):
    rows, pictures = published_benchmarks.sconeeval(tmp_path / "set")
    for path in pictures:
        (tmp_path / "set" / path).unlink()
    write_tar(tmp_path / "set/images.tar.gz", pictures)
    made = draw_benchmark("sconeeval")
    assert [sample.key for sample in made.samples] == [row["key"] for row in rows]


def test_a_turned_picture_is_sent_upright_and_its_origin_told(tmp_path, draw_benchmark):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {"images/comp-1_0.png": picture(9, size=(160, 96), form="PNG", exif=exif)}
    published_benchmarks.sconeeval(tmp_path / "set", pictures=turned)
    sample = next(s for s in draw_benchmark("sconeeval").samples if s.key == "comp-1")
    assert check_image(sample.references[0]).width == 96
    changed = sample.provenance.origin["images"]
    assert set(changed) == {"ref0"}
    assert changed["ref0"]["sha256"] == hashlib.sha256(turned["images/comp-1_0.png"]).hexdigest()


def test_columns_of_another_name_are_mapped(tmp_path):
    published_benchmarks.sconeeval(tmp_path)
    text = (tmp_path / "data.jsonl").read_text().replace('"task_type"', '"kind"').replace('"key"', '"id"')
    (tmp_path / "data.jsonl").write_text(text)
    assert len(planned(plan_of(tmp_path, columns={"task": "kind", "key": "id"}))) == 6
    with pytest.raises(SourceError) as error:
        plan_of(tmp_path)
    assert "expected columns instruction, input_images, task_type, got at data.jsonl:1" in str(error.value)
    mapped = "`columns: {instruction: NAME, references: NAME or NAME1,NAME2, task: NAME}`"
    assert str(error.value).endswith(mapped)


@pytest.mark.parametrize("benchmark", ["sconeeval", "omnicontext"])
def test_an_unknown_column_is_told_with_those_that_there_are(tmp_path, benchmark):
    write = {
        "sconeeval": published_benchmarks.sconeeval,
        "omnicontext": published_benchmarks.omnicontext_parquet,
    }
    write[benchmark](tmp_path)
    with pytest.raises(
        SourceError, match=r"columns: expected names of key, instruction, references, .* 'target'"
    ):
        plan_of(tmp_path, benchmark, columns={"target": "x"})


def test_a_folder_without_the_benchmark_s_files_says_what_there_is(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    told = r"expected files like data.jsonl or \*/data.jsonl, got README.md; set `path`"
    config = DrawBenchmarkConfig(benchmark="sconeeval", path=str(tmp_path), images=IMAGES)
    with pytest.raises(SourceError, match=told):
        list(config.plan())
    assert config.missing()
    with pytest.raises(SourceError, match=r"expected files like \*.jsonl or \*.parquet"):
        plan_of(tmp_path, "omnicontext")


def test_files_of_both_forms_are_not_read_as_one(tmp_path):
    published_benchmarks.omnicontext_jsonl(tmp_path)
    published_benchmarks.omnicontext_parquet(tmp_path)
    assert len(planned(plan_of(tmp_path, "omnicontext"))) == 3
    with pytest.raises(
        SourceError, match=r"expected files of one form, got omnicontext.jsonl, train-00000.parquet"
    ):
        plan_of(tmp_path, "omnicontext", files=("*.jsonl", "*.parquet"))


def test_a_parquet_without_its_columns_is_told(tmp_path):
    pq.write_table(pa.table({"instruction": ["a"], "image": [b""]}), tmp_path / "a.parquet")
    with pytest.raises(
        SourceError, match=r"a.parquet: expected columns instruction, input_images, task_type, got"
    ):
        plan_of(tmp_path, "omnicontext")


def test_nothing_of_the_hash_depends_on_where_the_benchmark_lies(tmp_path):
    hashes = []
    for name in ("here", "there"):
        published_benchmarks.sconeeval(tmp_path / name)
        config = DrawBenchmarkConfig(benchmark="sconeeval", path=str(tmp_path / name), images=IMAGES)
        hashes.append(config.computed())
    assert hashes[0] == hashes[1]
    assert hashes[0]["listing"]
    gone = DrawBenchmarkConfig(benchmark="sconeeval", path="$NOT_SET_ANYWHERE", images=IMAGES)
    assert gone.computed()["listing"] is None
    assert "NOT_SET_ANYWHERE" in gone.missing()[0]
