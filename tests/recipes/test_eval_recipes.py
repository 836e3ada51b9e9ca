"""The shipped recipes that measure models: two checkpoints on SconeEval, and the demo's own tiny model."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from command_line import bakery
from datagen.fake_images_server import Behaviour as ImagesBehaviour
from datagen.fake_images_server import FakeImagesServer
from filters.benchmarks import TOTALS
from filters.comparison import Comparison
from filters.evaluated import read_evaluated
from filters.fake_server import MODEL as JUDGE
from filters.fake_server import Behaviour, FakeServer
from page_reader import Page
from published_benchmarks import CASES, sconeeval
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from shards.index import Directory
from shards.storage import Storage
from tiny_checkpoint import write_checkpoint

RECIPES = Path(__file__).parents[2] / "recipes"
ROUNDS = 3


def run(recipe, out):
    storage = Storage(str(out))
    with Run(recipe, storage, Display(Console(quiet=True), storage, recipe.name)) as made:
        return storage, made.execute()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """scone_eval over six cases: its output, manifests, and what the three fakes were asked."""
    folder = tmp_path_factory.mktemp("scone_eval")
    sconeeval(folder / "benchmark")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("BAKERY_SCONEEVAL", str(folder / "benchmark"))
        judge = stack.enter_context(FakeServer(Behaviour()))
        changes = ["run.engine=local", "run.workers=2", "run.slice_size=4"]
        drawers = {}
        for step in ("before", "after"):
            server = stack.enter_context(FakeImagesServer(ImagesBehaviour(model=f"{step}-0a1b2c3d")))
            drawers[step] = server
            changes += [f"{step}.images.model={step}-0a1b2c3d", f"{step}.images.endpoints=['{server.url}']"]
            changes += [f"{step}.size_px=128", f"{step}_judged.controls=0"]
            changes += [
                f"{step}_judged.engine.model={JUDGE}",
                f"{step}_judged.engine.endpoints=['{judge.url}']",
            ]
        out, made = run(load_recipe(RECIPES / "scone_eval.yaml", changes), folder / "out")
        yield out, made, drawers, judge


def test_both_models_draw_every_case_three_times_and_nothing_is_asked_twice(compared):
    out, made, drawers, judge = compared
    for step, server in drawers.items():
        directory = Directory(out.child(made[step].directory))
        rounds = {case[0]: [case[0], *(f"{case[0]}-r{n}" for n in range(1, ROUNDS))] for case in CASES}
        assert set(directory.places) == {key for keys in rounds.values() for key in keys}
        asked = [(each.fields["prompt"], each.fields["seed"]) for each in server.asked]
        assert len(asked) == len(set(asked)) == ROUNDS * len(CASES)
    ids = [each.id for each in judge.asked if not each.id.startswith("probe")]
    assert len(ids) == len(set(ids))


def test_two_models_that_draw_alike_differ_by_nothing_and_are_judged_once(compared):
    out, made, _, judge = compared
    before, after = (
        read_evaluated(out.child(made[f"{step}_scored"].directory)) for step in ("before", "after")
    )
    assert before.coverage.cases == before.coverage.scored == len(CASES)
    assert set(before.figures.totals) == set(TOTALS)
    assert set(before.figures.subtasks) == {case[1] for case in CASES}
    assert before.asked == after.asked
    (difference,) = Comparison(evaluations={"before": before, "after": after}).differences
    assert difference.cases == len(CASES)
    for figure in difference.figures.totals.values():  # the fakes draw the same for the same seed
        assert figure.value == figure.low == figure.high == 0
        assert not figure.has_interval  # of a case a subtask
    of_cases = [each for each in judge.asked if not each.id.startswith("probe")]
    candidates = sum(len(names) for case in CASES for names in case[4] or ())
    assert len(of_cases) == ROUNDS * (2 * len(CASES) + candidates)
    page = Page((Path(out.uri) / made["page"].directory / "report.html").read_text())
    assert "after scored − before scored 6 cases of both +0.00 +0.00 +0.00 " in page.text


@pytest.mark.ray
def test_the_demos_own_model_is_served_measured_and_held_against_the_yardstick(tmp_path):
    checkpoint = tmp_path / "tiny" / "model"
    write_checkpoint(checkpoint)
    named = bakery(tmp_path, "serve", str(checkpoint), "--show-name")
    assert named.returncode == 0, named.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAKERY_CHECKPOINT", str(checkpoint))
        changes = [f"drawn.images.model={named.stdout.strip()}", "drawn.images.steps=3"]
        changes += ["base.samples=6", "base.size_px=128", "multi.samples=4"]
        out, made = run(load_recipe(RECIPES / "demo_eval.yaml", changes), tmp_path / "out")
    drawn, held_out = (Directory(out.child(made[step].directory)) for step in ("drawn", "held_out"))
    assert set(drawn.places) == set(held_out.places)
    assert all(drawn[key].references == held_out[key].references for key in drawn.places)
    targets = {hashlib.sha256(drawn[key].target.data).hexdigest() for key in drawn.places}
    assert len(targets) == len(drawn.places)
    yardstick, scored = (
        read_evaluated(out.child(made[step].directory)) for step in ("yardstick", "drawn_scored")
    )
    assert yardstick.cases.places == scored.cases.places
    assert yardstick.cases.contents == scored.cases.contents
    for total, figure in yardstick.figures.totals.items():  # untrained weights draw noise
        assert figure.value > scored.figures.totals[total].value, total


def test_a_variable_that_a_servers_command_names_is_told_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("BAKERY_CHECKPOINT", raising=False)
    found = bakery(tmp_path, "run", str(RECIPES / "demo_eval.yaml"), "--out", "out")
    assert found.returncode == 1
    assert "steps.drawn: resources.tiny: ${BAKERY_CHECKPOINT}: expected the variable" in found.stderr
    assert not (tmp_path / "out").exists()
    assert "resources.tiny" in bakery(tmp_path, "check", str(RECIPES / "demo_eval.yaml")).stdout
