"""`evaluate` end to end: a recipe judges, verifies and evaluates; nothing is asked for another decision."""

import io

import pytest
from rich.console import Console

from command_line import bakery
from filters.benchmarks import COM, COMPOSITION, DIS, OVERALL, SHOWN
from filters.evaluated import read_evaluated
from filters.lineage import trace
from filters.remake import recipe_text
from page_reader import Page
from recipes.display import Display
from recipes.evaluations import find_evaluations
from recipes.identity import hashes
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from recipes.summary import summarize
from recipes.trace import Way
from shards.driver_step import Input
from shards.index import Directory
from shards.ledger import Ledger
from shards.storage import Storage
from shards.tables import read_table

RECIPE = """
name: measured
seed: 5
run: {workers: 1}
steps:
  base: {step: single_candidate, samples: 24, size_px: 128}
  multi: {step: multi_candidate, input: base, samples: 12, rounds: 3}
  base_judged: {step: judge, input: base, questions: [consistency, instruction_following]}
  judged: {step: judge, input: multi, questions: [consistency, instruction_following]}
  checked: {step: verify, input: multi}
  composed: {step: evaluate, input: base, scores: base_judged}
  scored: {step: evaluate, input: multi, scores: [judged, checked], resamples: 200}
  page: {step: report}
"""


def run(folder, *changes):
    out = Storage(str(folder / "out"))
    recipe = load_recipe(folder / "recipe.yaml", changes)
    with Run(recipe, out, Display(Console(quiet=True), out, "measured")) as made:
        return out, made.execute()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder, *run(folder)


def test_rendered_sets_are_measured_from_what_the_embedded_judges_said(made):
    _, out, manifests = made
    scored = read_evaluated(out.child(manifests["scored"].directory))
    assert set(scored.figures.totals) == {COM, DIS, OVERALL}
    assert all(name.startswith("distinction") for name in scored.figures.subtasks)
    composed = read_evaluated(out.child(manifests["composed"].directory))
    assert set(composed.figures.totals) == {COM}
    judged = out.child(manifests["judged"].directory)
    graded = [
        {row["key"]: row["expected"] * 2.5 for row in read_table(judged, name).to_pylist()}
        for name in ("instruction_following", "consistency")
    ]
    for picture in scored.pictures:
        pf, sc = (found[picture.key] for found in graded)
        assert picture.scores[COMPOSITION] == pytest.approx((pf * sc) ** 0.5)
    shown = read_table(out.child(manifests["checked"].directory), "target_shows").to_pylist()
    directory = Directory(out.child(manifests["multi"].directory))
    for picture in scored.pictures:
        right = {
            (r, n): candidate.is_target
            for r, candidates in enumerate(directory[picture.key].subjects)
            for n, candidate in enumerate(candidates)
        }
        rows = [row for row in shown if row["key"] == picture.key]
        agree = [right[row["reference"], row["candidate"]] == (row["mode"] == 1) for row in rows]
        assert picture.scores["accuracy"] == pytest.approx(10 * sum(agree) / len(agree))
        assert (picture.scores[SHOWN] == 10) == all(agree)


def test_another_decision_asks_nothing_and_makes_one_directory(made):
    folder, out, manifests = made
    paid = len(Ledger(out.child("ledger")))
    _, again = run(folder, "scored.by=case")
    assert len(Ledger(out.child("ledger"))) == paid
    assert {n for n in manifests if again[n].hash != manifests[n].hash} == {"scored", "page"}


def test_how_it_is_run_is_no_part_of_its_name(made):
    folder, _, manifests = made
    _, again = run(folder, "scored.tolerate_unreadable=0.5", "scored.shard_size=7")
    assert again["scored"].hash == manifests["scored"].hash


def test_the_page_shows_both_and_every_sum_comes_out(made):
    _, out, manifests = made
    page = Page(out.child(manifests["page"].directory).read("report.html").decode())
    assert "Benchmark 1: composed" in page.text
    assert "Benchmark 2: scored" in page.text
    assert "✗ do not balance" not in page.text
    assert f"{manifests['multi'].books.made} evaluated" in page.text


def test_the_recipe_on_the_page_makes_the_same_directories(made, tmp_path):
    _, out, manifests = made
    lineage = trace([Input(storage=out.child(m.directory), manifest=m) for m in manifests.values()])
    (tmp_path / "remade.yaml").write_text(recipe_text(lineage))
    again = hashes(load_recipe(tmp_path / "remade.yaml"))
    assert again == {name: m.hash for name, m in manifests.items() if m.kind != "page"}


def test_a_sample_s_way_tells_how_it_scored(made):
    _, out, manifests = made
    scored = read_evaluated(out.child(manifests["scored"].directory))
    picture = scored.pictures[0]
    directory = manifests["scored"].directory
    told = [line for line in Way(out).lines(picture.key) if line.startswith(f"  {directory}: ")]
    assert [line.partition(" (mode")[0] for line in told] == [
        f"  {directory}: {measure}: {picture.scores[measure]:.2f}" for measure in (COMPOSITION, SHOWN)
    ]


def test_a_run_ends_with_the_figures(made):
    _, out, manifests = made
    console = Console(record=True, width=200, file=io.StringIO())
    summarize(console, out, manifests)
    told = console.export_text()
    (line,) = [line for line in told.splitlines() if line.startswith("scored: ")]
    assert "COM " in line
    count = manifests["multi"].books.made
    assert line.endswith(f"; {count} of {count} cases; subtasks: 3 in COM, 3 in DIS")


def test_the_command_shows_finished_evaluations_side_by_side(made):
    folder, _, manifests = made
    one = f"out/{manifests['scored'].directory}"
    _, again = run(folder, "scored.prompt_following=consistency")
    two = f"out/{again['scored'].directory}"
    done = bakery(folder, "evaluate", one, two)
    assert done.returncode == 0, done.stderr
    assert "Overall" in done.stdout
    assert f"{two} less {one}: not compared: another judge or wording of prompt following" in done.stdout
    done = bakery(folder, "evaluate", one, one)
    count = manifests["multi"].books.made
    assert f"scored: {count} of {count} cases" in done.stdout
    assert "less" not in done.stdout


def test_the_command_says_what_is_no_evaluation(made):
    folder, _, manifests = made
    with pytest.raises(RecipeError, match="expected a directory of an `evaluate` step"):
        find_evaluations([str(folder / "out" / manifests["judged"].directory)])
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "empty/x").write_text("")
    with pytest.raises(RecipeError, match="expected an output with finished evaluations, got none"):
        find_evaluations([str(folder / "empty")])


def test_an_evaluation_is_no_judged_step_to_ask_again(made):
    folder, *_ = made
    done = bakery(folder, "retry", "recipe.yaml", "scored", "--out", "out")
    assert done.returncode == 1
    assert "expected a judged step of base_judged, judged, checked, got 'scored'" in done.stderr


def test_a_recipe_that_judges_no_composition_is_refused_before_it_runs(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("[consistency, instruction_following]", "[presence]")
    )
    with pytest.raises(RecipeError, match="score instruction_following"):
        load_recipe(tmp_path / "recipe.yaml")
