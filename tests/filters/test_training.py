"""A training run on the report: curves, losses and pictures as its directory has them, whoever wrote it."""

import io
import json

import pytest
from PIL import Image

from filters.report import ReportConfig, render
from filters.training import TrainingError, stages
from page_reader import Page
from shards.books import Books
from shards.driver_step import Input
from shards.index import pack_sample, write_index, write_packed
from shards.manifest import Manifest, read_manifest, record, write_manifest
from shards.storage import Storage
from shards.tar import TarWriter
from tiny_samples import make_sample

HOSTILE = "<script>alert(1)</script>"


def png(size=(64, 400)):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def curves(**changes):
    stage = {
        "name": "stage2_und",
        "trains": ["und_layers", HOSTILE],
        "bridge": "paper",
        "steps": 3,
        "tokens_a_step": 1200,
        "training": 18,
        "held": 2,
        "directories": {"base-000000000000": 20},
        "curves": {"loss": [[1, 1.5], [2, 1.25], [3, 0.5]], "bridge_keep_frac": [[1, 0.5], [2, 0.25]]},
        "losses": [
            {"step": 1, "loss": 1.5, "bridge_loss": 1.6, "loss_t0.3": 1.0, "loss_refs2": None},
            {"step": 2, "loss": 1.3, "bridge_loss": 1.4, "loss_t0.3": 0.8, "loss_refs2": 0.9},
            {"step": 3, "loss": 0.5, "bridge_loss": 0.625, "loss_t0.3": 0.25, "loss_refs2": 0.75},
        ],
        "pictures": [
            {"key": "base-0001", "given": "s/given-base-0001.png", "drawn": [[3, "s/3-base-0001.png"]]}
        ],
    }
    return {"schema": 1, "model": "stage2_und/model", "read": 20, "stages": [stage | changes]}


def finish(storage, **about):
    names = [f"{folder}/{name}" for folder in storage.folders() for name in storage.names(folder)]
    files = {name: record(storage, name) for name in names if "/" in name}
    write_manifest(storage, Manifest(hash="0" * 64, config={}, files=files, **about))
    return Input(storage=storage, manifest=read_manifest(storage))


@pytest.fixture
def base(tmp_path):
    storage = Storage(str(tmp_path)).child("base-000000000000")
    with storage.scratch() as path:
        with TarWriter(path) as writer:
            rows = [write_packed(writer, pack_sample(make_sample(number), "test")) for number in range(20)]
        storage.publish(path, "shards/00000.tar")
    with storage.scratch() as path:
        write_index(rows, path)
        storage.publish(path, "index/00000.parquet")
    books = Books(planned=20, made=20)
    return finish(storage, name="base", type="single_candidate", kind="samples", books=books)


def write_trained(base, value, read=20):
    storage = base.storage.sibling("trained-000000000000")
    for name in ("s/given-base-0001.png", "s/3-base-0001.png"):
        storage.write(name, png())
    storage.write("curves.json", json.dumps(value).encode())
    books = Books(read=read, used=read, planned=read, made=read)
    parents = {"base": [base.manifest.directory]}
    return finish(storage, name="trained", type="train", kind="model", books=books, parents=parents)


def test_the_page_shows_curves_losses_and_pictures(base):
    page = Page(render([base, write_trained(base, curves())], ReportConfig()))
    lines = [attributes for tag, attributes in page.tags if attributes.get("class") == "curve"]
    assert [line["points"].count(",") for line in lines] == [3, 2]
    first, last = (
        page.table_rows("step 1, without the bridge")[0],
        page.table_rows("step 3, with the bridge")[0],
    )
    assert first[1:] == ["1.5000", "1.0000", ""]
    assert last[1:] == ["0.6250", "", ""]
    assert not page.table_rows("step 2, without the bridge"), "the first and the last tell the trend"
    pictures = [attributes for tag, attributes in page.tags if "base-0001" in str(attributes.get("alt"))]
    assert [found["alt"] for found in pictures if found["src"].startswith("data:image/png")] == [
        "references, target of base-0001", "after step 3 of base-0001",
    ]  # fmt: skip
    assert "3 steps of up to 1,200 tokens on 18 samples, 2 more held out" in page.text
    assert HOSTILE in page.text, "text stays text"


def test_what_the_run_counted_is_held_against_what_its_inputs_hand_on(base):
    assert "✓ balance" in Page(render([base, write_trained(base, curves())], ReportConfig())).text
    short = curves() | {"read": 19}
    assert "✗ 20 ≠ 19" in Page(render([base, write_trained(base, short)], ReportConfig())).text


def test_a_curve_falls_from_its_highest_to_its_lowest_point(base):
    page = Page(render([base, write_trained(base, curves())], ReportConfig()))
    line = next(attributes for tag, attributes in page.tags if attributes.get("class") == "curve")
    heights = [float(point.partition(",")[2]) for point in line["points"].split()]
    assert heights == sorted(heights), "down the page is up in y"
    assert (heights[0], heights[-1]) == (12.0, 136.0)


@pytest.mark.parametrize(
    "value", [{"schema": 2, "stages": []}, {"schema": 1}, [], curves(curves={"loss": 3}), curves(losses=[7])]
)
def test_curves_of_another_hand_are_refused_with_the_way_out(base, value):
    trained = write_trained(base, value)
    with pytest.raises(
        TrainingError, match=r"curves\.json: expected .* delete the directory to train it again"
    ):
        stages(trained.storage)


@pytest.mark.parametrize("name", ["../base-000000000000/manifest.json", "/etc/hostname"])
def test_a_picture_outside_the_directory_is_not_opened(base, name):
    value = curves(pictures=[{"key": "k", "given": None, "drawn": [[3, name]]}])
    with pytest.raises(ValueError, match="expected"):
        stages(write_trained(base, value).storage)


def test_a_file_that_is_no_png_is_refused(base):
    trained = write_trained(base, curves())
    trained.storage.write("s/3-base-0001.png", b"GIF89a")
    with pytest.raises(TrainingError, match="expected a PNG of the run"):
        stages(trained.storage)
