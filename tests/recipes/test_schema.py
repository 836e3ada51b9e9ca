from pathlib import Path

import pytest

from filters.remake import DERIVED
from recipes.identity import computed, directories, hashes
from recipes.schema import load_recipe
from recipes.steps import STEPS
from shards.driver_step import DriverStep
from shards.worker_step import WorkerStep
from written_recipe import GOOD, write


def test_a_step_without_a_seed_has_the_recipe_s(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.steps["base"].settings.model_dump()["seed"] == 3
    assert list(recipe.steps) == ["base", "packed"]


LINE = (
    GOOD
    + """
  scores: {step: judge, input: packed, questions: [consistency]}
  good: {step: select, input: packed, scores: scores, min_scores: {consistency: 3}}
"""
)


ALL_STEPS = {"base", "packed", "scores", "good"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["seed=3"], set()),
        (["run.workers=3"], set()),
        (["seed=4"], ALL_STEPS),
        (["base.samples=5"], ALL_STEPS),
        (["base.shard_size=7"], ALL_STEPS),
        (["packed.shard_size=7"], ALL_STEPS - {"base"}),
        (["scores.shard_size=7"], {"scores", "good"}),
        (["good.shard_size=7"], set()),  # it writes no shards
        (["good.min_scores.consistency=2"], {"good"}),
    ],
)
def test_a_step_is_what_it_computes_and_what_it_computes_from(tmp_path: Path, changes, expected) -> None:
    path = write(tmp_path, LINE)
    old, new = hashes(load_recipe(path)), hashes(load_recipe(path, changes))
    assert {name for name in old if new[name] != old[name]} == expected
    assert set(directories(load_recipe(path)).values()) == {f"{n}-{old[n][:12]}" for n in ALL_STEPS}


def test_another_version_format_or_limit_is_another_step(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, LINE)
    old, limited = hashes(load_recipe(path)), hashes(load_recipe(path, limit=2))
    assert not set(old.values()) & set(limited.values())
    monkeypatch.setattr("shards.pack.PackConfig.VERSION", 99)
    later = hashes(load_recipe(path))
    assert {name for name in old if later[name] != old[name]} == ALL_STEPS - {"base"}
    monkeypatch.setattr("recipes.identity.FORMAT", 99)
    assert hashes(load_recipe(path))["base"] != old["base"]
    assert [name for name, step in load_recipe(path).steps.items() if "index" in computed(step)] == [
        "base",
        "packed",
    ]


def test_a_number_in_scientific_form_is_a_number(tmp_path: Path) -> None:
    text = GOOD.replace("samples: 4", "samples: 4, ordered: 1e-4")
    assert load_recipe(write(tmp_path, text)).steps["base"].settings.model_dump()["ordered"] == 1e-4


def test_set_changes_one_setting(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD), ["base.samples=9", "run.engine=ray", "seed=5"])
    assert recipe.steps["base"].settings.model_dump()["samples"] == 9
    assert recipe.steps["base"].run.engine == "ray"
    assert recipe.seed == 5


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_line_ends_and_marks_of_other_systems_change_nothing(tmp_path: Path, change) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(change(GOOD).encode())
    assert load_recipe(path).steps == load_recipe(write(tmp_path, GOOD)).steps


def test_a_page_that_names_no_steps_is_about_all(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD + "  page: {step: report}"))
    assert recipe.steps["page"].inputs == {"of": ("base", "packed")}


def test_steps_come_after_what_they_read(tmp_path: Path) -> None:
    text = "steps: {packed: {step: pack, input: base}, base: {step: single_candidate, samples: 2}}"
    assert list(load_recipe(write(tmp_path, text)).steps) == ["base", "packed"]


def test_steps_stay_as_written_where_that_can_be(tmp_path: Path) -> None:
    names = ["one", "packed", "again", "two"]
    text = """
steps:
  one: {step: single_candidate, samples: 2}
  packed: {step: pack, input: one}
  again: {step: pack, input: packed}
  two: {step: single_candidate, samples: 2}
"""
    assert list(load_recipe(write(tmp_path, text)).steps) == names


@pytest.mark.parametrize("name", ["scone_base_70k", "scone_refined_22k"])
def test_the_shipped_recipes_are_checked_without_their_data(name, monkeypatch):
    for variable in ("X2I", "MUSAR_GEN", "UNO_1M", "ECHO_4O", "SCONEEVAL", "OMNICONTEXT", "BASE"):
        monkeypatch.delenv(f"BAKERY_{variable}", raising=False)
    recipe = load_recipe(Path(__file__).parents[2] / f"recipes/{name}.yaml")
    missing = [what for step in recipe.steps.values() for what in step.settings.missing()]
    assert missing
    assert all("expected the variable BAKERY_" in what for what in missing)


WITH_STEPS = [path for path in sorted(Path("recipes").glob("*.yaml")) if "\nsteps:" in path.read_text()]


@pytest.mark.parametrize("path", WITH_STEPS, ids=lambda path: path.stem)
def test_what_a_step_adds_to_its_settings_is_left_out_where_a_page_writes_the_recipe_again(path):
    for step in load_recipe(path).steps.values():
        settings = computed(step)["settings"]
        assert set(settings) - set(type(step.settings).model_fields) <= set(DERIVED)
        assert not set(type(step.settings).model_fields) & set(DERIVED)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_every_step_is_of_workers_or_of_the_driver_by_what_its_directory_holds(name):
    made_by_workers = STEPS[name].kind in ("samples", "scores") and name != "evaluate"
    assert issubclass(STEPS[name].settings_class(), WorkerStep if made_by_workers else DriverStep)
