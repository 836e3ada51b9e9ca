"""What is wrong with a recipe is told all at once, in words, each with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.schema import RecipeError, load_recipe
from written_recipe import GOOD, errors_of, write


def test_all_errors_come_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = """
sed: 1
steps:
  base: {step: single_candidat}
  more: {step: single_candidate, sampels: 4}
  packed: {step: pack, input: bas}
"""
    errors = "\n".join(errors_of(tmp_path, text))
    assert "sed: unknown; did you mean 'seed'?" in errors
    assert "steps.base.step: single_candidat: unknown; did you mean 'single_candidate'?" in errors
    assert "steps.more.sampels: unknown; did you mean 'samples'?" in errors
    assert "steps.more.samples: expected a value, got none" in errors
    assert "steps.packed.input: bas: unknown; did you mean 'base'?" in errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "steps: {a: {step: judge, input: gone}}",
            ["steps.a.questions: expected a value", "steps.a.input: gone: unknown"],
        ),
        (
            "steps: {a: {step: judge}}",
            ["steps.a.questions: expected a value", "steps.a.input: expected the name of a step that makes"],
        ),
        (
            "steps: {a: {step: judge, input: b}, b: {step: pack, input: a}}",
            ["steps.a.questions: expected a value", "steps.b.input: expected a step that makes samples"],
        ),
        (
            "steps: {a: {step: pack, input: b, shard_size: 0}, b: {step: pack, input: a}, c: {step: pac}}",
            ["steps.a.shard_size: expected", "steps.c.step: pac: unknown", "expected no cycle, got a -> b"],
        ),
        (
            GOOD + "  judged: {step: judge, input: base, questions: [consistency, presence]}\n"
            "  kept: {step: select, input: base, scores: judged, "
            "min_scores: {consistency: 9, presence: 2, identity: 0.5}}",
            ["min_scores.consistency: expected 0 to 4, got 9", "min_scores.presence: expected 0 to 1, got 2"],
        ),
    ],
    ids=["settings and input", "settings and no input", "settings and kind", "cycle", "scores"],
)
def test_one_error_of_a_step_hides_no_other(tmp_path: Path, text: str, expected: list[str]) -> None:
    errors = "\n".join(errors_of(tmp_path, text))
    for words in expected:
        assert words in errors


def test_what_is_wrong_with_several_changes_comes_at_once(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, GOOD, "bse.samples=5", "base.samples", "base.samples=[", "base.sampels=3")
    assert [error.partition(": ")[0].split(" ")[0] for error in errors] == ["--set"] * 3 + [
        f"{tmp_path / 'recipe.yaml'}"
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            "samples: true",
            "steps.base.samples: expected no yes or no, which YAML also reads on and off as, got",
        ),
        ("samples: 4, faults: {copy_paste: off}", "steps.base.faults.copy_paste: expected no yes or no"),
        ("samples: 4, run: {workers: yes}", "steps.base.run.workers: expected no yes or no"),
        ("samples: 4, seed: yes", "steps.base.seed: expected no yes or no"),
    ],
)
def test_yes_and_no_are_no_numbers(tmp_path: Path, settings: str, words: str) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("samples: 4", settings))
    assert words in error


def test_yes_and_no_are_told_inside_settings_and_taken_where_they_belong(tmp_path: Path) -> None:
    engine = "{kind: served, model: m, revision: r, in_flight: yes}"
    judged = f"  judged: {{step: judge, input: base, questions: [consistency], engine: {engine}}}\n"
    (error,) = errors_of(tmp_path, GOOD + judged)
    assert "steps.judged.engine.in_flight: expected no yes or no" in error
    exact = (
        "  judged: {step: judge, input: base, questions: [consistency]}\n"
        "  kept: {step: select, input: base, scores: judged, order: [consistency], best: 2, exact: yes}\n"
    )
    assert load_recipe(write(tmp_path, GOOD + exact)).steps["kept"].settings.model_dump()["exact"] is True


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        ("-1", "steps.kept.best: expected greater than or equal to 1 or a valid dictionary, got -1"),
        ("{a: -1}", "steps.kept.best.a: expected greater than or equal to 0, got -1"),
        ("many", "steps.kept.best: expected a valid integer or a valid dictionary, got 'many'"),
    ],
)
def test_a_setting_that_may_be_two_things_is_told_in_one_line_and_in_no_library_s_words(
    tmp_path: Path, best: str, expected: str
) -> None:
    text = GOOD + (
        "  judged: {step: judge, input: base, questions: [consistency]}\n"
        f"  kept: {{step: select, input: base, scores: judged, order: [consistency], best: {best}, by: case}}"
    )
    (error,) = errors_of(tmp_path, text)
    assert expected in error


def test_what_is_nested_too_deeply_is_told_so(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, "steps: " + "[" * 5000)
    assert error.endswith("expected a recipe in YAML, got: values nested too deeply")


def test_a_wrong_type_names_setting_and_value(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("samples: 4", "samples: many"))
    assert "steps.base.samples: expected" in error
    assert "'many'" in error


def test_a_cycle_is_drawn(tmp_path: Path) -> None:
    text = "steps: {a: {step: pack, input: b}, b: {step: pack, input: a}}"
    (error,) = errors_of(tmp_path, text)
    assert "expected no cycle" in error
    assert "->" in error


def test_a_missing_input_is_an_error(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, "steps: {a: {step: pack}}")
    assert "steps.a.input: expected the name of a step that makes samples or selection, got none" in error


def test_an_input_of_the_wrong_kind_is_an_error(tmp_path: Path) -> None:
    text = GOOD + "  chosen: {step: select, input: base, scores: base, min_scores: {consistency: 3}}"
    (error,) = errors_of(tmp_path, text)
    assert "expected a step that makes scores, got base, which makes samples" in error


def test_a_name_given_twice_is_an_error(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD + "  base: {step: pack, input: packed}")
    assert "expected 'base' once, got it twice" in error


def test_no_such_file_lists_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(RecipeError, match=r"got no file; there are .*recipe\.yaml"):
        load_recipe(tmp_path / "recip.yaml")


def test_set_of_an_unknown_setting_is_an_error(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD, "base.sample=9")
    assert "did you mean 'samples'?" in error


def test_a_score_that_no_judge_will_give_is_told_before_anything_is_judged(tmp_path: Path) -> None:
    text = """
