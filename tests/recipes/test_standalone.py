"""`bakery select` on its own: a rule that cannot be is one line, and nothing but its own work is replaced."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from recipes.cli import app
from recipes.schema import RecipeError
from recipes.standalone import Rules, select_directory
from shards.manifest import Manifest, write_manifest
from shards.storage import Storage
from shards.tables import table_of, write_tables


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (
            ["consistency=9"],
            r"select: min_scores.consistency: expected 0 to 4, got 9: it would decide nothing$",
        ),
        (
            ["consistency=3", "consistency=2"],
            r"--min consistency=2: expected one value for consistency, got 3",
        ),
        (["consistency"], r"--min: expected SCORE=NUMBER, got 'consistency'$"),
    ],
)
def test_a_rule_that_cannot_be_is_told_with_its_scale(tmp_path, least, said):
    with pytest.raises(RecipeError, match=said):
        select_directory([], Storage(str(tmp_path)), Rules(least=least))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """An output with samples, scores and a recipe's selection, and the scores' directory."""
    out = tmp_path_factory.mktemp("out")
    base = put(out, "base", "single_candidate", "samples", {})
    (out / base / "index").mkdir()
    index = pa.table({"key": ["a", "b"], "task": ["t", "t"], "case": ["object", "scene"]})
    pq.write_table(index, out / base / "index/00000.parquet")
    scores = put(out, "judged", "judge", "scores", {"input": [base]})
    (out / scores / "scores").mkdir()
    rows = [
        {"key": key, "reference": -1, "candidate": -1, "probabilities": [], "mode": value, "expected": value}
        | {"label_mass": 1.0, "status": "ok"}
        for key, value in (("a", 1.0), ("b", 4.0))
    ]
    write_tables([table_of(rows)], out / scores / "scores/consistency.parquet")
    return str(out / scores)


def put(out, name, kind_of_step, kind, parents):
    manifest = Manifest(name=name, type=kind_of_step, hash="0" * 64, kind=kind, config={}, parents=parents)
    storage = Storage(str(out / manifest.directory))
    write_manifest(storage, manifest)
    return manifest.directory


def decide(judged, target, least):
    return select_directory([judged], Storage(str(target)), Rules(least=[f"consistency={least}"]))


def test_a_selection_takes_the_place_of_an_earlier_one_and_says_what_changed(judged, tmp_path):
    assert decide(judged, tmp_path / "to", 3)[0] == "kept 1 of 2 (50.0%)"
    told = decide(judged, tmp_path / "to", 1)
    assert told[:2] == ["kept 2 of 2 (100.0%)", "against the selection that was there: 1 came, 0 went"]


@pytest.mark.parametrize("broken", ["selection.parquet", "nothing"])
def test_a_selection_goes_on_where_one_broke_off(judged, tmp_path, broken):
    decide(judged, tmp_path / "to", 3)
    (tmp_path / "to/manifest.json").unlink()
    if broken == "nothing":
        (tmp_path / "to/selection.parquet").unlink()
    assert decide(judged, tmp_path / "to", 1)[0] == "kept 2 of 2 (100.0%)"


def test_a_directory_of_a_recipe_and_a_folder_of_other_files_are_never_overwritten(judged, tmp_path):
    refined = put(tmp_path, "refined", "select", "selection", {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("precious")
    for name, said in ((refined, "a step of a recipe"), ("mine", "notes.txt"), ("", "mine, refined-0+")):
        with pytest.raises(RecipeError, match=f"expected an empty folder, or one .* got '?{said}"):
            decide(judged, tmp_path / name, 3)
    with pytest.raises(RecipeError, match="a step of a recipe"):
        decide(judged, judged, 3)
    assert not list(tmp_path.rglob("selection.parquet"))


def test_a_selection_is_called_what_its_folder_is_called_and_leaves_no_scratch(judged, tmp_path):
    decide(judged, tmp_path / "mine", 3)
    assert json.loads((tmp_path / "mine/manifest.json").read_text())["name"] == "mine"
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "manifest.json",
        "selection.parquet",
    ]


def test_the_best_are_counted_in_each_group_of_all_columns_that_are_named(judged, tmp_path):
    command = ["select", judged, "--best", "1", "--order", "consistency"]
    for columns, kept in (([], 1), (["task"], 1), (["case"], 2), (["task", "case"], 2)):
        grouped = [word for column in columns for word in ("--by", column)]
        told = CliRunner().invoke(app, [*command, *grouped, "--out", str(tmp_path / "to")])
        assert told.output.startswith(f"kept {kept} of 2 "), told.output


def test_an_unknown_policy_lists_the_known(judged, tmp_path):
    with pytest.raises(
        RecipeError, match=r"select.policy: expected 'paper', 'refined' or 'verified', got 'papr'"
    ):
        select_directory([judged], Storage(str(tmp_path / "to")), Rules(policy="papr"))
