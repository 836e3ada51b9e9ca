"""The report: numbers are the books', bounds the policy's, pictures the samples', and no text is markup."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from filters.distributions import load_scores
from filters.gallery import picture
from filters.lineage import LineageError, trace
from filters.remake import command, recipe_text
from filters.report import FILE, ReportConfig, render, write_page
from page_reader import Page
from recipes.identity import computed, hashes
from recipes.schema import load_recipe
from reported_line import (
    FAULTS,
    HOSTILE,
    SAMPLES,
    finish,
    make_sample,
    page_of,
    row,
    write_samples,
    write_scores,
    write_selected,
)
from shards.books import Books
from shards.driver_step import Input
from shards.manifest import Manifest, directory_name, record
from shards.sample import EncodedImage
from shards.storage import Storage, StorageError

RECIPE = """
seed: 5
steps:
  base: {step: single_candidate, samples: 9, references: {1: 0.5, 2: 0.5}, faults: {wrong_subject: 1e-1}}
  judged: {step: judge, input: base, questions: [consistency, presence], shard_size: 70}
  kept: {step: select, input: base, scores: judged, min_scores: {presence: 0.5}, best: 3, order: [presence]}
  multi: {step: multi_candidate, input: kept, samples: 4}
  packed: {step: pack, input: [kept, multi]}