steps:
  base: {step: single_candidate, samples: 4}
  judged: {step: judge, input: base, questions: [consistency, presence]}
  kept: {step: select, input: base, scores: judged, min_scores: {consistency.mode: 3}}
"""
    assert load_recipe(write(tmp_path, text)).steps["kept"].reads == ["base", "judged"]
    (error,) = errors_of(tmp_path, text, "kept.min_scores.presense=0.5")
    assert error.endswith("steps.kept: score presense: unknown; did you mean 'presence'?")


def test_set_of_an_unknown_step_names_the_step_that_was_meant(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD, "bse.samples=5")
    assert error == "--set bse.samples=5: bse: unknown; did you mean 'base'?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: 5\n" + GOOD, "run: expected settings, got 5"),
        (GOOD.replace("samples: 4", "samples: 4, run: 5"), "steps.base.run: expected settings, got 5"),
        (GOOD.replace("samples: 4", "samples: 4, run: [a]"), "steps.base.run: expected settings, got ['a']"),
        ("steps: {base: {step: [a]}}", "steps.base.step: expected a type of step, got ['a']; known: import"),
        ("steps: {base: {samples: 4}}", "steps.base.step: expected a type of step, got None"),
        (GOOD.replace("name: small", "name: ../../elsewhere"), "name: expected a name for a folder of out/"),
        (GOOD.replace("name: small", "name: ''"), "name: expected a name for a folder of out/, got ''"),
        (GOOD.replace("samples: 4", "samples: 4, ordered: .nan"), "steps.base.ordered: expected"),
        (GOOD.replace("samples: 4", "samples: 4, faults: {copy_paste: .inf}"), "expected"),
        ("resources: {../judge: {gpus: 0}}\n" + GOOD, "expected names of [a-z0-9_-], got '../judge'"),
        (
            GOOD.replace("samples: 4", "samples: 4, run: {engine: ray, ray_address: there}"),
            "steps.base.run.ray_address: expected the recipe's own, as a run joins one cluster",
        ),
    ],
)
def test_what_cannot_be_is_told_in_words(tmp_path: Path, text: str, words: str) -> None:
    assert words in "\n".join(errors_of(tmp_path, text))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"name: t\nsteps:\n\tbase:\n", r"in YAML, got: line 3, column 1: .*; indent by spaces$"),
        (GOOD.encode("utf-16"), "expected text in UTF-8, got byte 0xff at 0; save it as UTF-8$"),
        ("name: größe".encode("latin-1"), "expected text in UTF-8, got byte 0xf6 at 8; save it as UTF-8$"),
    ],
)
def test_a_file_from_another_editor_is_told_with_the_way_out(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "recipe.yaml").write_bytes(data)
    with pytest.raises(RecipeError, match=words):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_training_recipe_is_no_recipe_of_steps(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, "base: tiny\nout: out\nstages: [stage1_base]\n")
    assert error.endswith(
        "expected a recipe of steps, got one of training; `bakery check` or `train` takes it"
    )


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(RecipeError, match=r"expected a recipe, got a folder; there are .*recipe\.yaml"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (
            "{kind: served, model: m, revision: r, dtype: d, quantization: none, endpoint: [http://h:1]}",
            "steps.judged.engine.endpoint: unknown; did you mean 'endpoints'?",
        ),
        ("{kind: served, model: m, in_flight: 0}", "steps.judged.engine.in_flight: expected greater than"),
        ("{kind: serve}", "steps.judged.engine: expected "),
    ],
)
def test_a_setting_of_a_setting_is_named_as_a_person_writes_it(
    tmp_path: Path, engine: str, words: str
) -> None:
    judged = f"  judged: {{step: judge, input: base, questions: [consistency], engine: {engine}}}\n"
    assert words in "\n".join(errors_of(tmp_path, GOOD + judged))


def test_a_bad_seed_is_told_once(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("seed: 3", "seed: 1.5"))
    assert error.endswith("seed: expected a whole number, got 1.5")


def test_a_check_of_ours_is_told_in_its_own_words(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("samples: 4", "samples: 4, faults: {blur: 0.1}"))
    assert "steps.base: faults: expected names of" in error
    assert error.endswith("got 'blur'")


def test_set_of_what_is_no_yaml_is_an_error(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD, "base.samples=[")
    assert error.startswith("--set base.samples=[: expected a value in YAML, got: ")


def test_set_without_a_value_is_an_error(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD, "base.samples")
    assert "expected step.key=value" in error


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_makes_anything_but_an_error_in_words(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(data)
        with pytest.raises(RecipeError):
            load_recipe(path)


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["base", "judged", "packed", "x y"]), YAML, max_size=3), YAML, YAML)
def test_any_values_make_steps_or_errors(steps: object, seed: object, run: object) -> None:
    import tempfile

    import yaml

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(yaml.safe_dump({"seed": seed, "run": run, "steps": steps}))
        with pytest.raises(RecipeError):
            load_recipe(path)


def test_a_training_step_without_a_set_that_its_stages_read_is_told(tmp_path: Path) -> None:
    text = "steps: {base: {step: single_candidate, samples: 4}, trained: {step: train, base: base}}"
    errors = errors_of(tmp_path, text)
    assert len(errors) == 3, "the other three stages"
    assert "steps.trained: stage stage1_refined: data: expected directories of refined, got none" in errors[0]


def test_a_training_step_s_own_mistakes_come_with_the_recipe_s(tmp_path: Path) -> None:
    trained = (
        "{step: train, base: base, stages: [stage1_base], packs_per_step: 3, run: {workers: 0}, ranks: 2}"
    )
    errors = "\n".join(
        errors_of(
            tmp_path,
            f"steps: {{base: {{step: single_candidate, samples: 4}}, trained: {trained}, x: {{step: y}}}}",
        )
    )
    assert "steps.trained.run.workers: expected" in errors
    assert "steps.x.step: y: unknown" in errors
    fixed = trained.replace("run: {workers: 0}, ", "")
    (error,) = errors_of(
        tmp_path, f"steps: {{base: {{step: single_candidate, samples: 4}}, trained: {fixed}}}"
    )
    assert "steps.trained: packs_per_step: expected a multiple of the 2 ranks, got 3" in error


@pytest.mark.parametrize(
    "url", ["http://someone:s3cret@host:8000", "http://host:8000?key=s3cret", "s3cret@host"]
)
def test_a_key_in_an_address_is_refused(tmp_path, url):
    engine = f"{{kind: served, model: m, revision: r, endpoints: ['{url}']}}"
    base = "base: {step: single_candidate, samples: 1}"
    judged = f"judged: {{step: judge, input: base, questions: [presence], engine: {engine}}}"
    (tmp_path / "r.yaml").write_text(f"name: n\nsteps:\n  {base}\n  {judged}\n")
    with pytest.raises(RecipeError, match="without a key in them; api_key_env names the variable") as caught:
        load_recipe(tmp_path / "r.yaml")
    assert "s3cret" not in str(caught.value)
