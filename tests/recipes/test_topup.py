"""An exact selection that falls short says so, and is filled with what exists used again."""

import pytest
from rich.console import Console
from typer.testing import CliRunner

from filters.shortfall import Group, ShortfallError
from recipes.cli import app
from recipes.display import Display
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from recipes.topup import TopupError, fill, maker_of
from shards.storage import Storage

RECIPE = """
name: exact
seed: 5
run: {workers: 1}
steps:
  base:
    step: single_candidate
    samples: 8
    size_px: 128
    references: {1: 1.0}
    cases: {character: 0.5, object: 0.5}
    faults: {copy_paste: 0.5}
  judged: {step: judge, input: base, questions: [copy_paste]}
  kept:
    step: select
    input: base
    scores: judged
    max_scores: {copy_paste: 0.5}
    by: case
    counts: {character: 4, object: 2}
    order: [copy_paste]
    exact: true
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "exact.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def execute(tmp_path):
    """Makes a recipe here; `calls` holds the recipes."""

    def run(loaded):
        run.calls.append(loaded)
        out = Storage(str(tmp_path / "out"))
        with Run(loaded, out, Display(Console(quiet=True), out, loaded.name)) as made:
            return made.execute()

    run.calls = []
    return run


def test_a_shortfall_stops_the_run_with_case_yield_and_the_command(recipe, execute):
    with pytest.raises(ShortfallError, match=r"character: wanted 4, good 2 of 3 \(yield") as caught:
        execute(load_recipe(recipe))
    (note,) = caught.value.__notes__
    assert note.startswith(f"bakery topup {recipe} kept --out ")


def test_topup_fills_it_exactly_and_makes_nothing_twice(recipe, execute):
    with pytest.raises(ShortfallError):
        execute(load_recipe(recipe))
    filled = fill(recipe, [], "kept", execute)
    base, kept = (filled.manifests[name] for name in ("base", "kept"))
    assert kept.books.made == 6
    assert filled.change == f"base.samples={base.books.planned}"
    assert base.stats["copied"] >= 8  # all that the shorter plan had; more where a round lay between
    again = execute(load_recipe(recipe, [filled.change]))
    assert again["kept"].files == kept.files


def test_what_is_not_short_is_left_as_it_is(recipe, execute):
    filled = fill(recipe, ["kept.counts={character: 1, object: 1}"], "kept", execute)
    assert filled.change == ""
    assert len(execute.calls) == 1


def barren(reads):
    """A recipe whose samples are never good, so many of them each time."""

    def execute(loaded):
        raise ShortfallError([Group(name="character", wanted=2, read=next(reads), good=0)])

    return execute


def test_a_group_that_is_never_good_ends_with_what_was_found(recipe):
    with pytest.raises(TopupError, match=r"base.samples=256, got character: wanted 2, good 0 of 64 \(yield"):
        fill(recipe, [], "kept", barren(iter([4, 8, 16, 32, 64])))


def test_inputs_that_do_not_reach_are_said_to_be_the_cause(recipe):
    with pytest.raises(TopupError, match=r"got no more than before: .* the inputs of base do not reach"):
        fill(recipe, [], "kept", barren(iter([4, 4])))


def test_a_step_that_is_no_exact_selection_is_refused_with_those_that_are(recipe):
    with pytest.raises(RecipeError, match="known: kept"):
        maker_of(load_recipe(recipe), "base")


def test_the_command_says_what_to_write_into_the_recipe(recipe, tmp_path):
    result = CliRunner().invoke(app, ["topup", str(recipe), "kept", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "kept is filled. Write base.samples: " in result.output