"""


@pytest.fixture
def out(tmp_path):
    return Storage(str(tmp_path))


@pytest.fixture
def line(out):
    base = write_samples(out)
    judged = write_scores(out, base)
    return [base, judged, write_selected(out, base, judged)]


def test_the_numbers_are_those_of_the_books(line):
    page = page_of(line)
    (base,) = [row for row in page.table_rows("base") if "✓ 22 = 20 + 2" in row]
    assert base[1:] == ["✓ 0 = 0 + 0 + 0", "✓ 22 = 20 + 2", "✓ 2 = 2", "✓ 20 = 20", "none", "✓ yes"]
    kept = line[2].manifest.books
    (row,) = [row for row in page.table_rows("kept") if "✓ 20 = 20" in row]
    assert row[2] == f"✓ 20 = {kept.made} + {kept.failed}"
    assert f"kept: {kept.made} of 20 kept" in page.text
    assert "✓ balance" in page.text


def test_every_reason_is_counted_with_examples(line):
    page = page_of(line)
    (lost,) = [row for row in page.table_rows("base") if row[1] == "undecodable"]
    assert lost[2] == "2"
    assert "base-x0 ref0: <script>" in lost[4]
    for reason, count in line[2].manifest.books.reasons.items():
        assert any(row[-4:-2] == [reason, str(count)] for row in map(strip, page.rows)), reason


def strip(row):
    return [" ".join(cell.split()) for cell in row]


def test_a_row_missing_from_a_file_unbalances_the_page(line):
    storage = line[0].storage
    table = pq.read_table(storage.path("index/00000.parquet"))
    pq.write_table(table.slice(1), storage.path("index/00000.parquet"))
    page = page_of(line[:1])
    assert "✗ 20 ≠ 19" in page.text
    assert "✗ do not balance" in page.text


def test_a_set_that_lost_samples_on_the_way_unbalances_the_page(out, line):
    manifest = line[1].manifest
    books = Books(read=19, used=19, planned=19, made=19)
    short = finish(line[1].storage, {**vars(manifest), "books": books})
    assert "✗ 19 ≠ 20" in page_of([short]).text


def test_bounds_are_drawn_where_the_policy_sets_them(line):
    page = page_of(line)
    drawn = [attributes for tag, attributes in page.tags if attributes.get("class") == "rule"]
    assert len(drawn) == 2
    assert "at least 2.5" in page.text
    assert "at most 0.5" in page.text
    # 2.5 of 0..4 on an axis from 32 to 312
    assert float(drawn[0]["x1"]) == pytest.approx(32 + 2.5 / 4 * 280, abs=0.1)


def test_histograms_count_every_sample_once(line):
    labels = [a["aria-label"] for tag, a in page_of(line).tags if a.get("class") == "chart"]
    kept = line[2].manifest.books.made
    assert any(f"copy_paste from 0 to 1: {kept} kept, {20 - kept} refused" in label for label in labels)
    # the unreadable one has no value to count
    assert any(f"consistency from 0 to 4: {kept} kept, {19 - kept} refused" in label for label in labels)
    assert "1 unreadable" in page_of(line).text


def test_a_question_of_each_reference_counts_by_its_worst(line):
    score = load_scores([line[1].storage], ["presence"])["presence"]
    assert set(score.low) == {0.5}
    assert score.rows == sum(n % 4 + 1 for n in range(SAMPLES))


def test_hostile_text_is_text(line):
    html = render(line, ReportConfig(title=HOSTILE, gallery=20))
    assert "<script" not in html
    page = Page(html)
    assert page.text.count('alert("x")') >= 3
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base")]


def test_nothing_is_fetched_and_every_image_decodes(line):
    page = page_of(line, gallery=20)
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) > 20
    for attributes in images:
        head, _, data = attributes["src"].partition(",")
        assert head == "data:image/webp;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            opened.load()
        assert attributes["alt"]
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert re.match(r"^(data:|#|$)", attributes.get(name) or "")
    assert "url(" not in str(page.tags)
    assert "@import" not in render(line, ReportConfig())


def test_boxes_say_who_is_to_be_shown(line):
    page = page_of(line)
    shown = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "show"]
    hidden = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "hide"]
    assert len(shown) == len(hidden) > 0
    assert (shown[0]["x"], shown[0]["width"]) == ("4", "36")
    assert (hidden[0]["x"], hidden[0]["width"]) == ("50", "40")
    assert "✓ the red fox" in page.text
    assert "✗ the <b>cat</b>" in page.text
    assert "✗ in a dashed red box: another candidate, which it must not show" in page.text


def test_the_selection_stands_against_the_truth(line):
    text = page_of(line).text
    # 12 clean of 20: two of them are refused (below the bound, unreadable); no faulty one is kept
    assert "Precision: of the kept, clean 100.0 %" in text.replace("\u202f", " ")
    assert "Recall: of the clean, kept 83.3 %" in text.replace("\u202f", " ")
    (clean,) = page_of(line).table_rows("clean")
    assert clean[1:4] == ["12", "10", "2"]


def test_the_judge_stands_against_the_truth(line):
    page = page_of(line)
    (overall,) = page.table_rows("all faults")
    assert overall[1:5] == ["8", "11", "1.000", "1.000–1.000"]
    # copy_paste has an upper bound, so that a high value speaks of a fault; presence knows nothing
    assert overall[6:] == ["0.750", "0.500"]


def test_the_truth_of_a_large_set_is_sampled_and_the_page_says_so(line):
    assert "The truth was looked up for 10 of 20 samples" in page_of(line, truths=10).text


def test_samples_without_truth_are_not_called_clean(out):
    made = [make_sample(n) for n in range(4)]
    bare = [replace(s, provenance=replace(s.provenance, truth={})) for s in made]
    base = write_samples(out, bare, refused=0)
    judged = write_scores(out, base, {"consistency": [row(n, 3.0) for n in range(4)]})
    text = page_of([base, judged]).text
    assert "Nothing to measure against" in text
    assert "truth: no fault" not in text


def test_inherited_faults_are_told_apart_and_no_headline(out):
    made = [make_sample(n) for n in range(10)]
    truths = [{"fault": FAULTS[n % 5], "inherited": FAULTS[n % 5] != "none"} for n in range(10)]
    passed_on = [
        replace(s, provenance=replace(s.provenance, truth=truth))
        for s, truth in zip(made, truths, strict=True)
    ]
    base = write_samples(out, passed_on, refused=0)
    judged = write_scores(out, base, {"consistency": [row(n, 1.0 + n / 10) for n in range(10)]})
    page = page_of([write_selected(out, base, judged, {"min_scores": {"consistency": 1.5}})])
    assert page.table_rows("all faults") == []
    assert page.table_rows("inherited")[-1][1:3] == ["4", "6"]
    assert "truth: wrong subject, inherited" in page.text
    assert "no measure of the judge" in page.text
    assert "ROC AUC, judged" not in page.text


def test_a_picture_that_cannot_be_read_is_told_not_shown(out, monkeypatch):
    base = write_samples(out, [make_sample(n) for n in range(2)], refused=0)
    spoilt = Image.new("RGB", (8, 8))

    def thumbnail(data, side_px):
        raise OSError("image file is truncated")

    monkeypatch.setattr("filters.gallery.thumbnail", thumbnail)
    assert "image 1: image file is truncated" in page_of([base]).text
    assert spoilt.size == (8, 8)


def test_a_picture_that_breaks_off_between_two_parts_is_told_not_shown():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    data = file.getvalue()
    second = data.index(b"IDAT", data.index(b"IDAT") + 4)
    shown = picture(EncodedImage(data[:second] + bytes(4) + data[second + 4 :], "png"), "target", 100)
    assert (shown.uri, shown.alt[:24]) == ("", "target: broken PNG file ")


def test_ancestors_are_found_beside_what_is_named(line):
    assert list(trace(line[2:]).steps) == [one.manifest.directory for one in line]


def test_a_missing_parent_is_an_error_that_names_it(line):
    line[0].storage.delete("manifest.json")
    with pytest.raises(LineageError, match=r"base-0{12}: expected the finished directory that judged-0+ was"):
        render(line[1:], ReportConfig())


def test_a_set_of_nothing_is_reported(out):
    base = write_samples(out, [])
    page = page_of([base, write_scores(out, base, {"empty": []})])
    assert "✓ 2 = 0 + 2" in page.text


def test_nothing_to_report_is_an_error():
    with pytest.raises(LineageError, match="expected finished directories, got none"):
        render([], ReportConfig())


def test_a_missing_table_is_an_error_that_names_it(line):
    line[1].storage.delete("scores/consistency.parquet")
    with pytest.raises(ValueError, match="score 'consistency'"):
        render(line, ReportConfig())


def test_damaged_samples_are_an_error_that_names_the_shard(line):
    with Path(line[0].storage.path("shards/00000.tar")).open("r+b") as file:
        file.seek(600)
        file.write(b"XXXX")
    with pytest.raises(ValueError, match=r"00000\.tar"):
        render(line, ReportConfig())


def test_the_same_directories_make_the_same_page(line):
    assert render(line, ReportConfig()) == render(line[::-1], ReportConfig())


def test_the_step_writes_its_page_and_its_record(out, line):
    target = out.child("page-000000000000")
    result = ReportConfig(gallery=2).make({"of": line}, target)
    assert list(result.files) == [FILE]
    assert result.files[FILE] == record(target, FILE)
    result.books.check("page")


def test_a_page_is_written_to_a_file(line, tmp_path):
    write_page(line, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().rstrip().endswith("</html>")


def test_a_page_of_an_earlier_run_is_left_out(out, line):
    page = finish(out.child("page-000000000000"), {"name": "page", "type": "report", "kind": "page"})
    assert list(trace([*line, page]).steps) == list(trace(line).steps)


def test_no_picture_is_opened_where_none_is_asked_for(line, monkeypatch):
    def refuse(*_):
        raise StorageError("opened a picture")

    monkeypatch.setattr("filters.gallery.thumbnail", refuse)
    assert "<img" not in render(line, ReportConfig(gallery=0))


def test_a_page_of_many_galleries_holds_few_cards_in_each(line, monkeypatch):
    monkeypatch.setattr("filters.findings.MAX_CARDS", 5)
    page = page_of(line, gallery=48)
    assert 1 <= sum(attributes.get("class") == "card" for _, attributes in page.tags) <= 5


def test_a_set_beyond_the_best_has_its_cut_drawn(out):
    base = write_samples(out)
    judged = write_scores(out, base)
    kept = write_selected(out, base, judged, {"best": 5, "order": ("consistency",)})
    page = page_of([kept])
    assert "best 5: 3.275" in page.text
    assert "the best 5 by consistency" in page.text


def test_a_share_of_the_kept_is_told_among_the_rules(out):
    base = write_samples(out)
    judged = write_scores(out, base)
    policy = {"order": ("consistency",), "max_share": {"copy_paste": 0.05}}
    page = page_of([write_selected(out, base, judged, policy)])
    assert "copy paste in at most 0.05 of the kept" in page.text
    assert "copy_paste in more than 0.05 of the kept" in page.text


@pytest.mark.parametrize(
    ("best", "told", "expected"),
    [
        (2, "the best 2 of each task and references by consistency", [["2", "2", "5"]] * 4),
        (
            {"composition_multi": {"1": 1, "3": 4}, "addition": {"9": 7}},
            "the best 12 in 3 groups of task and references by consistency",
            [["7", "0", "0"], ["1", "1", "5"], ["0", "0", "5"], ["4", "4", "5"], ["0", "0", "5"]],
        ),
    ],
)
def test_groups_stand_in_a_table_with_what_was_kept_of_each(out, best, told, expected):
    base = write_samples(out)
    judged = write_scores(out, base)
    policy = {"best": best, "by": ["task", "references"], "order": ("consistency",)}
    page = page_of([write_selected(out, base, judged, policy)])
    assert told in page.text
    names = ("addition", "composition multi")
    rows = [row for row in map(strip, page.rows) if row and row[0] in names]
    assert [row[2:] for row in rows] == expected
    assert [row[1] for row in rows][-4:] == ["1", "2", "3", "4"]


def test_the_recipe_on_the_page_has_the_hashes_of_its_directories(tmp_path, monkeypatch):
    for name in ("NETWORK", "HEADS"):
        (tmp_path / name).write_text(name)
        monkeypatch.setattr(f"filters.embedded.{name}", tmp_path / name)
    (tmp_path / "first.yaml").write_text(RECIPE)
    first = load_recipe(tmp_path / "first.yaml", limit=7)
    named = hashes(first)
    inputs = [
        Input(
            storage=Storage(str(tmp_path)),
            manifest=Manifest(
                name=name,
                type=step.type,
                hash=named[name],
                kind=step.step_type.kind,
                config=json.loads(json.dumps(computed(step))),
                parents={
                    role: [directory_name(parent, named[parent]) for parent in parents]
                    for role, parents in step.inputs.items()
                },
            ),
        )
        for name, step in first.steps.items()
    ]
    lineage = trace(inputs)
    assert command(lineage) == "bakery run remade.yaml --out OUT --limit 7"
    (tmp_path / "remade.yaml").write_text(recipe_text(lineage))
    again = load_recipe(tmp_path / "remade.yaml", limit=7)
    assert hashes(again) == named
